#include "control/apiserver/admission/policy/evaluation.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "api/base/log.h"
#include "control/apiserver/expressions/text.h"
#include "control/apiserver/registry/validation/field_errors.h"

namespace sluice::admission {
namespace {

using Clock = std::chrono::steady_clock;
using expressions::trimmed;

constexpr std::string_view kComponent = "policies";

// variables: each is evaluated when an expression first mentions it, and only once.
class LazyVariables final : public cel::MapValue {
public:
    // The budget is charged; the values are those that its expressions see.
    LazyVariables(const decltype(Policy::variables)& variables, const cel::Activation& values, std::uint64_t* budget)
        : variables_(variables), values_(values), budget_(budget) {}

    [[nodiscard]] std::size_t size() const override { return variables_.size(); }
    [[nodiscard]] Result<std::optional<cel::Value>> find(const cel::Value& key) const override {
        const auto* name = key.as_string();
        return name == nullptr ? Result<std::optional<cel::Value>>(std::nullopt) : find(name->view());
    }
    [[nodiscard]] Result<std::optional<cel::Value>> find(std::string_view name) const override {
        const auto variable = variables_.find(name);
        if (variable == variables_.end()) return std::optional<cel::Value>();
        const auto found = made_.find(variable->first);
        if (found == made_.end()) {
            // Whoever is mentioned meanwhile was compiled before.
            auto value = make(variable->first, variable->second.program);
            return some(made_.emplace(variable->first, std::move(value)).first->second);
        }
        return some(found->second);
    }
    [[nodiscard]] Result<bool> has(std::string_view name) const override { return variables_.contains(name); }
    [[nodiscard]] std::vector<cel::Value> keys() const override {
        std::vector<cel::Value> out;
        for (const auto& [name, expression] : variables_) out.push_back(cel::Value::string(name));
        return out;
    }
    // No value may have all of them in it, which a variable's would have in turn.
    [[nodiscard]] int depth() const override { return cel::kMaxValueDepth; }

private:
    static Result<std::optional<cel::Value>> some(const Result<cel::Value>& value) {
        if (!value) return value.error();
        return std::optional<cel::Value>(*value);
    }

    [[nodiscard]] Result<cel::Value> make(const std::string& name, const Result<cel::Program>& program) const {
        const std::string quoted = registry::go_quote(name);
        if (!program) {
            return make_error(Code::kInvalidArgument, "composited variable {} fails to compile: {}", quoted,
                              program.error().message);
        }
        if (*budget_ == 0) {
            return make_error(Code::kResourceExhausted, "unable to calculate cost of variable {}", quoted);
        }
        if (depth_ >= kMaxVariableDepth) {
            return make_error(Code::kResourceExhausted, "variable {} is mentioned through more than {} others", quoted,
                              kMaxVariableDepth);
        }
        ++depth_;
        auto evaluation = program->evaluate(values_);
        --depth_;
        *budget_ -= std::min(*budget_, evaluation.cost);
        if (!evaluation.value) {
            return make_error(Code::kInvalidArgument, "composited variable {} fails to evaluate: {}", quoted,
                              evaluation.value.error().message);
        }
        if (evaluation.value->depth() >= cel::kMaxValueDepth) {
            return make_error(Code::kInvalidArgument,
                              "composited variable {} fails to evaluate: values are nested too deeply", quoted);
        }
        return std::move(evaluation.value);
    }

    const decltype(Policy::variables)& variables_;
    const cel::Activation& values_;
    std::uint64_t* const budget_;
    mutable std::map<std::string_view, Result<cel::Value>> made_;
    mutable int depth_ = 0;
};

// One policy's way through its expressions.
class Evaluating {
public:
    Evaluating(const Policy& policy, const cel::Activation& values) : policy_(policy), values_(values) {}

    PolicyOutcome run() {
        for (const PolicyValidation& validation : policy_.validations) {
            if (!decide(validation)) return all_failed();
        }
        budget_ = cel::kRuntimeCostBudget;
        for (const PolicyAnnotation& annotation : policy_.annotations) {
            if (!annotate(annotation)) return all_failed();
        }
        return std::move(out_);
    }

