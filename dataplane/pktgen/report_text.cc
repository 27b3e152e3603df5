// Reports as a few lines for a terminal.
#include <fmt/format.h>

#include <string>

#include "dataplane/pktgen/report.h"
#include "dataplane/pktgen/units.h"

namespace sluice::pktgen {

namespace {

std::string latency_text(const Histogram& latency) {
    std::string out = fmt::format("min {}", time_text(static_cast<double>(latency.min())));
    for (const double percent : kPercentiles) {
        out += fmt::format(", p{} {}", percent,
                           time_text(static_cast<double>(latency.percentile(percent))));
    }
    return out + fmt::format(", max {}", time_text(static_cast<double>(latency.max())));
}

std::string amount(const char* name, std::uint64_t packets, double pps, double bps) {
    return fmt::format("  {:<12}{:>16} packets  {:>10}  {:>11}\n", name, grouped(packets),
                       with_prefix(pps, "pps"), with_prefix(bps, "bit/s"));
}

std::string body(const RunResult& run) {
    std::string out = fmt::format("{}: {:.3f} s\n", run.profile.name, run.seconds);
    out += amount("sent", run.sent, run.sent_pps, run.sent_bps);
    if (run.sent_pps < kReached * run.offered_pps) {
        out += fmt::format("    of {} that were asked for: the sender was not fast enough\n",
                           with_prefix(run.offered_pps, "pps"));
    }
    if (run.behind > 0) {
        out += fmt::format("  {:<12}{:>16} {}, due and not sent\n", "behind", grouped(run.behind),
                           run.profile.life_cycle == LifeCycle::kStateful ? "connections" : "packets");
    }
    out += amount("received", run.received, run.received_pps, run.received_bps);
    const bool known = run.profile.probe && run.profile.pcap.empty();
    if (known) {
        out += fmt::format("  {:<12}{:>16} packets  {}\n", "lost", grouped(run.lost),
                           percent_text(loss_share(run)));
    }
    for (const auto& [name, count] : {std::pair{"duplicated", run.duplicated},
                                      {"reordered", run.reordered},
                                      {"corrupted", run.corrupted},
                                      {"foreign", run.foreign},
                                      {"late", run.late}}) {
        if (count > 0) {
            out += fmt::format("  {:<12}{:>16} packets\n", name, grouped(count));
        }
    }
    const ConnectionCounts& c = run.connections;
    if (c.opened > 0 && run.seconds > 0) {
        out += fmt::format(
            "  connections: {} opened ({}), {} established, {} closed, {} timed out, {} reset, "
            "{} retransmitted\n",
            grouped(c.opened), with_prefix(static_cast<double>(c.opened) / run.seconds, "/s"),
            grouped(c.established), grouped(c.closed), grouped(c.timed_out), grouped(c.reset),
            grouped(c.retransmitted));
    }
    if (run.latency.count() > 0) {
        out += "  latency: " + latency_text(run.latency) + "\n";
    }
    for (const PortCounts& port : run.ports) {
        out += fmt::format(
            "  port {}: sent {} (it says {}), received {} (it says {}), refused {}, missed {}, "
            "errors {}\n",
            port.name, grouped(port.sent), grouped(port.port_sent), grouped(port.received),
            grouped(port.port_received), grouped(port.refused), grouped(port.port_missed),
            grouped(port.port_errors));
    }
    return out;
}

std::string body(const ThroughputReport& report) {
    std::string out =
        fmt::format("{}: throughput without {}loss\n", report.profile.name,
                    report.options.loss_tolerance > 0
                        ? fmt::format("more than {} ", percent_text(report.options.loss_tolerance))
                        : "");
    out += fmt::format("  {:>5}  {:>11}  {:>12}  {:>12}  {:>6}  {}\n", "bytes", "rate", "layer 1",
                       "ceiling", "trials", "latency");
    for (const ThroughputResult& size : report.sizes) {
        out += fmt::format("  {:>5}  {:>11}  {:>12}  {:>12}  {:>6}  ", size.frame_bytes,
                           with_prefix(size.packets_per_second, "pps"),
                           with_prefix(size.bits_per_second, "bit/s"),
                           with_prefix(size.ceiling_packets_per_second, "pps"), size.trials.size());
        if (size.best && size.trials[*size.best].result.latency.count() > 0) {
            const Histogram& latency = size.trials[*size.best].result.latency;
            out += fmt::format("p50 {}, p99 {}",
                               time_text(static_cast<double>(latency.percentile(50))),
                               time_text(static_cast<double>(latency.percentile(99))));
        }
        out += size.settled ? "\n" : " (not settled)\n";
    }
    return out;
}

std::string body(const ConnectionReport& report) {
    const ConnectionRateResult& found = report.found;
    std::string out =
        fmt::format("{}: {} connections a second{}; {} trials, the sender opened up to {}\n",
                    report.profile.name, with_prefix(found.connections_per_second),
                    found.settled ? "" : " (not settled)", found.trials.size(),
                    with_prefix(found.ceiling_connections_per_second, "/s"));
    if (found.best && found.trials[*found.best].result.latency.count() > 0) {
        out += "  SYN to SYN-ACK: " + latency_text(found.trials[*found.best].result.latency) + "\n";
    }
    return out;
}

}  // namespace

std::string report_text(const Report& report) {
    return std::visit([](const auto& what) { return body(what); }, report.what);
}

}  // namespace sluice::pktgen
