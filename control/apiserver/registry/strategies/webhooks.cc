// ValidatingWebhookConfiguration and MutatingWebhookConfiguration: who is asked before objects are stored.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "api/kubernetes/admissionregistration/v1/webhook.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/strategies/platform.h"
#include "control/apiserver/registry/table/cells.h"
#include "control/apiserver/registry/validation/admission_rules.h"
#include "control/apiserver/registry/validation/paths.h"
#include "control/apiserver/registry/validation/scheduling.h"

namespace sluice::registry {

namespace {

constexpr std::int32_t kDefaultTimeoutSeconds = 10;
constexpr std::int32_t kMaxTimeoutSeconds = 30;
constexpr std::int32_t kHttpsPort = 443;

constexpr Column kColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Webhooks", "integer", "", "Number of webhooks."},
    {"Age", "string", "", "Time since the object was created."},
};

// What an update may keep because the stored object already has it.
struct Leniency {
    bool side_effects = false;
    bool review_versions = false;
    bool names = false;
    bool conditions = false;
};

bool without_side_effects(const std::string& effects) {
    return effects == "None" || effects == "NoneOnDryRun";
}

template <class Hook>
void check_hook(const Hook& hook, const Leniency& leniency, const std::string& field,
                FieldErrors* errors) {
    check_fully_qualified_name(hook.name(), field + ".name", errors);
    for (int i = 0; i < hook.rules_size(); ++i) {
        check_admission_rule(hook.rules(i), field_index(field + ".rules", i), errors);
    }
    if (hook.has_failurepolicy() && hook.failurepolicy() != "Fail" &&
        hook.failurepolicy() != "Ignore") {
        errors->not_supported(field + ".failurePolicy", hook.failurepolicy(), {"Fail", "Ignore"});
    }
    if (hook.has_matchpolicy() && hook.matchpolicy() != "Exact" &&
        hook.matchpolicy() != "Equivalent") {
        errors->not_supported(field + ".matchPolicy", hook.matchpolicy(), {"Equivalent", "Exact"});
    }
    const std::string& effects = hook.sideeffects();
    const bool lenient = leniency.side_effects && (effects == "Some" || effects == "Unknown");
    if (!hook.has_sideeffects()) {
        errors->required(field + ".sideEffects", leniency.side_effects
                                                     ? "must specify one of None, NoneOnDryRun, "
                                                       "Some, Unknown"
                                                     : "must specify one of None, NoneOnDryRun");
    } else if (!without_side_effects(effects) && !lenient) {
        if (leniency.side_effects) {
            errors->not_supported(field + ".sideEffects", effects,
                                  {"None", "NoneOnDryRun", "Some", "Unknown"});
        } else {
            errors->not_supported(field + ".sideEffects", effects, {"None", "NoneOnDryRun"});
        }
    }
    if (hook.has_timeoutseconds() &&
        (hook.timeoutseconds() < 1 || hook.timeoutseconds() > kMaxTimeoutSeconds)) {
        errors->invalid(field + ".timeoutSeconds", hook.timeoutseconds(),
                        "the timeout value must be between 1 and 30 seconds");
    }
    validate_label_selector(hook.namespaceselector(), field + ".namespaceSelector", errors);
    validate_label_selector(hook.objectselector(), field + ".objectSelector", errors);
    if constexpr (requires { hook.reinvocationpolicy(); }) {
        if (hook.has_reinvocationpolicy() && hook.reinvocationpolicy() != "Never" &&
            hook.reinvocationpolicy() != "IfNeeded") {
            errors->not_supported(field + ".reinvocationPolicy", hook.reinvocationpolicy(),
                                  {"IfNeeded", "Never"});
        }
    }
    check_webhook_client(hook.clientconfig(), field + ".clientConfig", errors);
    if (!leniency.conditions) {
        check_match_conditions(hook.matchconditions(), field + ".matchConditions", false, errors);
    }
    check_review_versions(hook.admissionreviewversions(), !leniency.review_versions,
                          field + ".admissionReviewVersions", errors);
}

template <class T>
class WebhooksStrategy final : public TypedStrategy<T> {
public:
    using TypedStrategy<T>::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kColumns; }
    [[nodiscard]] bool allow_unconditional_update() const override { return false; }

protected:
    void defaults(T* object) const override {
        for (auto& hook : *object->mutable_webhooks()) {
            if (!hook.has_failurepolicy()) hook.set_failurepolicy("Fail");
            if (!hook.has_matchpolicy()) hook.set_matchpolicy("Equivalent");
            (void)hook.mutable_namespaceselector();
            (void)hook.mutable_objectselector();
            if (!hook.has_timeoutseconds()) hook.set_timeoutseconds(kDefaultTimeoutSeconds);
            if constexpr (requires { hook.reinvocationpolicy(); }) {
                if (!hook.has_reinvocationpolicy()) hook.set_reinvocationpolicy("Never");
            }
            for (auto& rule : *hook.mutable_rules()) {
                if (!rule.rule().has_scope()) rule.mutable_rule()->set_scope("*");
            }
            if (hook.clientconfig().has_service() && !hook.clientconfig().service().has_port()) {
                hook.mutable_clientconfig()->mutable_service()->set_port(kHttpsPort);
            }
        }
    }
    void prepare_create(T* object) const override { this->start_generation(object); }
    void prepare_update(T* object, const T& old) const override {
        if (same_but_metadata(*object, old)) return;
        object->mutable_metadata()->set_generation(old.metadata().generation() + 1);
    }
    void check(const T& object, FieldErrors* errors) const override {
        check_hooks(object, {}, errors);
    }
    void check_update(const T& object, const T& old, FieldErrors* errors) const override {
        Leniency leniency;
        std::set<std::string> names;
        for (const auto& hook : old.webhooks()) {
            if (!without_side_effects(hook.sideeffects())) leniency.side_effects = true;
            if (!names.insert(hook.name()).second) leniency.names = true;
            const auto& versions = hook.admissionreviewversions();
            if (!versions.empty() && std::ranges::none_of(versions, [](const std::string& version) {
                    return version == "v1" || version == "v1beta1";
                })) {
                leniency.review_versions = true;
            }
        }
        leniency.conditions = std::ranges::equal(
            object.webhooks(), old.webhooks(), [](const auto& now, const auto& before) {
                return std::ranges::equal(
                    now.matchconditions(), before.matchconditions(), [](const auto& a, const auto& b) {
                        return a.name() == b.name() && a.expression() == b.expression();
                    });
            });
        check_hooks(object, leniency, errors);
    }
    [[nodiscard]] std::vector<Cell> cells(const T& object) const override {
        return {object.metadata().name(), std::int64_t{object.webhooks_size()},
                age_cell(object.metadata())};
    }

private:
    void check_hooks(const T& object, const Leniency& leniency, FieldErrors* errors) const {
        TypedStrategy<T>::check(object, errors);
        std::set<std::string> names;
        for (int i = 0; i < object.webhooks_size(); ++i) {
            const auto& hook = object.webhooks(i);
            const std::string field = field_index("webhooks", i);
            check_hook(hook, leniency, field, errors);
            if (!leniency.names && !hook.name().empty() && !names.insert(hook.name()).second) {
                errors->duplicate(field + ".name", hook.name());
            }
        }
    }
};

}  // namespace

std::unique_ptr<Strategy> make_validating_webhooks_strategy(const codec::KindInfo& kind) {
    return std::make_unique<WebhooksStrategy<admissionv1::ValidatingWebhookConfiguration>>(kind);
}

std::unique_ptr<Strategy> make_mutating_webhooks_strategy(const codec::KindInfo& kind) {
    return std::make_unique<WebhooksStrategy<admissionv1::MutatingWebhookConfiguration>>(kind);
}

}  // namespace sluice::registry
