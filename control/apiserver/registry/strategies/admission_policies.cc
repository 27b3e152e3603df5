// ValidatingAdmissionPolicy and its binding: expressions that objects have to satisfy.
#include <fmt/format.h>

#include "api/kubernetes/admissionregistration/v1/policy.pb.h"
#include "api/kubernetes/admissionregistration/v1/webhook.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/strategies/platform.h"
#include "control/apiserver/registry/strategies/workload.h"
#include "control/apiserver/registry/table/cells.h"
#include "control/apiserver/registry/validation/admission_rules.h"

namespace sluice::registry {

namespace {

void default_match(admissionv1::MatchResources* match) {
    if (!match->has_matchpolicy()) match->set_matchpolicy("Equivalent");
    (void)match->mutable_namespaceselector();
    (void)match->mutable_objectselector();
    for (auto* rules : {match->mutable_resourcerules(), match->mutable_excluderesourcerules()}) {
        for (auto& rule : *rules) {
            auto* scope = rule.mutable_rulewithoperations()->mutable_rule();
            if (!scope->has_scope()) scope->set_scope("*");
        }
    }
}

constexpr Column kPolicyColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Validations", "integer", "", "Number of expressions that have to hold."},
    {"ParamKind", "string", "", "The kind of its parameters."},
    {"Age", "string", "", "Time since the object was created."},
};

class PolicyStrategy final : public TypedStrategy<admissionv1::ValidatingAdmissionPolicy> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kPolicyColumns; }
    [[nodiscard]] bool allow_unconditional_update() const override { return false; }
    void validate_status_update(const Message& object, const Message& old,
                                FieldErrors* errors) const override {
        Strategy::validate_status_update(object, old, errors);
        validate_admission_policy_status(
            static_cast<const admissionv1::ValidatingAdmissionPolicy&>(object), errors);
    }

protected:
    void defaults(admissionv1::ValidatingAdmissionPolicy* object) const override {
        auto* spec = object->mutable_spec();
        if (!spec->has_failurepolicy()) spec->set_failurepolicy("Fail");
        if (spec->has_matchconstraints()) default_match(spec->mutable_matchconstraints());
    }
    void prepare_create(admissionv1::ValidatingAdmissionPolicy* object) const override {
        TypedStrategy::prepare_create(object);
        start_generation(object);
    }
    void prepare_update(admissionv1::ValidatingAdmissionPolicy* object,
                        const admissionv1::ValidatingAdmissionPolicy& old) const override {
        TypedStrategy::prepare_update(object, old);
        count_generation(object, old);
    }
    void check(const admissionv1::ValidatingAdmissionPolicy& object,
               FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        validate_admission_policy(object, errors);
    }
    [[nodiscard]] std::vector<Cell> cells(
        const admissionv1::ValidatingAdmissionPolicy& object) const override {
        std::string kind = "<unset>";
        if (object.spec().has_paramkind()) {
            kind = object.spec().paramkind().apiversion() + "/" + object.spec().paramkind().kind();
        }
        return {object.metadata().name(), std::int64_t{object.spec().validations_size()}, kind,
                age_cell(object.metadata())};
    }
};

constexpr Column kBindingColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"PolicyName", "string", "", "The policy."},
    {"ParamRef", "string", "", "Its parameters."},
    {"Age", "string", "", "Time since the object was created."},
};

class BindingStrategy final : public TypedStrategy<admissionv1::ValidatingAdmissionPolicyBinding> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kBindingColumns; }
    [[nodiscard]] bool allow_unconditional_update() const override { return false; }

protected:
    void defaults(admissionv1::ValidatingAdmissionPolicyBinding* object) const override {
        if (object->spec().has_matchresources()) {
            default_match(object->mutable_spec()->mutable_matchresources());
        }
    }
    void prepare_create(admissionv1::ValidatingAdmissionPolicyBinding* object) const override {
        start_generation(object);
    }
    void prepare_update(admissionv1::ValidatingAdmissionPolicyBinding* object,
                        const admissionv1::ValidatingAdmissionPolicyBinding& old) const override {
        count_generation(object, old);
    }
    void check(const admissionv1::ValidatingAdmissionPolicyBinding& object,
               FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        validate_admission_policy_binding(object, errors);
    }
    [[nodiscard]] std::vector<Cell> cells(
        const admissionv1::ValidatingAdmissionPolicyBinding& object) const override {
        std::string parameters = "<unset>";
        if (object.spec().has_paramref()) {
            const auto& ref = object.spec().paramref();
            if (!ref.name().empty()) {
                parameters = (ref.namespace_().empty() ? "*" : ref.namespace_()) + "/" + ref.name();
            } else if (ref.has_selector()) {
                parameters = selector_cell(ref.selector());
            }
        }
        return {object.metadata().name(), object.spec().policyname(), parameters,
                age_cell(object.metadata())};
    }
};

}  // namespace

std::unique_ptr<Strategy> make_admission_policy_strategy(const codec::KindInfo& kind) {
    return std::make_unique<PolicyStrategy>(kind);
}

std::unique_ptr<Strategy> make_admission_policy_binding_strategy(const codec::KindInfo& kind) {
    return std::make_unique<BindingStrategy>(kind);
}

}  // namespace sluice::registry
