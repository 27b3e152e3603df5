// Validation of ValidatingAdmissionPolicies and their bindings.
#include <fmt/format.h>

#include <set>

#include "api/codec/scheme.h"
#include "api/kubernetes/admissionregistration/v1/policy.pb.h"
#include "api/kubernetes/admissionregistration/v1/webhook.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/expressions/admission.h"
#include "control/apiserver/expressions/text.h"
#include "control/apiserver/registry/validation/admission_rules.h"
#include "control/apiserver/registry/validation/names.h"
#include "control/apiserver/registry/validation/paths.h"
#include "control/apiserver/registry/validation/scheduling.h"

namespace sluice::registry {

namespace {

using expressions::Gives;
using expressions::trimmed;

constexpr int kMaxAuditAnnotations = 20;
constexpr std::size_t kMaxValueExpression = 5U << 10U;
constexpr std::string_view kNothingToDo =
    "validations or auditAnnotations must contain at least one item";
// Says why an expression cannot be compiled, if it cannot.
void check_compiled(const Result<cel::Program>& program, const std::string& expression,
                    const std::string& field, FieldErrors* errors) {
    if (!program) errors->invalid(field, expression, program.error().message);
}

void check_failure_policy(bool present, const std::string& policy, FieldErrors* errors) {
    if (!present) {
        errors->required("spec.failurePolicy");
    } else if (policy != "Fail" && policy != "Ignore") {
        errors->not_supported("spec.failurePolicy", policy, {"Fail", "Ignore"});
    }
}

void check_param_kind(const admissionv1::ParamKind& kind, FieldErrors* errors) {
    const std::string field = "spec.paramKind";
    const std::string& text = kind.apiversion();
    if (text.empty()) {
        errors->required(field + ".apiVersion");
    } else if (const auto gvk = codec::GroupVersionKind::parse(text, kind.kind()); !gvk) {
        errors->invalid(field + ".apiVersion", text, gvk.error().message);
    } else {
        if (!gvk->group.empty()) {
            const auto why = check_dns1123_subdomain(gvk->group);
            if (!why.empty()) {
                errors->invalid(field + ".apiVersion", gvk->group,
                                fmt::format("{}", fmt::join(why, ",")));
            }
        }
        if (gvk->version.empty()) {
            errors->invalid(field + ".apiVersion", text, "version must be specified");
        } else if (const auto why = check_dns1035_label(gvk->version); !why.empty()) {
            errors->invalid(field + ".apiVersion", gvk->version,
                            fmt::format("{}", fmt::join(why, ",")));
        }
    }
    if (kind.kind().empty()) {
        errors->required(field + ".kind");
    } else if (const auto why = check_dns1035_label(ascii_lower(kind.kind())); !why.empty()) {
        errors->invalid(field + ".kind", kind.kind(),
                        fmt::format("may have mixed case, but should otherwise match: {}",
                                    fmt::join(why, ",")));
    }
}

void check_named_rules(
    const google::protobuf::RepeatedPtrField<admissionv1::NamedRuleWithOperations>& rules,
    const std::string& field, FieldErrors* errors) {
    for (int i = 0; i < rules.size(); ++i) {
        const std::string path = field_index(field, i);
        const auto& rule = rules.Get(i);
        std::set<std::string> names;
        for (int j = 0; j < rule.resourcenames_size(); ++j) {
            const std::string& name = rule.resourcenames(j);
            errors->invalid_all(field_index(path + ".resourceNames", j), name,
                                check_path_segment(name));
            if (!names.insert(name).second) {
                errors->duplicate(field_index(path + ".resourceNames", j), name);
            }
        }
        check_admission_rule(rule.rulewithoperations(), path, errors);
    }
}

void check_match_resources(const admissionv1::MatchResources& match, const std::string& field,
                           FieldErrors* errors) {
    if (!match.has_matchpolicy()) {
        errors->required(field + ".matchPolicy");
    } else if (match.matchpolicy() != "Exact" && match.matchpolicy() != "Equivalent") {
        errors->not_supported(field + ".matchPolicy", match.matchpolicy(),
                              {"Equivalent", "Exact"});
    }
    if (!match.has_namespaceselector()) {
        errors->required(field + ".namespaceSelector");
    } else {
        validate_label_selector(match.namespaceselector(), field + ".namespaceSelector", errors);
    }
    if (!match.has_objectselector()) {
        errors->required(field + ".objectSelector");
    } else {
        validate_label_selector(match.objectselector(), field + ".objectSelector", errors);
    }
    check_named_rules(match.resourcerules(), field + ".resourceRules", errors);
    check_named_rules(match.excluderesourcerules(), field + ".excludeResourceRules", errors);
}

void check_variable(const admissionv1::Variable& variable, const std::string& field,
                    expressions::Compiler* compiler, FieldErrors* errors) {
    if (trimmed(variable.name()).empty()) {
        errors->required(field + ".name", "name is not specified");
    } else if (!expressions::is_identifier(variable.name())) {
        errors->invalid(field + ".name", variable.name(), "name is not a valid CEL identifier");
    }
    if (trimmed(variable.expression()).empty()) {
        errors->required(field + ".expression", "expression is not specified");
    } else {
        check_compiled(compiler->add_variable(variable.name(), variable.expression()),
                       variable.expression(), field + ".expression", errors);
    }
}

void check_validation(const admissionv1::Validation& validation, const std::string& field,
                      const expressions::Compiler& compiler, FieldErrors* errors) {
    if (trimmed(validation.expression()).empty()) {
        errors->required(field + ".expression", "expression is not specified");
    } else {
        check_compiled(compiler.compile(validation.expression(), Gives::kBool),
                       validation.expression(), field + ".expression", errors);
    }
    const std::string& told = validation.messageexpression();
    if (!told.empty() && trimmed(told).empty()) {
        errors->invalid(field + ".messageExpression", told, "must be non-empty if specified");
    } else if (!told.empty()) {
        check_compiled(compiler.compile_message(told), told, field + ".messageExpression", errors);
    }
    const std::string_view message = trimmed(validation.message());
    if (!validation.message().empty() && message.empty()) {
        errors->invalid(field + ".message", validation.message(),
                        "message must be non-empty if specified");
    } else if (expressions::has_line_breaks(message)) {
        errors->invalid(field + ".message", validation.message(),
                        "message must not contain line breaks");
    }
    const std::string& reason = validation.reason();
    if (validation.has_reason() && reason != "Forbidden" && reason != "Invalid" &&
        reason != "RequestEntityTooLarge" && reason != "Unauthorized") {
        errors->not_supported(field + ".reason", reason,
                              {"Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"});
    }
}

void check_audit(const admissionv1::ValidatingAdmissionPolicy& policy,
                 const expressions::Compiler& compiler, FieldErrors* errors) {
    const auto& annotations = policy.spec().auditannotations();
    const std::string field = "spec.auditAnnotations";
    if (annotations.size() > kMaxAuditAnnotations) {
        errors->invalid(field, BadValue::verbatim("[]admissionregistration.AuditAnnotation{...}"),
                        fmt::format("must not have more than {} auditAnnotations",
                                    kMaxAuditAnnotations));
    }
    std::set<std::string> keys;
    for (int i = 0; i < annotations.size(); ++i) {
        const auto& annotation = annotations.Get(i);
        const std::string path = field_index(field, i);
        const std::string key = policy.metadata().name() + "/" + annotation.key();
        errors->invalid_all(path + ".key", key, check_qualified_name(key));
        const std::string_view value = trimmed(annotation.valueexpression());
        if (value.empty()) {
            errors->required(path + ".valueExpression", "valueExpression is not specified");
        } else if (value.size() > kMaxValueExpression) {
            errors->required(path + ".valueExpression",
                             fmt::format("must not exceed {} bytes in length",
                                         kMaxValueExpression));
        } else if (const auto program = compiler.compile(value, Gives::kStringOrNull); !program) {
            errors->invalid(path + ".valueExpression", annotation.valueexpression(),
                            program.error().message);
        }
        if (!keys.insert(annotation.key()).second) {
            errors->duplicate(path + ".key", annotation.key());
        }
    }
}

void check_param_ref(const admissionv1::ParamRef& ref, FieldErrors* errors) {
    const std::string field = "spec.paramRef";
    constexpr std::string_view kExclusive = "name and selector are mutually exclusive";
    if (!ref.name().empty()) {
        errors->invalid_all(field + ".name", ref.name(), check_path_segment(ref.name()));
        if (ref.has_selector()) errors->forbidden(field + ".name", kExclusive);
    }
    if (ref.has_selector()) {
        validate_label_selector(ref.selector(), field + ".selector", errors);
        if (!ref.name().empty()) errors->forbidden(field + ".selector", kExclusive);
    }
    if (ref.name().empty() && !ref.has_selector()) {
        errors->required(field, "one of name or selector must be specified");
    }
    const std::string& action = ref.parameternotfoundaction();
    if (action.empty()) {
        errors->required(field + ".parameterNotFoundAction");
    } else if (action != "Deny" && action != "Allow") {
        errors->not_supported(field + ".parameterNotFoundAction", action, {"Deny", "Allow"});
    }
}

}  // namespace

void validate_admission_policy(const admissionv1::ValidatingAdmissionPolicy& policy,
                               FieldErrors* errors) {
    const auto& spec = policy.spec();
    check_failure_policy(spec.has_failurepolicy(), spec.failurepolicy(), errors);
    if (spec.has_paramkind()) check_param_kind(spec.paramkind(), errors);
    if (!spec.has_matchconstraints()) {
        errors->required("spec.matchConstraints");
    } else {
        check_match_resources(spec.matchconstraints(), "spec.matchConstraints", errors);
        if (spec.matchconstraints().resourcerules_size() == 0) {
            errors->required("spec.matchConstraints.resourceRules");
        }
    }
    check_match_conditions(spec.matchconditions(), "spec.matchConditions", spec.has_paramkind(),
                           errors);
    expressions::Declarations declared;
    declared.params = spec.has_paramkind();
    declared.variables = spec.variables_size() > 0;
    expressions::Compiler compiler(declared);
    for (int i = 0; i < spec.variables_size(); ++i) {
        check_variable(spec.variables(i), field_index("spec.variables", i), &compiler, errors);
    }
    if (spec.validations_size() == 0 && spec.auditannotations_size() == 0) {
        errors->required("spec.validations", kNothingToDo);
        errors->required("spec.auditAnnotations", kNothingToDo);
        return;
    }
    for (int i = 0; i < spec.validations_size(); ++i) {
        check_validation(spec.validations(i), field_index("spec.validations", i), compiler, errors);
    }
    check_audit(policy, compiler, errors);
}

void validate_admission_policy_status(const admissionv1::ValidatingAdmissionPolicy& policy,
                                      FieldErrors* errors) {
    const auto& warnings = policy.status().typechecking().expressionwarnings();
    for (int i = 0; i < warnings.size(); ++i) {
        const std::string field = field_index("status.typeChecking.expressionWarnings", i);
        if (warnings.Get(i).warning().empty()) errors->required(field + ".warning");
        if (trimmed(warnings.Get(i).fieldref()).empty()) errors->required(field + ".fieldRef");
    }
}

void validate_admission_policy_binding(
    const admissionv1::ValidatingAdmissionPolicyBinding& binding, FieldErrors* errors) {
    const auto& spec = binding.spec();
    if (spec.policyname().empty()) {
        errors->required("spec.policyName");
    } else {
        errors->invalid_all("spec.policyName", spec.policyname(),
                            check_dns1123_subdomain(spec.policyname()));
    }
    if (spec.has_paramref()) check_param_ref(spec.paramref(), errors);
    if (spec.has_matchresources()) {
        check_match_resources(spec.matchresources(), "spec.matchResources", errors);
    }
    std::set<std::string> actions;
    std::vector<std::string> quoted;
    for (int i = 0; i < spec.validationactions_size(); ++i) {
        const std::string& action = spec.validationactions(i);
        const std::string field = field_index("spec.validationActions", i);
        if (action != "Deny" && action != "Warn" && action != "Audit") {
            errors->not_supported(field, action, {"Audit", "Deny", "Warn"});
        }
        if (!actions.insert(action).second) errors->duplicate(field, action);
        quoted.push_back(go_quote(action));
    }
    if (actions.contains("Deny") && actions.contains("Warn")) {
        errors->invalid(
            "spec.validationActions",
            BadValue::verbatim(fmt::format("[]admissionregistration.ValidationAction{{{}}}",
                                           fmt::join(quoted, ", "))),
            "must not contain both Deny and Warn (repeating the same validation failure "
            "information in the API response and headers serves no purpose)");
    }
    if (actions.empty()) {
        errors->required("spec.validationActions", "at least one validation action is required");
    }
}

}  // namespace sluice::registry
