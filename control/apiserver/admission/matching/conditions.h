// matchConditions: expressions that all have to hold before a webhook or a policy is asked about a request.
#pragma once

#include <google/protobuf/repeated_field.h>

#include <memory>
#include <string>
#include <vector>

#include "api/base/result.h"
#include "api/kubernetes/admissionregistration/v1/webhook.pb.h"
#include "control/apiserver/expressions/admission.h"

namespace sluice::admission {

struct Condition {
    std::string name;
    std::string expression;
    Result<cel::Program> program;
};
// Immutable.
using ConditionsPtr = std::shared_ptr<const std::vector<Condition>>;

// Null for no conditions. What cannot be compiled fails when it is evaluated.
[[nodiscard]] ConditionsPtr compile_conditions(
    const google::protobuf::RepeatedPtrField<
        ::k8s::io::api::admissionregistration::v1::MatchCondition>& conditions,
    const expressions::Declarations& declared = {});

// One false condition, and the request is not its business, whatever the others do; errors are the failurePolicy's to
// judge otherwise.
struct ConditionsVerdict {
    bool holds = true;
    std::string failed;  // the name of the condition that is false
    // Why it cannot be told, if it cannot: one error, or "[a, b]".
    std::string error;
    std::size_t errors = 0;
};
[[nodiscard]] ConditionsVerdict evaluate_conditions(const std::vector<Condition>& conditions,
                                                    const cel::Activation& variables);

// One evaluation against what is left of a budget; "compilation error: ", "expression 'x' resulted in error: " are
// before its errors. kResourceExhausted: the budget is used up, and nothing further is evaluated.
[[nodiscard]] Result<cel::Value> evaluate(const Result<cel::Program>& program, const std::string& expression,
                                          const cel::Activation& variables, std::uint64_t* budget);

}  // namespace sluice::admission
