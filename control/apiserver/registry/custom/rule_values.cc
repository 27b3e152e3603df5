// Values against rules, at writes of custom objects.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json/value.hpp>

#include "api/base/log.h"
#include "control/apiserver/expressions/admission.h"
#include "control/apiserver/expressions/text.h"
#include "control/apiserver/registry/custom/rules_private.h"
#include "control/apiserver/registry/custom/values_private.h"
#include "control/cel/json.h"

namespace sluice::registry {

namespace json = boost::json;

namespace {

using expressions::trimmed;

constexpr const char* kNoPath = "<nil>";
constexpr const char* kOutOfBudget =
    "validation failed due to running out of cost budget, no further validation rules will be run";

// The value that stands at the same place in the old object, or what is known of the values around it.
struct Correlation {
    const json::value* old = nullptr;
    // The nearest value around this one that can be found again in the old object.
    const json::value* around = nullptr;
    const json::value* around_old = nullptr;
    bool ratchets = true;  // nothing above has been excluded from ratcheting
};

std::shared_ptr<const json::value> borrowed(const json::value& value) {
    return {std::shared_ptr<void>(), &value};
}

class Evaluator {
public:
    explicit Evaluator(FieldErrors* errors) : errors_(errors) {}

    // False: the budget is used up.
    // NOLINTNEXTLINE(misc-no-recursion): limited by kMaxSchemaDepth.
    bool node(const RuleNode& node, const json::value& value, const Correlation& correlation,
              const std::string& path) {
        if (value.is_null()) return true;
        if (!node.rules.empty() && !rules(node, value, correlation, path)) return false;
        if (const auto* items = value.if_array()) {
            if (node.items == nullptr) return true;
            const OldItems old(*node.schema, correlation.old);
            for (std::size_t i = 0; i < items->size(); ++i) {
                const json::value& item = (*items)[i];
                if (!this->node(*node.items, item, inside(correlation, value, old.find(item)),
                                field_index(path, static_cast<int>(i)))) {
                    return false;
                }
            }
            return true;
        }
        const auto* members = value.if_object();
        if (members == nullptr) return true;
        for (const auto& member : *members) {
            const std::string_view name{member.key().data(), member.key().size()};
            const json::value* old = nullptr;
            if (correlation.old != nullptr && correlation.old->is_object()) {
                old = correlation.old->get_object().if_contains(name);
            }
            Correlation below = inside(correlation, value, old);
            // Old and new are always read in one version.
            if (path.empty() && (name == "apiVersion" || name == "kind")) below.ratchets = false;
            if (node.additional != nullptr) {
                if (!this->node(*node.additional, member.value(), below, field_key(path, name))) return false;
            } else if (const auto found = node.properties.find(name); found != node.properties.end()) {
                if (!this->node(*found->second, member.value(), below,
                                path.empty() ? std::string(name) : field_child(path, name))) {
                    return false;
                }
            }
        }
        return true;
    }

private:
    static Correlation inside(const Correlation& outer, const json::value& value, const json::value* old) {
        Correlation out = outer;
        out.old = old != nullptr && !old->is_null() ? old : nullptr;
        if (outer.old != nullptr) {
            out.around = &value;
            out.around_old = outer.old;
        }
        return out;
    }

    static bool unchanged(const json::value& value, const Correlation& correlation) {
        if (!correlation.ratchets) return false;
        if (correlation.old != nullptr) return equal_values(value, *correlation.old);
        return correlation.around != nullptr && equal_values(*correlation.around, *correlation.around_old);
    }

    bool rules(const RuleNode& node, const json::value& value, const Correlation& correlation,
               const std::string& path) {
        const std::string at = path.empty() ? kNoPath : path;
        const BadValue type(node.schema->type);
        const auto view = [&node](const json::value* json) { return cel::json_view(borrowed(*json), node.type); };
        cel::SimpleActivation plain;
        plain.set("self", view(&value));
        cel::SimpleActivation optional = plain;
        if (correlation.old != nullptr) {
            const cel::Value old = view(correlation.old);
            plain.set("oldSelf", old);
            optional.set("oldSelf", cel::Value::optional_of(old));
        } else {
            optional.set("oldSelf", cel::Value::optional_none());
        }
        for (const CompiledRule& rule : node.rules) {
            const bool is_optional = rule.text->optional_old_self.value_or(false);
            if (!rule.program) {
                errors_->invalid(at, type, "rule compile error: " + rule.program.error().message);
                continue;
            }
            if (rule.uses_old && correlation.old == nullptr && !is_optional) continue;
            if (!one(rule, is_optional ? optional : plain, value, correlation, path, type)) return false;
        }
        return true;
    }

