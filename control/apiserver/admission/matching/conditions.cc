#include "control/apiserver/admission/matching/conditions.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace sluice::admission {

ConditionsPtr compile_conditions(
    const google::protobuf::RepeatedPtrField<
        ::k8s::io::api::admissionregistration::v1::MatchCondition>& conditions,
    const expressions::Declarations& declared) {
    if (conditions.empty()) return nullptr;
    const expressions::Compiler compiler(declared);
    std::vector<Condition> out;
    for (const auto& condition : conditions) {
        out.push_back({condition.name(), condition.expression(),
                       compiler.compile(condition.expression(), expressions::Gives::kBool)});
    }
    return std::make_shared<const std::vector<Condition>>(std::move(out));
}

Result<cel::Value> evaluate(const Result<cel::Program>& program, const std::string& expression,
                            const cel::Activation& variables, std::uint64_t* budget) {
    if (!program) return make_error(Code::kInvalidArgument, "compilation error: {}", program.error().message);
    auto evaluation = program->evaluate(variables);
    if (evaluation.cost > *budget) {
        *budget = 0;
        return make_error(
            Code::kResourceExhausted,
            "validation failed due to running out of cost budget, no further validation rules will be run");
    }
    *budget -= evaluation.cost;
    if (!evaluation.value) {
        return make_error(Code::kInvalidArgument, "expression '{}' resulted in error: {}", expression,
                          evaluation.value.error().message);
    }
    return std::move(evaluation.value);
}

ConditionsVerdict evaluate_conditions(const std::vector<Condition>& conditions, const cel::Activation& variables) {
    ConditionsVerdict out;
    std::vector<std::string> errors;
    std::uint64_t budget = cel::kMatchConditionsCostBudget;
    for (const Condition& condition : conditions) {
        const auto value = evaluate(condition.program, condition.expression, variables, &budget);
        if (!value && value.error().code == Code::kResourceExhausted) {
            out.error = value.error().message;
            out.errors = 1;
            return out;
        }
        if (!value) {
            errors.push_back(value.error().message);
        } else if (const bool* holds = value->as_bool(); holds != nullptr && !*holds) {
            if (out.holds) out.failed = condition.name;
            out.holds = false;
        }
    }
    out.errors = errors.size();
    if (!out.holds || errors.empty()) return out;
    // As Kubernetes joins errors: each once.
    std::vector<std::string> once;
    for (std::string& error : errors) {
        if (std::find(once.begin(), once.end(), error) == once.end()) once.push_back(std::move(error));
    }
    out.error = once.size() == 1 ? once[0] : fmt::format("[{}]", fmt::join(once, ", "));
    return out;
}

}  // namespace sluice::admission
