// What `sluice top`, `flows` and the flow log show. Pure: views in, text out.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "agent/cli/render.h"
#include "dataplane/ebpf/inspect.h"
#include "dataplane/ebpf/inspect_events.h"

namespace sluice::cli {

enum class TopOrder { kPackets, kBytes, kConnections, kFlows };

// What happened between two readings, a second.
struct Rates {
    double connections = 0, packets = 0, bytes = 0;
};

struct TopBackend {
    IpAddress address;
    std::uint16_t port = 0;
    std::string target;
    Rates rates;
    std::uint64_t flows = 0;
    dataplane::Traffic total;
};

struct TopService {
    std::string name;
    Protocol protocol = Protocol::kTcp;
    IpFamily family = IpFamily::kIpv4;
    Rates rates;
    double refused = 0;  // a second
    std::uint64_t flows = 0;
    dataplane::Traffic total;
    std::uint64_t refused_total = 0;
    std::vector<TopBackend> backends;  // in the same order as services
};

// The `count` busiest services (0: all). A service or backend that `before` lacks began at zero; counters that went
// back, as after an image was made anew, give zero.
[[nodiscard]] std::vector<TopService> compute_top(const dataplane::TrafficReport& before,
                                                  const dataplane::TrafficReport& after,
                                                  std::chrono::duration<double> between,
                                                  TopOrder order, std::size_t count);

[[nodiscard]] std::string render_top(const std::vector<TopService>& services,
                                     const dataplane::TrafficReport& report, bool with_backends,
                                     Format format);

[[nodiscard]] std::string render_flows(const dataplane::FlowList& list, Format format);

// One line, or one JSON object. time: of the day, as the person's clock says.
struct EventLine {
    std::string time;
    std::string service, target;
    dataplane::EventView event;
};
[[nodiscard]] std::string render_event(const EventLine& line, Format format);

// "1.2k", "34M": at most five characters.
[[nodiscard]] std::string short_number(double value);

}  // namespace sluice::cli