    bool charge(std::uint64_t cost) {
        if (cost > budget_) {
            budget_ = 0;
            return false;
        }
        budget_ -= cost;
        return true;
    }

    bool one(const CompiledRule& rule, const cel::Activation& values, const json::value& value,
             const Correlation& correlation, const std::string& path, const BadValue& type) {
        const std::string at = path.empty() ? kNoPath : path;
        const std::string name = rule_name(*rule.text);
        const auto evaluation = rule.program->evaluate(values);
        if (evaluation.cost_exceeded && evaluation.cost <= budget_) {
            errors_->invalid(at, type,
                             fmt::format("'{}': no further validation rules will be run due to call cost exceeds limit "
                                         "for rule: {}",
                                         evaluation.value.error().message, name));
            return false;
        }
        if (!charge(evaluation.cost)) {
            errors_->invalid(at, type, kOutOfBudget);
            return false;
        }
        if (!evaluation.value) {
            const std::string& why = evaluation.value.error().message;
            if (why.starts_with("no such overload")) {
                errors_->invalid(at, type,
                                 fmt::format("'{}': call arguments did not match a supported operator, function or "
                                             "macro signature for rule: {}",
                                             why, name));
            } else {
                errors_->invalid(at, type, fmt::format("{} evaluating rule: {}", why, name));
            }
            return true;
        }
        const bool* holds = evaluation.value->as_bool();
        if (holds != nullptr && *holds) return true;
        std::string message = trimmed(rule.text->message).empty()
                                  ? fmt::format("failed rule: {}", name)
                                  : std::string(trimmed(rule.text->message));
        FieldErrors found;
        const std::string place = rule.field_path.empty() ? at
                                  : path.empty()          ? rule.field_path
                                                          : field_child(path, rule.field_path);
        if (rule.message && *rule.message && !explain(**rule.message, *rule.text, values, &message)) {
            found.invalid(place, type, message);
            take(found, rule, value, correlation);
            return false;
        }
        add(rule.text->reason.value_or("FieldValueInvalid"), place, type, message, &found);
        take(found, rule, value, correlation);
        return true;
    }

    // The message that an expression gives, if it gives a good one. False: nothing further is evaluated, and the
    // message says why.
    bool explain(const cel::Program& program, const RuleText& rule, const cel::Activation& values,
                 std::string* message) {
        const auto evaluation = program.evaluate(values);
        if (evaluation.cost_exceeded && evaluation.cost <= budget_) {
            *message = fmt::format("no further validation rules will be run due to call cost exceeds limit for "
                                   "messageExpression: {}",
                                   go_quote(rule.message_expression));
            return false;
        }
        if (!charge(evaluation.cost)) {
            *message =
                "messageExpression evaluation failed due to running out of cost budget, no further validation rules "
                "will be run";
            return false;
        }
        if (!evaluation.value) {
            log::debug("custom", "messageExpression {}: {}", go_quote(rule.message_expression),
                       evaluation.value.error().message);
            return true;
        }
        const auto* text = evaluation.value->as_string();
        const std::string_view said = text == nullptr ? std::string_view() : trimmed(text->view());
        if (said.empty() || said.size() > expressions::kMaxMessageBytes || said.find('\n') != std::string_view::npos) {
            return true;
        }
        *message = said;
        return true;
    }

    static void add(const std::string& reason, const std::string& at, const BadValue& type, const std::string& message,
                    FieldErrors* errors) {
        if (reason == "FieldValueForbidden") return errors->forbidden(at, message);
        if (reason == "FieldValueRequired") return errors->required(at, message);
        if (reason == "FieldValueDuplicate") return errors->duplicate(at, type);
        errors->invalid(at, type, message);
    }

    // Errors about what did not change are passed over, unless the rule compares.
    void take(const FieldErrors& found, const CompiledRule& rule, const json::value& value,
              const Correlation& correlation) {
        if (rule.uses_old || !unchanged(value, correlation)) errors_->append(found);
    }

    std::uint64_t budget_ = cel::kRuntimeCostBudget;
    FieldErrors* const errors_;
};

}  // namespace

void evaluate_rules(const json::value& whole, const json::value* old, const RuleNode& rules, FieldErrors* errors) {
    constexpr std::string_view kBlocking[] = {"FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany",
                                              "FieldValueTypeInvalid"};
    const bool blocked = std::ranges::any_of(errors->all(), [&](const FieldError& error) {
        return std::ranges::find(kBlocking, error.reason) != std::end(kBlocking);
    });
    if (blocked) {
        return errors->invalid(kNoPath, "null",
                               "some validation rules were not checked because the object was invalid; correct the "
                               "existing errors to complete validation");
    }
    Correlation root;
    root.old = old;
    (void)Evaluator(errors).node(rules, whole, root, "");
}

}  // namespace sluice::registry
