// ValidatingAdmissionPolicies and their bindings, compiled. Pure; immutable once made.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/apiserver/admission/matching/conditions.h"
#include "control/apiserver/admission/matching/criteria.h"

namespace sluice::admission {

// A text and what became of it. What cannot be compiled fails when it is evaluated.
struct Expression {
    std::string text;
    Result<cel::Program> program;
};

struct PolicyValidation {
    Expression expression;
    std::optional<Expression> message_expression;
    std::string message;
    std::string reason;  // of the Status
};

struct PolicyAnnotation {
    std::string key;
    Expression expression;
};

struct Policy {
    std::string name;
    Criteria criteria;
    ConditionsPtr conditions;  // null: none
    bool ignore_failures = false;
    // The kind of params; nullopt: it has none.
    std::optional<codec::GroupVersionKind> param_kind;
    // By name; of two with one name the first counts, as it is the only one that others were compiled with.
    std::map<std::string, Expression, std::less<>> variables;
    std::vector<PolicyValidation> validations;
    std::vector<PolicyAnnotation> annotations;
};
using PolicyPtr = std::shared_ptr<const Policy>;

struct PolicyBinding {
    std::string name;
    std::string policy;
    std::optional<Criteria> criteria;  // nullopt: whatever the policy is about
    struct Params {
        std::string name;  // or, if empty, by the selector
        std::string name_space;
        codec::LabelSelector selector;
        bool deny_if_missing = true;
    };
    std::optional<Params> params;
    bool deny = false;
    bool warn = false;
    bool audit = false;
    std::vector<std::string> actions;  // as they are given
};
using BindingPtr = std::shared_ptr<const PolicyBinding>;

[[nodiscard]] PolicyPtr policy_of(const admissionv1::ValidatingAdmissionPolicy& policy);
[[nodiscard]] BindingPtr binding_of(const admissionv1::ValidatingAdmissionPolicyBinding& binding);

}  // namespace sluice::admission
