// Keeps the network of pods on this node as the Nodes of the API want it: the configuration that sluice-cni is called
// with, the routes to other nodes' pods, and the masquerading of what leaves the cluster. A thread of its own, so that
// neither waits for the publishing of Services.
//
// It leaves everything in place when it ends: pods go on without it. clean_up() takes it all away.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/health/metrics.h"
#include "agent/network/plan.h"
#include "agent/watch/watch.h"

namespace sluice::network {

inline constexpr char kCniFile[] = "10-sluice.conflist";
// After a failure it is tried again, first after the least, doubled each time.
inline constexpr std::chrono::milliseconds kMinRetry{200};
inline constexpr std::chrono::milliseconds kMaxRetry{30'000};
// Everything is looked at this often even if nothing was heard.
inline constexpr std::chrono::milliseconds kLookInterval{60'000};

struct NetworkOptions {
    std::string node_name;
    std::string cni_conf_dir;  // empty: the configuration is somebody else's
    std::string cni_data_dir;  // empty: the plugin's default
    std::uint32_t mtu = 0;     // 0: of the link with the node's address
    bool route_pods = false;
    std::vector<IpPrefix> masquerade;  // empty: nothing

    [[nodiscard]] bool any() const {
        return !cni_conf_dir.empty() || route_pods || !masquerade.empty();
    }
    // Other nodes matter, not only this one.
    [[nodiscard]] bool all_nodes() const { return route_pods || !masquerade.empty(); }
};

// What it does to the machine; replaced in tests.
struct NetworkMachine {
    std::function<Result<std::vector<netlink::Link>>()> links;
    std::function<Result<std::vector<netlink::Route>>()> routes;
    std::function<Result<void>(const netlink::Route&)> put_route;
    std::function<Result<void>(const netlink::Route&)> remove_route;
    FindHop find_hop;
    // Runs commands of nftables, all or none.
    std::function<Result<void>(const std::string& commands)> nftables;
    static NetworkMachine real();
};

// One thread. metrics outlives it.
class PodNetwork {
public:
    using Clock = std::chrono::steady_clock;
    PodNetwork(NetworkOptions options, health::Metrics& metrics,
               NetworkMachine machine = NetworkMachine::real());

    // Takes what arrived and brings the machine in line; both may be nothing. Failures are logged and tried again.
    void step(std::vector<watch::Event> events, Clock::time_point now);
    [[nodiscard]] Clock::time_point wake_at() const { return wake_at_; }

private:
    void take(const client::Batch& batch);
    Result<void> sync_cni(const std::vector<netlink::Link>& links);
    Result<void> sync_routes(const std::vector<netlink::Link>& links);
    Result<void> sync_masquerade();
    void tell(std::vector<Problem> problems);

    const NetworkOptions options_;
    health::Metrics& metrics_;
    const NetworkMachine machine_;
    PodNodes nodes_;
    bool listed_ = false;
    std::vector<Problem> problems_;        // told already
    std::string cni_written_;              // empty: not known
    std::optional<std::string> masquerade_in_force_;
    std::string last_failure_;
    std::chrono::milliseconds retry_ = kMinRetry;
    Clock::time_point wake_at_;
};

// Runs it on the queue until stopped.
void run(PodNetwork& network, watch::EventQueue& queue, const std::stop_token& stop);

// Removes the configuration (where a folder is given), all routes of ours and the masquerading. What was removed, in
// words.
Result<std::vector<std::string>> clean_up(const std::string& cni_conf_dir);

// Whole or not at all: nobody reads half of it, and a crash leaves the old file.
Result<void> write_atomically(const std::string& directory, const std::string& name,
                              const std::string& text);

}  // namespace sluice::network
