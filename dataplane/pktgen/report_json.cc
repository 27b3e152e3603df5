// Reports as JSON. Names end with their unit; docs/pktgen.md has the list of them.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <string>

#include "dataplane/pktgen/profile_text.h"
#include "dataplane/pktgen/report.h"

namespace sluice::pktgen {

namespace {

namespace json = boost::json;

// JSON has no infinity.
json::value number(double value) {
    return std::isfinite(value) ? json::value(value) : json::value(nullptr);
}

json::object profile_json(const Profile& profile) {
    json::object out;
    for (const ProfileField& field : profile_fields()) {
        const std::string text = field.get(profile);
        switch (field.kind) {
            case FieldKind::kText: out[field.name] = text; break;
            case FieldKind::kBool: out[field.name] = text == "true"; break;
            case FieldKind::kNumber:
                if (text.find_first_not_of("0123456789") == std::string::npos) {
                    out[field.name] = parse_count(text).value_or(0);
                } else {
                    out[field.name] = number(parse_quantity(text).value_or(0));
                }
                break;
        }
    }
    return out;
}

json::object latency_json(const Histogram& latency, bool with_steps) {
    json::object out{{"count", latency.count()},
                     {"min_ns", latency.min()},
                     {"mean_ns", number(latency.mean())},
                     {"standard_deviation_ns", number(latency.standard_deviation())},
                     {"p50_ns", latency.percentile(50)},
                     {"p90_ns", latency.percentile(90)},
                     {"p99_ns", latency.percentile(99)},
                     {"p99_9_ns", latency.percentile(99.9)},
                     {"p99_99_ns", latency.percentile(99.99)},
                     {"max_ns", latency.max()}};
    if (with_steps) {
        json::array steps;
        for (const Histogram::Step& step : latency.steps()) {
            steps.push_back(json::object{{"up_to_ns", step.value}, {"count", step.count}});
        }
        out["steps"] = std::move(steps);
    }
    return out;
}

json::object port_json(const PortCounts& port) {
    return {{"name", port.name},
            {"sent_packets", port.sent},
            {"sent_bytes", port.sent_bytes},
            {"received_packets", port.received},
            {"received_bytes", port.received_bytes},
            {"port_sent_packets", port.port_sent},
            {"port_sent_bytes", port.port_sent_bytes},
            {"port_received_packets", port.port_received},
            {"port_received_bytes", port.port_received_bytes},
            {"port_missed_packets", port.port_missed},
            {"port_errors", port.port_errors},
            {"refused_packets", port.refused}};
}

json::object sample_json(const Sample& sample) {
    return {{"at_s", number(sample.at_s)},
            {"interval_s", number(sample.interval_s)},
            {"sent_packets", sample.sent},
            {"received_packets", sample.received},
            {"lost_packets", sample.lost},
            {"sent_bytes", sample.sent_bytes},
            {"received_bytes", sample.received_bytes},
            {"p50_ns", sample.p50_ns},
            {"p99_ns", sample.p99_ns},
            {"connections_closed", sample.connections}};
}

// `whole`: with what takes room, the series and the steps of the histogram.
json::object run_json(const RunResult& run, bool whole) {
    json::array ports;
    for (const PortCounts& port : run.ports) {
        ports.push_back(port_json(port));
    }
    const ConnectionCounts& c = run.connections;
    json::object out{{"seconds", number(run.seconds)},
                     {"sent_packets", run.sent},
                     {"sent_bytes", run.sent_bytes},
                     {"received_packets", run.received},
                     {"received_bytes", run.received_bytes},
                     {"lost_packets", run.lost},
                     {"loss_share", number(loss_share(run))},
                     {"duplicated_packets", run.duplicated},
                     {"reordered_packets", run.reordered},
                     {"corrupted_packets", run.corrupted},
                     {"foreign_packets", run.foreign},
                     {"late_packets", run.late},
                     {"behind", run.behind},
                     {"offered_pps", number(run.offered_pps)},
                     {"sent_pps", number(run.sent_pps)},
                     {"received_pps", number(run.received_pps)},
                     {"sent_bps", number(run.sent_bps)},
                     {"received_bps", number(run.received_bps)},
                     {"latency", latency_json(run.latency, whole)},
                     {"connections", json::object{{"opened", c.opened},
                                                  {"established", c.established},
                                                  {"closed", c.closed},
                                                  {"timed_out", c.timed_out},
                                                  {"reset", c.reset},
                                                  {"retransmitted", c.retransmitted}}},
                     {"ports", std::move(ports)}};
    if (whole) {
        json::array samples;
        for (const Sample& sample : run.samples) {
            samples.push_back(sample_json(sample));
        }
        out["samples"] = std::move(samples);
    }
    return out;
}

json::object options_json(const SearchOptions& options) {
    return {{"trial_s", number(options.trial_s)},
            {"loss_tolerance_share", number(options.loss_tolerance)},
            {"resolution_share", number(options.resolution)},
            {"max_packets_per_second", number(options.max_packets_per_second)},
            {"max_connections_per_second", number(options.max_connections_per_second)},
            {"line_bits_per_second", number(options.line_bits_per_second)},
            {"repeat", options.repeat_at_end},
            {"settle_s", number(options.settle_s)}};
}

json::array trials_json(const std::vector<Trial>& trials, std::optional<std::size_t> best) {
    json::array out;
    for (std::size_t i = 0; i < trials.size(); ++i) {
        const Trial& trial = trials[i];
        out.push_back(json::object{{"offered_per_second", number(trial.offered_per_second)},
                                   {"reached_per_second", number(trial.reached_per_second)},
                                   {"failed", trial.failed},
                                   {"passed", trial.passed},
                                   {"run", run_json(trial.result, best == i)}});
    }
    return out;
}

json::value index_json(std::optional<std::size_t> index) {
    return index ? json::value(*index) : json::value(nullptr);
}

void add(json::object& out, const RunResult& run) {
    out["kind"] = "run";
    out["profile"] = profile_json(run.profile);
    out["run"] = run_json(run, true);
}

void add(json::object& out, const ThroughputReport& report) {
    out["kind"] = "throughput";
    out["profile"] = profile_json(report.profile);
    out["search"] = options_json(report.options);
    json::array sizes;
    for (const ThroughputResult& size : report.sizes) {
        sizes.push_back(
            json::object{{"frame_bytes", size.frame_bytes},
                         {"packets_per_second", number(size.packets_per_second)},
                         {"bits_per_second", number(size.bits_per_second)},
                         {"ceiling_packets_per_second", number(size.ceiling_packets_per_second)},
                         {"ceiling_is_line", size.ceiling_is_line},
                         {"settled", size.settled},
                         {"best_trial", index_json(size.best)},
                         {"trials", trials_json(size.trials, size.best)}});
    }
    out["throughput"] = std::move(sizes);
}

void add(json::object& out, const ConnectionReport& report) {
    const ConnectionRateResult& found = report.found;
    out["kind"] = "connections";
    out["profile"] = profile_json(report.profile);
    out["search"] = options_json(report.options);
    out["connections"] = json::object{
        {"connections_per_second", number(found.connections_per_second)},
        {"ceiling_connections_per_second", number(found.ceiling_connections_per_second)},
        {"settled", found.settled},
        {"best_trial", index_json(found.best)},
        {"trials", trials_json(found.trials, found.best)}};
}

// As JSON, but 1488095.2 rather than 1.4880952E6.
std::string scalar_text(const json::value& value) {
    return value.is_double() ? fmt::format("{}", value.get_double()) : json::serialize(value);
}

// Objects whose members are all scalars stand on one line: a series is then a line a second.
bool flat(const json::value& value) {
    if (const auto* object = value.if_object()) {
        return std::none_of(object->begin(), object->end(),
                            [](const auto& member) { return member.value().is_structured(); });
    }
    return false;
}

void print(const json::value& value, std::string indent, std::string& out, bool inline_allowed) {
    if (!value.is_structured()) {
        out += scalar_text(value);
        return;
    }
    if (inline_allowed && value.is_object() && flat(value)) {
        const char* comma = "";
        out += '{';
        for (const auto& member : value.get_object()) {
            out += comma + json::serialize(json::string(member.key())) + ": " +
                   scalar_text(member.value());
            comma = ", ";
        }
        out += '}';
        return;
    }
    const std::string deeper = indent + "  ";
    const char* separator = "\n";
    if (const auto* array = value.if_array()) {
        out += '[';
        for (const json::value& item : *array) {
            out += separator + deeper;
            print(item, deeper, out, true);
            separator = ",\n";
        }
        out += array->empty() ? "]" : "\n" + indent + "]";
        return;
    }
    out += '{';
    for (const auto& member : value.get_object()) {
        out += separator + deeper + json::serialize(json::string(member.key())) + ": ";
        print(member.value(), deeper, out, false);
        separator = ",\n";
    }
    out += value.get_object().empty() ? "}" : "\n" + indent + "}";
}

}  // namespace

std::string report_json(const Report& report) {
    json::object out{{"report_version", kReportVersion},
                     {"tool", "sluice-pktgen"},
                     {"tool_version", report.tool_version},
                     {"started_at", report.started_at},
                     {"command", report.command}};
    std::visit([&](const auto& what) { add(out, what); }, report.what);
    std::string text;
    print(out, "", text, false);
    return text + "\n";
}

}  // namespace sluice::pktgen
