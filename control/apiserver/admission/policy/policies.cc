#include "control/apiserver/admission/policy/policies.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "api/base/log.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/admission/matching/seen.h"
#include "control/apiserver/admission/policy/params.h"
#include "control/apiserver/admission/policy/type_checking.h"
#include "control/apiserver/registry/rest/listing.h"
#include "control/http/forwarding_responder.h"
#include "control/http/status_body.h"

namespace sluice::admission {

using registry::AdmissionRequest;
using registry::Answer;
using registry::refuse;

namespace {

constexpr std::string_view kComponent = "policies";
constexpr const char* kFailureAnnotation = "validation.policy.admission.k8s.io/validation_failure";

int code_of(std::string_view reason) {
    constexpr int kInvalid = 422;
    if (reason == "Forbidden") return 403;
    if (reason == "Unauthorized") return 401;
    if (reason == "RequestEntityTooLarge") return 413;
    return kInvalid;
}

using ApiPolicy = admissionv1::ValidatingAdmissionPolicy;

bool has_status(const ApiPolicy& policy) {
    return policy.status().has_typechecking() &&
           policy.status().observedgeneration() == policy.metadata().generation();
}

void write_status(registry::Api& api, const ApiPolicy& policy) {
    auto warnings = check_types(policy);
    api.amend(
        registry::kind_named("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies"), "",
        policy.metadata().name(),
        [warnings = std::move(warnings), generation = policy.metadata().generation()](
            const google::protobuf::Message* existing) -> std::unique_ptr<google::protobuf::Message> {
            if (existing == nullptr) return nullptr;
            auto out = std::make_unique<ApiPolicy>(static_cast<const ApiPolicy&>(*existing));
            // Of a newer one, somebody else is being told.
            if (out->metadata().generation() != generation) return nullptr;
            auto& status = *out->mutable_status();
            status.set_observedgeneration(generation);
            status.mutable_typechecking()->clear_expressionwarnings();
            for (const TypeWarning& warning : warnings) {
                auto& added = *status.mutable_typechecking()->add_expressionwarnings();
                added.set_fieldref(warning.field);
                added.set_warning(warning.text);
            }
            return out;
        },
        [name = policy.metadata().name()](const Result<void>& written) {
            if (!written) log::warn(kComponent, "status of {}: {}", name, written.error().message);
        },
        true);
}

}  // namespace

// One request on its way through the policies.
class Policies::Checking {
public:
    Checking(const Policies& owner, const AdmissionRequest& request)
        : owner_(owner), request_(request), variables_(request, owner.authorizer_) {}

    Answer<void> run(const Hooks& hooks) {
        for (const Bound& bound : hooks) {
            if (auto ok = ask(bound); !ok) return ok;
        }
        if (denials_.empty()) return {};
        const Denial& first = denials_.front();
        const std::string message =
            first.binding.empty()
                ? fmt::format("ValidatingAdmissionPolicy '{}' denied request: {}", first.policy, first.message)
                : fmt::format("ValidatingAdmissionPolicy '{}' with binding '{}' denied request: {}", first.policy,
                              first.binding, first.message);
        registry::StatusError error = registry::forbidden(request_.kind, request_.name, message);
        error.reason = first.reason.empty() ? "Invalid" : first.reason;
        error.code = code_of(error.reason);
        error.causes.push_back({"", message, ""});
        return refuse(std::move(error));
    }

private:
    struct Denial {
        std::string policy, binding, message, reason;
    };

    // What is wrong with a policy or binding itself.
    void misconfigured(const Policy& policy, const PolicyBinding* binding, const std::string& why) {
        if (policy.ignore_failures) return;
        denials_.push_back({policy.name, binding == nullptr ? "" : binding->name,
                            fmt::format("failed to configure {}: {}", binding == nullptr ? "policy" : "binding", why),
                            ""});
    }

    Answer<void> ask(const Bound& bound) {
        const Policy& policy = *bound.policy;
        auto found = match(policy.criteria, request_);
        if (!found) {
            misconfigured(policy, nullptr, found.error().message);
            return {};
        }
        if (found->kind == nullptr) return {};
        registry::Core& core = *request_.call.core;
        std::optional<ParamSource> source;
        if (policy.param_kind) {
            auto there = param_source(core, *policy.param_kind);
            if (!there) {
                misconfigured(policy, nullptr, there.error().message);
                return {};
            }
            source = std::move(*there);
        }
        Annotations annotations;
        for (const BindingPtr& binding : bound.bindings) {
            if (binding->criteria) {
                const auto in = match(*binding->criteria, request_);
                if (!in) misconfigured(policy, binding.get(), in.error().message);
                if (!in || in->kind == nullptr) continue;
            }
            if (!source) {
                take(policy, *binding, evaluate_policy(policy, variables_, *found->kind, std::nullopt), &annotations);
                continue;
            }
            auto params = collect_params(core, *source, binding->params, seen_namespace(request_));
            if (!params) {
                misconfigured(policy, binding.get(), params.error().message);
                continue;
            }
            for (const cel::Value& one : *params) {
                take(policy, *binding, evaluate_policy(policy, variables_, *found->kind, one), &annotations);
            }
        }
        publish(policy, annotations);
        return {};
    }

    using Annotations = std::map<std::string, std::vector<std::string>>;

