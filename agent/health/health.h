// Whether this node's proxy does its work, as load balancers and kubelets ask over HTTP. Pure but
// for a mutex: the clock is the caller's. Thread-safe.
#pragma once

#include <chrono>
#include <mutex>
#include <optional>
#include <string>

#include "agent/health/http_server.h"
#include "agent/health/metrics.h"

namespace sluice::health {

// How long a change may wait to be in force by default: twice the sync period of kube-proxy.
inline constexpr std::chrono::seconds kHealthyDelay{60};

class State {
public:
    using Time = std::chrono::system_clock::time_point;

    // A change that is not in force after twice the period makes the proxy unhealthy.
    explicit State(std::chrono::milliseconds sync_period = kHealthyDelay / 2)
        : healthy_delay_(2 * sync_period) {}

    // A change waits to be published; of several the oldest counts.
    void change_queued(Time now);
    // Nothing waits any more.
    void all_published(Time now);
    // The node is being deleted, or carries the taint ToBeDeletedByClusterAutoscaler.
    void set_node_eligible(bool eligible);

    // No change waits for longer than twice the sync period. An agent that is still waiting for the API server is
    // alive: to restart it would not help.
    [[nodiscard]] bool alive(Time now) const;
    // Alive, and something was published: before, this process has put nothing in force, and traffic that is sent
    // here may find no service.
    [[nodiscard]] bool ready(Time now) const;
    [[nodiscard]] bool node_eligible() const;
    // 200 or 503 with the JSON body. /livez: alive(). /healthz: ready(), and it says and obeys whether the node is
    // eligible.
    [[nodiscard]] HttpAnswer livez(Time now) const;
    [[nodiscard]] HttpAnswer healthz(Time now) const;

private:
    [[nodiscard]] bool alive_locked(Time now) const;
    [[nodiscard]] HttpAnswer answer_locked(Time now, bool healthy, bool with_node) const;

    const std::chrono::milliseconds healthy_delay_;
    mutable std::mutex mutex_;
    std::optional<Time> oldest_queued_;
    std::optional<Time> last_published_;
    bool node_eligible_ = true;
};

// "2026-11-21T00:00:00.123456Z".
[[nodiscard]] std::string format_time(State::Time time);

// Handlers for the two ports. The arguments outlive them.
[[nodiscard]] HttpHandler health_handler(const State& state, Metrics& metrics);
// mode: what /proxyMode says ("ebpf"). configz: the JSON of /configz; empty: there is none.
[[nodiscard]] HttpHandler metrics_handler(const State& state, Metrics& metrics, std::string mode,
                                          std::string configz = {});

}  // namespace sluice::health
