// The agent's own figures and their text form for Prometheus. Names and labels are those that dashboards for kube-proxy
// use, where we have the datum; ours, with finer buckets, begin with sluice_. Thread-safe.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "api/base/ip_address.h"

namespace sluice::health {

// Both families are published in one go, so figures of a sync are shown under both.
class Histogram {
public:
    // bounds: upper ends in seconds, rising; at most kMaxBounds.
    static constexpr std::size_t kMaxBounds = 96;
    explicit Histogram(std::span<const double> bounds) : bounds_(bounds) {}
    void observe(double seconds);
    // labels: `{ip_family="IPv4"}` without braces; may be empty.
    void render(const std::string& name, const std::string& labels, std::string* out) const;

private:
    std::span<const double> bounds_;
    std::array<std::uint64_t, kMaxBounds + 1> counts_{};
    double sum_ = 0;
};

class Metrics {
public:
    Metrics();

    void sync_finished(std::chrono::duration<double> took, bool full);
    // From a change's arrival at this node until packets follow it.
    void applied_after(std::chrono::duration<double> latency);
    // From the trigger time that the controller noted, by the wall clocks of two machines.
    void programmed_after(std::chrono::duration<double> latency);
    void queued();
    void changes(std::uint64_t endpoints_v4, std::uint64_t endpoints_v6, std::uint64_t services);
    void pending(std::uint64_t endpoints, std::uint64_t services);
    void no_local_endpoints(std::uint64_t internal, std::uint64_t external);
    void table_size(std::uint64_t services, std::uint64_t slices);
    void sync_failed();
    // Of the network of pods: routes to other nodes, nodes that pods here cannot reach, and attempts that failed.
    void pod_routes(std::uint64_t routes);
    void unreachable_nodes(std::vector<std::string> names);
    void pod_network_failed();
    // healthCheckNodePorts: how many are open, and attempts to open one that failed.
    void service_health_ports(std::size_t open);
    void service_health_failed();
    void served(const std::string& endpoint, int code);  // "healthz" or "livez"
    // Adds what somebody else knows at each render(): appends samples in Prometheus' text form. Called on the thread
    // that serves /metrics, one at a time.
    void add_collector(std::function<void(std::string*)> collector);

    [[nodiscard]] std::string render() const;

private:
    mutable std::mutex mutex_;
    Histogram sync_;
    Histogram full_;
    Histogram partial_;
    Histogram programming_;
    Histogram fine_;
    double last_sync_s_ = 0;  // wall clock, seconds since 1970
    double last_queued_s_ = 0;
    std::uint64_t endpoint_changes_v4_ = 0;
    std::uint64_t endpoint_changes_v6_ = 0;
    std::uint64_t service_changes_ = 0;
    std::uint64_t endpoints_pending_ = 0;
    std::uint64_t services_pending_ = 0;
    std::uint64_t no_local_internal_ = 0;
    std::uint64_t no_local_external_ = 0;
    std::uint64_t services_ = 0;
    std::uint64_t slices_ = 0;
    std::uint64_t failures_ = 0;
    std::uint64_t pod_routes_ = 0;
    std::uint64_t pod_network_failures_ = 0;
    std::uint64_t health_ports_ = 0;
    std::uint64_t health_port_failures_ = 0;
    std::vector<std::string> unreachable_nodes_;
    std::map<std::pair<std::string, int>, std::uint64_t> served_;
    std::vector<std::function<void(std::string*)>> collectors_;
};

}  // namespace sluice::health