    void take(const Policy& policy, const PolicyBinding& binding, const PolicyOutcome& outcome,
              Annotations* annotations) {
        for (std::size_t i = 0; i < outcome.decisions.size(); ++i) decided(policy, binding, outcome.decisions[i], i);
        for (const AnnotationOutcome& one : outcome.annotations) {
            if (!one.error.empty()) {
                const PolicyDecision failure{true, true, one.error, "", one.elapsed};
                denials_.push_back({policy.name, binding.name, one.error, ""});
                owner_.metrics_.record(policy.name, binding.name, failure, "deny");
            } else if (!one.value.empty()) {
                const std::string value = one.value.substr(0, expressions::kMaxAnnotationBytes);
                auto& values = (*annotations)[one.key];
                if (std::find(values.begin(), values.end(), value) == values.end()) values.push_back(value);
            }
        }
    }

    void decided(const Policy& policy, const PolicyBinding& binding, const PolicyDecision& decision,
                 std::size_t index) {
        if (!decision.deny) {
            if (decision.failed) owner_.metrics_.record(policy.name, binding.name, decision, "allow");
            return;
        }
        if (binding.deny) {
            denials_.push_back({policy.name, binding.name, decision.message, decision.reason});
            owner_.metrics_.record(policy.name, binding.name, decision, "deny");
        }
        if (binding.audit) {
            std::vector<std::string> actions;
            for (const std::string& action : binding.actions) actions.push_back(http::json_quote(action));
            annotate(kFailureAnnotation,
                     fmt::format(R"([{{"message":{},"policy":{},"binding":{},"expressionIndex":{},)"
                                 R"("validationActions":[{}]}}])",
                                 http::json_quote(decision.message), http::json_quote(policy.name),
                                 http::json_quote(binding.name), index, fmt::join(actions, ",")));
            owner_.metrics_.record(policy.name, binding.name, decision, "audit");
        }
        if (binding.warn) {
            warn(fmt::format("Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}", policy.name,
                             binding.name, decision.message));
            owner_.metrics_.record(policy.name, binding.name, decision, "warn");
        }
    }

    void publish(const Policy& policy, const Annotations& annotations) {
        for (const auto& [key, values] : annotations) {
            annotate(policy.name + "/" + key, fmt::format("{}", fmt::join(values, ", ")));
        }
    }

    void annotate(const std::string& key, const std::string& value) {
        if (request_.call.responder != nullptr) http::annotate(*request_.call.responder, key, value);
    }

    // The one who asked hears it once, however often the request was tried.
    void warn(const std::string& text) {
        auto& warnings = request_.call.warnings;
        if (std::find(warnings.begin(), warnings.end(), text) == warnings.end()) warnings.push_back(text);
    }

    const Policies& owner_;
    const AdmissionRequest& request_;
    RequestVariables variables_;
    std::vector<Denial> denials_;
};

Policies::Policies(const authorization::Authorizer& authorizer)
    : authorizer_(authorizer), hooks_(std::make_shared<const Hooks>()) {}

Policies::~Policies() { Policies::stop(); }

Result<void> Policies::start(registry::Api& api) {
    const auto follow = [&](const char* resource, registry::Observer observer) -> Result<void> {
        SLUICE_TRY_ASSIGN(auto observation,
                          api.observe(registry::kind_named("admissionregistration.k8s.io", "v1", resource), true,
                                      std::move(observer)));
        observations_.push_back(std::move(observation));
        return {};
    };
    SLUICE_TRY(follow("validatingadmissionpolicies",
                      [this, &api](const registry::Observed& observed) { seen_policy(api, observed); }));
    return follow("validatingadmissionpolicybindings",
                  [this](const registry::Observed& observed) { seen_binding(observed); });
}

void Policies::stop() { observations_.clear(); }

void Policies::seen_policy(registry::Api& api, const registry::Observed& observed) {
    PolicyPtr policy;
    if (observed.object != nullptr) {
        const auto& seen = static_cast<const admissionv1::ValidatingAdmissionPolicy&>(*observed.object);
        policy = policy_of(seen);
        if (!has_status(seen)) write_status(api, seen);
    }
    const std::lock_guard lock(mutex_);
    if (policy == nullptr) {
        policies_.erase(observed.name);
    } else {
        policies_[observed.name] = std::move(policy);
    }
    join();
}

void Policies::seen_binding(const registry::Observed& observed) {
    BindingPtr binding;
    if (observed.object != nullptr) {
        binding = binding_of(static_cast<const admissionv1::ValidatingAdmissionPolicyBinding&>(*observed.object));
    }
    const std::lock_guard lock(mutex_);
    if (binding == nullptr) {
        bindings_.erase(observed.name);
    } else {
        bindings_[observed.name] = std::move(binding);
    }
    join();
}

void Policies::join() {
    std::map<std::string_view, std::vector<BindingPtr>> by_policy;
    for (const auto& [name, binding] : bindings_) by_policy[binding->policy].push_back(binding);
    auto hooks = std::make_shared<Hooks>();
    for (auto& [name, bindings] : by_policy) {
        const auto policy = policies_.find(std::string(name));
        if (policy != policies_.end()) hooks->push_back({policy->second, std::move(bindings)});
    }
    count_.store(hooks->size(), std::memory_order_release);
    hooks_ = std::move(hooks);
}

bool Policies::any(std::string_view resource) const {
    if (none()) return false;
    const auto all = hooks();
    return std::ranges::any_of(
        *all, [&](const Bound& bound) { return may_be_about(bound.policy->criteria, resource); });
}

std::shared_ptr<const Policies::Hooks> Policies::hooks() const {
    const std::lock_guard lock(mutex_);
    return hooks_;
}

Answer<void> Policies::validate(const AdmissionRequest& request) const {
    if (none() || is_exempt(request) || is_review(request)) return {};
    return Checking(*this, request).run(*hooks());
}

}  // namespace sluice::admission
