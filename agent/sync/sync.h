// The agent's one working thread: takes the changes that the watches bring, has them compiled, and publishes the
// difference to the engine; owes the engine what it refused, and tries again.
//
// States: collecting (until Services and EndpointSlices are listed; own Node and ServiceCIDRs get kOptionalGrace
// longer), then replace_all until it succeeds, then following.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/compile/state.h"
#include "agent/health/health.h"
#include "agent/health/metrics.h"
#include "agent/health/service_health.h"
#include "agent/sync/node.h"
#include "agent/watch/watch.h"
#include "dataplane/engine.h"

namespace sluice::sync {

using Clock = std::chrono::steady_clock;

// The engine is asked again after a failure: first after the least, doubled each time.
inline constexpr std::chrono::milliseconds kMinRetry{100};
inline constexpr std::chrono::milliseconds kMaxRetry{30'000};
// After so many failures in a row everything is published anew.
inline constexpr int kReplaceAfterFailures = 5;
inline constexpr std::chrono::milliseconds kDeviceRetry{5'000};
// How long the own Node and the ServiceCIDRs are waited for after the kinds that must be there. With detectLocal by
// NodeCIDR the Node is waited for until it has ranges.
inline constexpr std::chrono::milliseconds kOptionalGrace{1'000};
// A healthCheckNodePort that could not be opened is tried again.
inline constexpr std::chrono::milliseconds kHealthCheckRetry{5'000};
inline constexpr std::chrono::milliseconds kReclaimInterval{1'000};
// Links are looked at now and then even if no message about them came.
inline constexpr std::chrono::milliseconds kLinkInterval{60'000};

struct SyncOptions {
    std::string node_name;
    NodePortAddresses nodeports;
    std::vector<IpPrefix> service_cidrs;  // by flag; the API's are preferred when it serves them
    DetectLocal detect;
    image::Forwarding forwarding = image::Forwarding::kNat;  // of Services that do not say
    std::optional<IpAddress> bind_address;
    bool masquerade_all = false;
    bool beside_kube_proxy = false;
};

// What Sync needs of the machine.
struct Machine {
    std::function<Clock::time_point()> now = [] { return Clock::now(); };
    std::function<Result<std::vector<netlink::Link>>()> links = [] { return netlink::list_links(); };
};

// One thread. The arguments outlive it.
class Sync {
public:
    Sync(dataplane::Engine& engine, health::State& health, health::Metrics& metrics,
         SyncOptions options, Machine machine = {});

    // Takes what arrived, publishes what can be; both may be empty. What went wrong is logged and tried again.
    void step(std::vector<watch::Event> events);
    // When step() wants to be called next if nothing arrives.
    [[nodiscard]] Clock::time_point wake_at() const;
    // True once replace_all has succeeded.
    [[nodiscard]] bool following() const { return following_; }

private:
    void take(client::Batch& batch);
    void take_service(const client::Delta& delta);
    void take_slice(const client::Delta& delta);
    void take_node(const client::Delta& delta);
    void take_cidr(const client::Delta& delta);
    [[nodiscard]] bool ready();
    void look_at_links();
    void make_image_node();
    void open_health_checks();
    void compile();
    void publish();
    void replace_all();
    void publish_change();
    void publish_node();
    void sync_devices();
    void succeeded(Clock::time_point started, bool full);
    void failed(const Error& error, const char* what);

    dataplane::Engine& engine_;
    health::State& health_;
    health::Metrics& metrics_;
    const SyncOptions options_;
    const Machine machine_;

    compile::State state_;
    bool services_listed_ = false;
    bool slices_listed_ = false;
    bool node_listed_ = false;
    bool cidrs_listed_ = false;
    std::optional<Clock::time_point> grace_until_;

    std::optional<NodeObject> node_object_;
    std::map<std::string, std::vector<IpPrefix>> api_cidrs_;  // by name of the ServiceCIDR
    std::vector<netlink::Link> links_;
    bool links_dirty_ = true;
    bool node_dirty_ = true;
    bool devices_dirty_ = true;
    image::Node node_;
    bool node_owed_ = false;
    health::ServiceHealth service_health_;
    bool health_checks_dirty_ = false;
    std::optional<Clock::time_point> health_checks_retry_at_;

    bool following_ = false;
    image::Change fresh_;  // compiled and not tried yet
    // Refused by the engine: what each service port should be, nullopt for not there.
    std::map<image::ServiceKey, std::optional<image::Service>> owed_;
    int failures_ = 0;
    std::optional<Clock::time_point> retry_at_;
    std::optional<Clock::time_point> devices_retry_at_;
    Clock::time_point reclaim_at_;
    Clock::time_point links_at_;

    // For the metrics: arrivals not in force yet.
    std::optional<Clock::time_point> oldest_arrival_;
    std::vector<std::chrono::system_clock::time_point> triggers_;
    std::uint64_t pending_slices_ = 0;
    std::uint64_t pending_services_ = 0;
};

// Runs sync on the queue until stopped.
void run(Sync& sync, watch::EventQueue& queue, const std::stop_token& stop);

}  // namespace sluice::sync
