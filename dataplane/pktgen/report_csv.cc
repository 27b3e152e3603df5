// Reports as one CSV table (RFC 4180): rows of several kinds, told apart by their first column.
#include <fmt/format.h>

#include <array>
#include <map>
#include <string>

#include "dataplane/pktgen/report.h"

namespace sluice::pktgen {

namespace {

constexpr std::array kColumns{
    "row",
    "profile",
    "frame_bytes",
    "trial",
    "passed",
    "at_s",
    "seconds",
    "offered_per_second",
    "sent_packets",
    "sent_bytes",
    "received_packets",
    "received_bytes",
    "lost_packets",
    "loss_share",
    "duplicated_packets",
    "reordered_packets",
    "corrupted_packets",
    "foreign_packets",
    "late_packets",
    "behind",
    "sent_pps",
    "received_pps",
    "sent_bps",
    "received_bps",
    "latency_min_ns",
    "latency_mean_ns",
    "latency_p50_ns",
    "latency_p90_ns",
    "latency_p99_ns",
    "latency_p99_9_ns",
    "latency_p99_99_ns",
    "latency_max_ns",
    "connections_opened",
    "connections_established",
    "connections_closed",
    "connections_timed_out",
    "connections_reset",
    "connections_retransmitted",
    "found_per_second",
    "ceiling_per_second",
    "settled",
};

std::string quoted(std::string_view text) {
    if (text.find_first_of(",\"\r\n") == std::string_view::npos) {
        return std::string(text);
    }
    std::string out = "\"";
    for (const char c : text) {
        out += c == '"' ? "\"\"" : std::string(1, c);
    }
    return out + "\"";
}

class Row {
public:
    explicit Row(std::string_view kind) { set("row", kind); }
    void set(std::string_view column, std::string_view text) { cells_[column] = quoted(text); }
    void set(std::string_view column, std::uint64_t value) {
        cells_[column] = std::to_string(value);
    }
    void set(std::string_view column, double value) { cells_[column] = fmt::format("{}", value); }
    void set(std::string_view column, bool value) { cells_[column] = value ? "true" : "false"; }
    [[nodiscard]] std::string text() const {
        std::string out;
        for (const char* column : kColumns) {
            out += column == kColumns.front() ? "" : ",";
            const auto found = cells_.find(column);
            out += found == cells_.end() ? "" : found->second;
        }
        return out + "\r\n";
    }

private:
    std::map<std::string_view, std::string> cells_;
};

void add_run(Row& row, const RunResult& run) {
    row.set("seconds", run.seconds);
    row.set("sent_packets", run.sent);
    row.set("sent_bytes", run.sent_bytes);
    row.set("received_packets", run.received);
    row.set("received_bytes", run.received_bytes);
    row.set("lost_packets", run.lost);
    row.set("loss_share", loss_share(run));
    row.set("duplicated_packets", run.duplicated);
    row.set("reordered_packets", run.reordered);
    row.set("corrupted_packets", run.corrupted);
    row.set("foreign_packets", run.foreign);
    row.set("late_packets", run.late);
    row.set("behind", run.behind);
    row.set("sent_pps", run.sent_pps);
    row.set("received_pps", run.received_pps);
    row.set("sent_bps", run.sent_bps);
    row.set("received_bps", run.received_bps);
    if (run.latency.count() > 0) {
        row.set("latency_min_ns", run.latency.min());
        row.set("latency_mean_ns", run.latency.mean());
        row.set("latency_p50_ns", run.latency.percentile(50));
        row.set("latency_p90_ns", run.latency.percentile(90));
        row.set("latency_p99_ns", run.latency.percentile(99));
        row.set("latency_p99_9_ns", run.latency.percentile(99.9));
        row.set("latency_p99_99_ns", run.latency.percentile(99.99));
        row.set("latency_max_ns", run.latency.max());
    }
    const ConnectionCounts& c = run.connections;
    if (c.opened > 0) {
        row.set("connections_opened", c.opened);
        row.set("connections_established", c.established);
        row.set("connections_closed", c.closed);
        row.set("connections_timed_out", c.timed_out);
        row.set("connections_reset", c.reset);
        row.set("connections_retransmitted", c.retransmitted);
    }
}

std::string sample_row(const Sample& sample, const std::string& name) {
    Row row("sample");
    row.set("profile", name);
    row.set("at_s", sample.at_s);
    row.set("seconds", sample.interval_s);
    row.set("sent_packets", sample.sent);
    row.set("sent_bytes", sample.sent_bytes);
    row.set("received_packets", sample.received);
    row.set("received_bytes", sample.received_bytes);
    row.set("lost_packets", sample.lost);
    if (sample.interval_s > 0) {
        row.set("sent_pps", static_cast<double>(sample.sent) / sample.interval_s);
        row.set("received_pps", static_cast<double>(sample.received) / sample.interval_s);
    }
    row.set("latency_p50_ns", sample.p50_ns);
    row.set("latency_p99_ns", sample.p99_ns);
    row.set("connections_closed", sample.connections);
    return row.text();
}

std::string trial_row(const Trial& trial, std::size_t number, const std::string& name,
                      std::uint32_t frame_bytes) {
    Row row("trial");
    row.set("profile", name);
    if (frame_bytes != 0) row.set("frame_bytes", std::uint64_t{frame_bytes});
    row.set("trial", std::uint64_t{number});
    row.set("passed", trial.passed);
    row.set("offered_per_second", trial.offered_per_second);
    add_run(row, trial.result);
    return row.text();
}

std::string rows(const RunResult& run) {
    std::string out;
    for (const Sample& sample : run.samples) {
        out += sample_row(sample, run.profile.name);
    }
    Row row("run");
    row.set("profile", run.profile.name);
    row.set("offered_per_second", run.offered_pps);
    add_run(row, run);
    return out + row.text();
}

std::string rows(const ThroughputReport& report) {
    std::string out;
    for (const ThroughputResult& size : report.sizes) {
        for (std::size_t i = 0; i < size.trials.size(); ++i) {
            out += trial_row(size.trials[i], i, report.profile.name, size.frame_bytes);
        }
        Row row("throughput");
        row.set("profile", report.profile.name);
        row.set("frame_bytes", std::uint64_t{size.frame_bytes});
        if (size.best) {
            row.set("trial", std::uint64_t{*size.best});
            row.set("passed", true);
            row.set("offered_per_second", size.trials[*size.best].offered_per_second);
            add_run(row, size.trials[*size.best].result);
        }
        row.set("found_per_second", size.packets_per_second);
        row.set("ceiling_per_second", size.ceiling_packets_per_second);
        row.set("settled", size.settled);
        out += row.text();
    }
    return out;
}

std::string rows(const ConnectionReport& report) {
    const ConnectionRateResult& found = report.found;
    std::string out;
    for (std::size_t i = 0; i < found.trials.size(); ++i) {
        out += trial_row(found.trials[i], i, report.profile.name, 0);
    }
    Row row("connections");
    row.set("profile", report.profile.name);
    if (found.best) {
        row.set("trial", std::uint64_t{*found.best});
        row.set("passed", true);
        row.set("offered_per_second", found.trials[*found.best].offered_per_second);
        add_run(row, found.trials[*found.best].result);
    }
    row.set("found_per_second", found.connections_per_second);
    row.set("ceiling_per_second", found.ceiling_connections_per_second);
    row.set("settled", found.settled);
    return out + row.text();
}

}  // namespace

std::string report_csv(const Report& report) {
    std::string out;
    for (const char* column : kColumns) {
        out += column == kColumns.front() ? "" : ",";
        out += column;
    }
    out += "\r\n";
    return out + std::visit([](const auto& what) { return rows(what); }, report.what);
}

}  // namespace sluice::pktgen
