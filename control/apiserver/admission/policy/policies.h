// ValidatingAdmissionPolicy: writes are checked by expressions.
//
//   policies, bindings --observation--> Policies: compiled --match, params, evaluate--> deny, warn, audit
#pragma once

#include <atomic>
#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "control/apiserver/admission/policy/metrics.h"
#include "control/apiserver/admission/policy/policy.h"
#include "control/apiserver/registry/api.h"

namespace sluice::admission {

// Thread-safe.
class Policies {
public:
    // The authorizer, which expressions may ask, outlives it.
    explicit Policies(const authorization::Authorizer& authorizer);
    ~Policies();
    Policies(const Policies&) = delete;
    Policies& operator=(const Policies&) = delete;

    // Follows the policies and bindings of the api, which outlives stop(). They are in force once their write is
    // acknowledged. Writes the policies' status: warnings about types, and the generation that these are of.
    Result<void> start(registry::Api& api);
    void stop();

    // The refusal is that of the first policy by name. Takes as long as the expressions' budgets allow.
    [[nodiscard]] registry::Answer<void> validate(const registry::AdmissionRequest& request) const;
    // Whether a policy with a binding may be about this resource (may_be_about).
    [[nodiscard]] bool any(std::string_view resource) const;
    // Prometheus text.
    [[nodiscard]] std::string metrics() const { return metrics_.text(); }

private:
    struct Bound {
        PolicyPtr policy;
        std::vector<BindingPtr> bindings;
    };
    using Hooks = std::vector<Bound>;
    class Checking;

    void seen_policy(registry::Api& api, const registry::Observed& observed);
    void seen_binding(const registry::Observed& observed);
    void join();  // under mutex_
    [[nodiscard]] std::shared_ptr<const Hooks> hooks() const;
    [[nodiscard]] bool none() const { return count_.load(std::memory_order_acquire) == 0; }

    const authorization::Authorizer& authorizer_;
    mutable std::mutex mutex_;
    std::map<std::string, PolicyPtr> policies_;
    std::map<std::string, BindingPtr> bindings_;
    std::shared_ptr<const Hooks> hooks_;  // policies with bindings, by name
    std::atomic<std::size_t> count_{0};
    std::vector<std::unique_ptr<registry::Observation>> observations_;
    mutable PolicyMetrics metrics_;
};

}  // namespace sluice::admission
