// MutatingAdmissionWebhook and ValidatingAdmissionWebhook: what servers outside have to say about requests.
//
//   configurations --observation--> Webhooks --AdmissionReview--> caller: service (by ClusterIP) or url
//                                            <--allowed, JSONPatch, warnings--
//
// Calls are waited for on threads of their own (../../webhooks/waiting_room.h).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "control/apiserver/admission/matching/variables.h"
#include "control/apiserver/admission/webhooks/metrics.h"
#include "control/apiserver/admission/webhooks/webhook.h"
#include "control/apiserver/registry/api.h"
#include "control/apiserver/webhooks/caller.h"
#include "control/apiserver/webhooks/waiting_room.h"

namespace sluice::admission {

// Thread-safe.
class Webhooks {
public:
    // Which of the two kinds are asked. The authorizer, which match conditions may ask, outlives it.
    Webhooks(const authorization::Authorizer& authorizer, bool mutating, bool validating);
    ~Webhooks();
    Webhooks(const Webhooks&) = delete;
    Webhooks& operator=(const Webhooks&) = delete;

    // Follows the configurations of the api, which outlives stop(). A configuration is in force once its write is
    // acknowledged.
    Result<void> start(registry::Api& api);
    // Calls under way end at once. The Api's requests must have ended before this object does.
    void stop();

    // One after another, by the configurations' names; each sees what those before it made of *object. `again`: as
    // Admission::mutate_last has it. Waits. REQUIRES: on a thread that may.
    [[nodiscard]] registry::Answer<void> mutate(const registry::AdmissionRequest& request, registry::Message* object,
                                                const registry::Admission::AdmitAgain& again) const;
    // All at once; the first refusal in the same order counts. Waits.
    [[nodiscard]] registry::Answer<void> validate(const registry::AdmissionRequest& request) const;

    // Whether one may be asked about this resource (may_be_about).
    [[nodiscard]] bool any(std::string_view resource) const;
    // Runs the task on a thread that may wait; false when too many wait.
    bool run(std::function<void()> task) const { return room_.run(std::move(task)); }
    // Prometheus text.
    [[nodiscard]] std::string metrics() const;

private:
    using Hooks = std::vector<WebhookPtr>;
    // One call: what came of it, and what is to be done about it.
    struct Verdict;
    class Asking;
    class Mutation;

    void seen(const registry::Observed& observed, bool mutating);
    // Whether its match conditions hold. 403: that cannot be told, and the hook's failurePolicy is Fail.
    [[nodiscard]] registry::Answer<bool> meets_conditions(const Webhook& hook,
                                                          const registry::AdmissionRequest& request,
                                                          const codec::KindInfo& seen,
                                                          RequestVariables& variables) const;
    [[nodiscard]] std::shared_ptr<const Hooks> hooks(bool mutating) const;
    [[nodiscard]] bool none() const { return count_.load(std::memory_order_acquire) == 0; }

    const authorization::Authorizer& authorizer_;
    const bool mutates_;
    const bool validates_;
    mutable std::mutex mutex_;
    // By the name of the configuration.
    std::map<std::string, Hooks> configured_[2];
    // The same in order, for the requests.
    std::shared_ptr<const Hooks> ordered_[2];
    std::atomic<std::size_t> count_{0};
    std::vector<std::unique_ptr<registry::Observation>> observations_;
    mutable WebhookMetrics metrics_;
    mutable webhooks::Caller caller_;
    // Last, so that its threads end first.
    mutable webhooks::WaitingRoom room_;
};

}  // namespace sluice::admission
