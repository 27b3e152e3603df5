// See metrics.h.
#include "agent/health/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "api/base/metrics_text.h"
#include "api/base/result.h"

namespace sluice::health {
namespace {

// 1 ms doubled, as kube-proxy has them for syncs.
constexpr std::array kSyncBounds = {0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128,
                                    0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384};
// As kube-proxy has them: 0, quarter seconds to a half, seconds to 59, 60 to 115 by five, then half minutes to 300.
constexpr auto kProgrammingBounds = [] {
    std::array<double, 1 + 2 + 59 + 12 + 7> out{};
    std::size_t at = 1;
    for (int i = 1; i <= 2; ++i) out[at++] = 0.25 * i;
    for (int i = 1; i <= 59; ++i) out[at++] = i;
    for (int i = 0; i < 12; ++i) out[at++] = 60 + 5 * i;
    for (int i = 0; i < 7; ++i) out[at++] = 120 + 30 * i;
    return out;
}();
constexpr std::array kFineBounds = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01,
                                    0.025,  0.05,    0.1,    0.25,  0.5,    1.0,   5.0};
constexpr std::array kFamilies = {"IPv4", "IPv6"};

double wall_seconds() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

template <class Value>
void sample(std::string* out, const std::string& name, Value value) {
    fmt::format_to(std::back_inserter(*out), "{} {}\n", name, value);
}

void by_family(std::string* out, const char* name, const Histogram& histogram, const char* help) {
    metrics_text::head(out, name, "histogram", help);
    for (const char* family : kFamilies) {
        histogram.render(name, fmt::format("ip_family=\"{}\"", family), out);
    }
}

template <class Value>
void by_family(std::string* out, const char* name, const char* type, Value v4, Value v6,
               const char* help) {
    metrics_text::head(out, name, type, help);
    sample(out, fmt::format("{}{{ip_family=\"IPv4\"}}", name), v4);
    sample(out, fmt::format("{}{{ip_family=\"IPv6\"}}", name), v6);
}

}  // namespace

void Histogram::observe(double seconds) {
    SLUICE_ASSERT(bounds_.size() <= kMaxBounds);
    const auto bound = std::lower_bound(bounds_.begin(), bounds_.end(), seconds);
    ++counts_[static_cast<std::size_t>(bound - bounds_.begin())];
    sum_ += seconds;
}

void Histogram::render(const std::string& name, const std::string& labels, std::string* out) const {
    const char* comma = labels.empty() ? "" : ",";
    const std::string braces = labels.empty() ? "" : "{" + labels + "}";
    std::uint64_t total = 0;
    for (std::size_t i = 0; i <= bounds_.size(); ++i) {
        total += counts_[i];
        const std::string end = i < bounds_.size() ? fmt::format("{}", bounds_[i]) : "+Inf";
        sample(out, fmt::format("{}_bucket{{{}{}le=\"{}\"}}", name, labels, comma, end), total);
    }
    sample(out, fmt::format("{}_sum{}", name, braces), sum_);
    sample(out, fmt::format("{}_count{}", name, braces), total);
}

Metrics::Metrics()
    : sync_(kSyncBounds), full_(kSyncBounds), partial_(kSyncBounds),
      programming_(kProgrammingBounds), fine_(kFineBounds) {}

void Metrics::sync_finished(std::chrono::duration<double> took, bool full) {
    const std::lock_guard lock(mutex_);
    sync_.observe(took.count());
    (full ? full_ : partial_).observe(took.count());
    last_sync_s_ = wall_seconds();
}

void Metrics::applied_after(std::chrono::duration<double> latency) {
    const std::lock_guard lock(mutex_);
    fine_.observe(latency.count());
}

void Metrics::programmed_after(std::chrono::duration<double> latency) {
    const std::lock_guard lock(mutex_);
    programming_.observe(std::max(0.0, latency.count()));
}

void Metrics::queued() {
    const std::lock_guard lock(mutex_);
    last_queued_s_ = wall_seconds();
}

void Metrics::changes(std::uint64_t endpoints_v4, std::uint64_t endpoints_v6,
                      std::uint64_t services) {
    const std::lock_guard lock(mutex_);
    endpoint_changes_v4_ += endpoints_v4;
    endpoint_changes_v6_ += endpoints_v6;
    service_changes_ += services;
}

void Metrics::pending(std::uint64_t endpoints, std::uint64_t services) {
    const std::lock_guard lock(mutex_);
    endpoints_pending_ = endpoints;
    services_pending_ = services;
}

void Metrics::no_local_endpoints(std::uint64_t internal, std::uint64_t external) {
    const std::lock_guard lock(mutex_);
    no_local_internal_ = internal;
    no_local_external_ = external;
}

void Metrics::table_size(std::uint64_t services, std::uint64_t slices) {
    const std::lock_guard lock(mutex_);
    services_ = services;
    slices_ = slices;
}

void Metrics::sync_failed() {
    const std::lock_guard lock(mutex_);
    ++failures_;
}

void Metrics::pod_routes(std::uint64_t routes) {
    const std::lock_guard lock(mutex_);
    pod_routes_ = routes;
}

void Metrics::unreachable_nodes(std::vector<std::string> names) {
    const std::lock_guard lock(mutex_);
    unreachable_nodes_ = std::move(names);
}

