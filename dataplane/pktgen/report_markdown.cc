// Reports as Markdown, for a page of documentation or a comment on a change.
#include <fmt/format.h>

#include <string>

#include "dataplane/pktgen/profile_text.h"
#include "dataplane/pktgen/report.h"
#include "dataplane/pktgen/units.h"

namespace sluice::pktgen {

namespace {

// What a user wrote may have what Markdown gives a meaning to.
std::string plain(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if (c == '\n' || c == '\r') {
            out += ' ';
            continue;
        }
        if (std::string_view("\\`*_{}[]<>#|").find(c) != std::string_view::npos) {
            out += '\\';
        }
        out += c;
    }
    return out;
}

std::string what_was_sent(const Profile& profile) {
    if (!profile.pcap.empty()) {
        return "the frames of " + plain(profile.pcap);
    }
    const bool one = profile.flows == 1;
    std::string out = fmt::format("{}, {} bytes", profile.l4 == L4::kTcp ? "TCP" : "UDP",
                                  sizes_text(profile.sizes));
    out += one ? ", one flow"
               : fmt::format(", {} flows {}", profile.flows == 0 ? "all" : grouped(profile.flows),
                             choice_name(profile.choice));
    if (profile.life_cycle != LifeCycle::kNone) {
        out += fmt::format(", life cycle {}", life_cycle_name(profile.life_cycle));
    }
    return out;
}

std::string latency_cells(const Histogram& latency) {
    if (latency.count() == 0) {
        return " | | | | |";
    }
    std::string out;
    for (const double percent : {50.0, 99.0, 99.9}) {
        out += " | " + time_text(static_cast<double>(latency.percentile(percent)));
    }
    return out + " | " + time_text(static_cast<double>(latency.max())) + " |";
}

std::string latency_table(const Histogram& latency) {
    if (latency.count() == 0) {
        return "";
    }
    std::string head = "\n| latency | min | mean |";
    std::string rule = "|---|---:|---:|";
    std::string row = fmt::format("| | {} | {} |", time_text(static_cast<double>(latency.min())),
                                  time_text(latency.mean()));
    for (const double percent : kPercentiles) {
        head += fmt::format(" {} % |", percent);
        rule += "---:|";
        row += fmt::format(" {} |", time_text(static_cast<double>(latency.percentile(percent))));
    }
    head += " max |\n";
    rule += "---:|\n";
    row += fmt::format(" {} |\n", time_text(static_cast<double>(latency.max())));
    return head + rule + row;
}

std::string port_table(const std::vector<PortCounts>& ports) {
    if (ports.empty()) {
        return "";
    }
    std::string out =
        "\n| port | sent | the port says | received | the port says | missed | errors | refused |\n"
        "|---|---:|---:|---:|---:|---:|---:|---:|\n";
    for (const PortCounts& port : ports) {
        out += fmt::format("| {} | {} | {} | {} | {} | {} | {} | {} |\n", plain(port.name),
                           grouped(port.sent), grouped(port.port_sent), grouped(port.received),
                           grouped(port.port_received), grouped(port.port_missed),
                           grouped(port.port_errors), grouped(port.refused));
    }
    return out;
}

std::string body(const RunResult& run) {
    std::string out = fmt::format("{}; {} s counted.\n\n", what_was_sent(run.profile), run.seconds);
    out += "| | packets | bytes | packets/s | bits/s (layer 1) |\n|---|---:|---:|---:|---:|\n";
    out += fmt::format("| sent | {} | {} | {} | {} |\n", grouped(run.sent), grouped(run.sent_bytes),
                       with_prefix(run.sent_pps), with_prefix(run.sent_bps));
    out += fmt::format("| received | {} | {} | {} | {} |\n", grouped(run.received),
                       grouped(run.received_bytes), with_prefix(run.received_pps),
                       with_prefix(run.received_bps));
    if (run.sent_pps < kReached * run.offered_pps) {
        out += fmt::format("| asked for | | | {} | |\n", with_prefix(run.offered_pps));
    }
    if (run.behind > 0) {
        out += fmt::format("| behind | {} | | | |\n", grouped(run.behind));
    }
    out +=
        fmt::format("| lost | {} ({}) | | | |\n", grouped(run.lost), percent_text(loss_share(run)));
    for (const auto& [name, count] : {std::pair{"duplicated", run.duplicated},
                                      {"reordered", run.reordered},
                                      {"corrupted", run.corrupted},
                                      {"foreign", run.foreign},
                                      {"late", run.late}}) {
        if (count > 0) {
            out += fmt::format("| {} | {} | | | |\n", name, grouped(count));
        }
    }
    const ConnectionCounts& c = run.connections;
    if (c.opened > 0) {
        out +=
            "\n| connections | opened | established | closed | timed out | reset | retransmitted "
            "|\n"
            "|---|---:|---:|---:|---:|---:|---:|\n";
        out += fmt::format("| | {} | {} | {} | {} | {} | {} |\n", grouped(c.opened),
                           grouped(c.established), grouped(c.closed), grouped(c.timed_out),
                           grouped(c.reset), grouped(c.retransmitted));
    }
    return out + latency_table(run.latency) + port_table(run.ports);
}

std::string how_searched(const SearchOptions& options) {
    return fmt::format("trials of {} s, tolerated loss {}, resolution {}, {} repetitions",
                       options.trial_s, percent_text(options.loss_tolerance),
                       percent_text(options.resolution), options.repeat_at_end);
}

std::string body(const ThroughputReport& report) {
    std::string out = fmt::format("Throughput as RFC 2544 (26.1) defines it: {}.\n\n",
                                  how_searched(report.options));
    out +=
        "| frame bytes | packets/s | bits/s (layer 1) | of the ceiling | ceiling, packets/s | "
        "trials | p50 | p99 "
        "| p99.9 | max |\n|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n";
    for (const ThroughputResult& size : report.sizes) {
        const double share = size.ceiling_packets_per_second > 0
                                 ? size.packets_per_second / size.ceiling_packets_per_second
                                 : 0;
        out += fmt::format("| {} | {}{} | {} | {:.1f} % | {} ({}) | {}", size.frame_bytes,
                           with_prefix(size.packets_per_second),
                           size.settled ? "" : " (not settled)", with_prefix(size.bits_per_second),
                           share * 100, with_prefix(size.ceiling_packets_per_second),
                           size.ceiling_is_line ? "line" : "sender", size.trials.size());
        out += size.best ? latency_cells(size.trials[*size.best].result.latency) : " | | | | |";
        out += "\n";
    }
    return out + "\nLatencies are of the last trial at the rate found.\n";
}

std::string body(const ConnectionReport& report) {
    const ConnectionRateResult& found = report.found;
    std::string out = fmt::format(
        "{} connections a second{}; {}. The sender opened up to {} a second.\n\n",
        with_prefix(found.connections_per_second), found.settled ? "" : " (not settled)",
        how_searched(report.options), with_prefix(found.ceiling_connections_per_second));
    out +=
        "| trial | offered/s | opened/s | opened | failed | passed | p50 | p99 | p99.9 | max |\n"
        "|---:|---:|---:|---:|---:|---|---:|---:|---:|---:|\n";
    for (std::size_t i = 0; i < found.trials.size(); ++i) {
        const Trial& trial = found.trials[i];
        out += fmt::format(
            "| {} | {} | {} | {} | {} | {}", i + 1,
            trial.offered_per_second == 0 ? "no limit" : with_prefix(trial.offered_per_second),
            with_prefix(trial.reached_per_second), grouped(trial.result.connections.opened),
            grouped(trial.failed), trial.passed ? "yes" : "no");
        out += latency_cells(trial.result.latency) + "\n";
    }
    return out + "\nLatency is that of SYN to SYN-ACK at the client.\n";
}

std::string title_of(const RunResult& run) {
    return run.profile.name;
}
std::string title_of(const ThroughputReport& report) {
    return report.profile.name + ": throughput";
}
std::string title_of(const ConnectionReport& report) {
    return report.profile.name + ": connections";
}

}  // namespace

std::string report_markdown(const Report& report) {
    std::string out =
        "# " + plain(std::visit([](const auto& what) { return title_of(what); }, report.what)) +
        "\n\n";
    out += std::visit([](const auto& what) { return body(what); }, report.what);
    out += fmt::format("\nsluice-pktgen {}", plain(report.tool_version));
    if (!report.started_at.empty()) {
        out += ", " + plain(report.started_at);
    }
    out += ".\n";
    if (!report.command.empty()) {
        out += "\n    " + report.command + "\n";
    }
    return out;
}

}  // namespace sluice::pktgen