    [[nodiscard]] std::uint64_t* budget() { return &budget_; }

private:
    // False, with the reason in exhausted_, when the budget is used up: nothing further is evaluated.
    bool decide(const PolicyValidation& validation) {
        const auto start = Clock::now();
        auto value = evaluate(validation.expression.program, validation.expression.text, values_, &budget_);
        PolicyDecision& decision = out_.decisions.emplace_back();
        decision.elapsed = Clock::now() - start;
        if (!value) {
            if (value.error().code == Code::kResourceExhausted) {
                exhausted_ = value.error().message;
                return false;
            }
            fail(value.error().message, &decision);
        } else if (const bool* holds = value->as_bool(); holds == nullptr || !*holds) {
            decision.deny = true;
            decision.reason = validation.reason;
            decision.message = message_of(validation, &decision);
        }
        return true;
    }

    void fail(std::string why, PolicyDecision* decision) const {
        decision->deny = !policy_.ignore_failures;
        decision->failed = true;
        decision->reason.clear();
        decision->message = std::move(why);
    }

    std::string message_of(const PolicyValidation& validation, PolicyDecision* decision) {
        std::string message;
        if (validation.message_expression) {
            const Expression& expression = *validation.message_expression;
            const auto value = evaluate(expression.program, expression.text, values_, &budget_);
            if (!value && value.error().code == Code::kResourceExhausted) {
                std::string why = "failed messageExpression: " + value.error().message;
                fail(why, decision);
                return why;
            }
            if (!value) {
                log::debug(kComponent, "{}: messageExpression: {}", policy_.name, value.error().message);
            } else if (const auto* text = value->as_string()) {
                message = trimmed(text->view());
                // Neither long messages nor several lines of them fit the Status.
                if (message.size() > expressions::kMaxMessageBytes || message.find('\n') != std::string::npos) {
                    message.clear();
                }
            }
        }
        if (message.empty()) message = std::string(trimmed(validation.message));
        if (message.empty()) message = fmt::format("failed expression: {}", trimmed(validation.expression.text));
        return message;
    }

    bool annotate(const PolicyAnnotation& annotation) {
        const auto start = Clock::now();
        const auto value = evaluate(annotation.expression.program, annotation.expression.text, values_, &budget_);
        if (!value && value.error().code == Code::kResourceExhausted) {
            exhausted_ = value.error().message;
            return false;
        }
        AnnotationOutcome& outcome = out_.annotations.emplace_back();
        outcome.key = annotation.key;
        outcome.elapsed = Clock::now() - start;
        if (!value) {
            if (!policy_.ignore_failures) outcome.error = value.error().message;
        } else if (const auto* text = value->as_string()) {
            outcome.value = trimmed(text->view());
        }
        return true;
    }

    PolicyOutcome all_failed() const {
        PolicyOutcome out;
        fail(exhausted_, &out.decisions.emplace_back());
        return out;
    }

    const Policy& policy_;
    const cel::Activation& values_;
    std::uint64_t budget_ = cel::kRuntimeCostBudget;
    std::string exhausted_;
    PolicyOutcome out_;
};

}  // namespace

PolicyOutcome evaluate_policy(const Policy& policy, RequestVariables& variables, const codec::KindInfo& seen,
                              const std::optional<cel::Value>& params) {
    if (policy.conditions != nullptr) {
        SeenRequest values(variables, seen);
        values.hide_namespace();
        if (params) values.set_params(*params);
        const ConditionsVerdict verdict = evaluate_conditions(*policy.conditions, values);
        if (!verdict.error.empty()) {
            PolicyOutcome out;
            // With Ignore, the policy is passed over.
            if (!policy.ignore_failures) out.decisions.push_back({true, true, verdict.error, {}, {}});
            return out;
        }
        if (!verdict.holds) return {};
    }
    SeenRequest values(variables, seen);
    if (params) values.set_params(*params);
    Evaluating evaluating(policy, values);
    values.set_variables(cel::Value::map(
        std::make_shared<const LazyVariables>(policy.variables, values, evaluating.budget())));
    return evaluating.run();
}

}  // namespace sluice::admission