void Metrics::pod_network_failed() {
    const std::lock_guard lock(mutex_);
    ++pod_network_failures_;
}

void Metrics::service_health_ports(std::size_t open) {
    const std::lock_guard lock(mutex_);
    health_ports_ = open;
}

void Metrics::service_health_failed() {
    const std::lock_guard lock(mutex_);
    ++health_port_failures_;
}

void Metrics::served(const std::string& endpoint, int code) {
    const std::lock_guard lock(mutex_);
    ++served_[{endpoint, code}];
}

void Metrics::add_collector(std::function<void(std::string*)> collector) {
    const std::lock_guard lock(mutex_);
    collectors_.push_back(std::move(collector));
}

std::string Metrics::render() const {
    std::unique_lock lock(mutex_);
    std::string out;
    by_family(&out, "kubeproxy_sync_proxy_rules_duration_seconds", sync_, "Duration of one publish.");
    by_family(&out, "kubeproxy_sync_full_proxy_rules_duration_seconds", full_,
              "Duration of publishing everything.");
    by_family(&out, "kubeproxy_sync_partial_proxy_rules_duration_seconds", partial_,
              "Duration of publishing a difference.");
    by_family(&out, "kubeproxy_network_programming_duration_seconds", programming_,
              "From the trigger time that the controller noted until packets follow.");
    metrics_text::head(&out, "sluice_apply_latency_seconds", "histogram",
           "From a change's arrival at this node until packets follow.");
    fine_.render("sluice_apply_latency_seconds", "", &out);
    by_family(&out, "kubeproxy_sync_proxy_rules_last_timestamp_seconds", "gauge", last_sync_s_,
              last_sync_s_, "When a publish last succeeded.");
    by_family(&out, "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", "gauge",
              last_queued_s_, last_queued_s_, "When a change last arrived.");
    // These four have no label of the family in kube-proxy either: one tracker there feeds both.
    const auto plain = [&out](const char* name, const char* type, std::uint64_t value, const char* help) {
        metrics_text::head(&out, name, type, help);
        sample(&out, name, value);
    };
    plain("kubeproxy_sync_proxy_rules_endpoint_changes_total", "counter",
          endpoint_changes_v4_ + endpoint_changes_v6_, "Changes of EndpointSlices seen.");
    plain("kubeproxy_sync_proxy_rules_endpoint_changes_pending", "gauge", endpoints_pending_,
          "Changes of EndpointSlices not yet published.");
    plain("kubeproxy_sync_proxy_rules_service_changes_total", "counter", service_changes_,
          "Changes of Services seen.");
    plain("kubeproxy_sync_proxy_rules_service_changes_pending", "gauge", services_pending_,
          "Changes of Services not yet published.");
    plain("sluice_service_health_ports", "gauge", health_ports_, "healthCheckNodePorts that are open.");
    plain("sluice_service_health_port_failures_total", "counter", health_port_failures_,
          "Attempts to open a healthCheckNodePort that failed.");
    metrics_text::head(&out, "kubeproxy_sync_proxy_rules_no_local_endpoints_total", "gauge",
           "Service ports that drop because their policy is Local and no endpoint is here.");
    for (const char* family : kFamilies) {
        const auto name = [&](const char* policy) {
            return fmt::format("kubeproxy_sync_proxy_rules_no_local_endpoints_total{{ip_family=\"{}\","
                               "traffic_policy=\"{}\"}}", family, policy);
        };
        sample(&out, name("internal"), no_local_internal_);
        sample(&out, name("external"), no_local_external_);
    }
    for (const char* endpoint : {"healthz", "livez"}) {
        const std::string name = fmt::format("kubeproxy_proxy_{}_total", endpoint);
        metrics_text::head(&out, name.c_str(), "counter", "Answers given, by status code.");
        for (const auto& [key, count] : served_) {
            if (key.first == endpoint) sample(&out, fmt::format("{}{{code=\"{}\"}}", name, key.second), count);
        }
    }
    metrics_text::head(&out, "sluice_services", "gauge", "Services known.");
    sample(&out, "sluice_services", services_);
    metrics_text::head(&out, "sluice_endpoint_slices", "gauge", "EndpointSlices known.");
    sample(&out, "sluice_endpoint_slices", slices_);
    metrics_text::head(&out, "sluice_sync_failures_total", "counter", "Publishes that the engine refused.");
    sample(&out, "sluice_sync_failures_total", failures_);
    metrics_text::head(&out, "sluice_pod_routes", "gauge", "Routes to the pods of nodes.");
    sample(&out, "sluice_pod_routes", pod_routes_);
    metrics_text::head(&out, "sluice_pod_network_failures_total", "counter",
           "Attempts to bring routes, configuration or masquerading in line that failed.");
    sample(&out, "sluice_pod_network_failures_total", pod_network_failures_);
    metrics_text::head(&out, "sluice_pod_route_unreachable", "gauge",
           "1 for each node whose pods cannot be reached from here.");
    for (const std::string& node : unreachable_nodes_) {
        sample(&out, fmt::format("sluice_pod_route_unreachable{{node=\"{}\"}}", node), 1);
    }
    // Collectors may take a while; nobody who notes a figure waits for them.
    const auto collectors = collectors_;
    lock.unlock();
    for (const auto& collector : collectors) collector(&out);
    return out;
}

}  // namespace sluice::health
