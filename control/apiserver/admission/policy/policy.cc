#include "control/apiserver/admission/policy/policy.h"

#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::admission {

using expressions::Gives;

PolicyPtr policy_of(const admissionv1::ValidatingAdmissionPolicy& policy) {
    const auto& spec = policy.spec();
    auto out = std::make_shared<Policy>();
    out->name = policy.metadata().name();
    out->criteria = criteria_of(spec.matchconstraints(), false);
    out->ignore_failures = spec.failurepolicy() == "Ignore";
    expressions::Declarations declared;
    if (spec.has_paramkind()) {
        declared.params = true;
        auto gvk = codec::GroupVersionKind::parse(spec.paramkind().apiversion(), spec.paramkind().kind());
        out->param_kind = gvk ? *gvk : codec::GroupVersionKind{};
    }
    out->conditions = compile_conditions(spec.matchconditions(), declared);
    declared.variables = true;
    expressions::Compiler compiler(declared);
    for (const auto& variable : spec.variables()) {
        auto program = compiler.add_variable(variable.name(), variable.expression());
        out->variables.emplace(variable.name(), Expression{variable.expression(), std::move(program)});
    }
    for (const auto& validation : spec.validations()) {
        PolicyValidation one{{validation.expression(), compiler.compile(validation.expression(), Gives::kBool)},
                             std::nullopt,
                             validation.message(),
                             validation.has_reason() ? validation.reason() : "Invalid"};
        if (!validation.messageexpression().empty()) {
            one.message_expression =
                Expression{validation.messageexpression(), compiler.compile_message(validation.messageexpression())};
        }
        out->validations.push_back(std::move(one));
    }
    for (const auto& annotation : spec.auditannotations()) {
        out->annotations.push_back(
            {annotation.key(),
             {annotation.valueexpression(), compiler.compile(annotation.valueexpression(), Gives::kStringOrNull)}});
    }
    return out;
}

BindingPtr binding_of(const admissionv1::ValidatingAdmissionPolicyBinding& binding) {
    const auto& spec = binding.spec();
    auto out = std::make_shared<PolicyBinding>();
    out->name = binding.metadata().name();
    out->policy = spec.policyname();
    if (spec.has_matchresources()) out->criteria = criteria_of(spec.matchresources(), true);
    if (spec.has_paramref()) {
        const auto& ref = spec.paramref();
        out->params = PolicyBinding::Params{ref.name(), ref.namespace_(), selector_of(ref.selector()),
                                            ref.parameternotfoundaction() != "Allow"};
    }
    for (const std::string& action : spec.validationactions()) {
        out->deny = out->deny || action == "Deny";
        out->warn = out->warn || action == "Warn";
        out->audit = out->audit || action == "Audit";
        out->actions.push_back(action);
    }
    return out;
}

}  // namespace sluice::admission
