// Where requests wait for their turn: between who may do what and doing it. Either priority and fairness
// (dispatcher.h), or two plain limits of requests in flight.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "control/apiserver/authorization/attributes.h"
#include "control/apiserver/flowcontrol/estimate.h"
#include "control/apiserver/flowcontrol/types.h"
#include "control/http/server.h"

namespace sluice::flowcontrol {

class Dispatcher;

struct GateOptions {
    bool fairness = true;  // --enable-priority-and-fairness
    // Together the seats of fairness; without it, limits of their own. 0: no limit.
    std::uint32_t max_requests = 400;           // --max-requests-inflight
    std::uint32_t max_mutating_requests = 200;  // --max-mutating-requests-inflight
    std::uint32_t max_wait_ms = 15'000;         // a quarter of the time that a request has
};

// Thread-safe. The owner calls stop() before it lets go of it.
class Gate {
public:
    using Next = std::function<void(std::shared_ptr<http::Request>, std::shared_ptr<http::Responder>)>;

    explicit Gate(const GateOptions& options);
    ~Gate();
    Gate(const Gate&) = delete;
    Gate& operator=(const Gate&) = delete;

    // Calls next now or later, perhaps on another thread, or answers 429 with Retry-After. Long-running requests
    // (exec, attach, portforward, proxy, log) pass; a watch counts until its stream begins.
    void pass(std::shared_ptr<http::Request> request, const authorization::Attributes& asked,
              std::shared_ptr<http::Responder> responder, Next next);
    // How many objects of each resource ("pods", "deployments.apps") there are, by which lists are estimated.
    void count_objects(const std::vector<std::pair<std::string, std::uint64_t>>& objects) { objects_.renew(objects); }
    // FlowSchemas and levels from now on; does nothing without fairness.
    void configure(const Configuration& configuration);
    void stop();
    [[nodiscard]] std::string metrics() const;

private:
    void pass_plainly(std::shared_ptr<http::Request> request,
                      const authorization::Attributes& asked,
                      std::shared_ptr<http::Responder> responder, const Next& next);

    const GateOptions options_;
    std::shared_ptr<Dispatcher> dispatcher_;  // null without fairness
    ObjectCounts objects_;
    const std::shared_ptr<WatchCounts> watches_ = std::make_shared<WatchCounts>();
    std::shared_ptr<std::atomic<std::uint32_t>> reading_;
    std::shared_ptr<std::atomic<std::uint32_t>> mutating_;
    std::atomic<std::uint64_t> dropped_reading_{0};
    std::atomic<std::uint64_t> dropped_mutating_{0};
};

}  // namespace sluice::flowcontrol
