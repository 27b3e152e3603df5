// Rules of definitions as they are written: their texts, what they mean, and what they could cost.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "control/apiserver/expressions/text.h"
#include "control/apiserver/registry/custom/rules_private.h"

namespace sluice::registry {
namespace {

using expressions::has_line_breaks;
using expressions::trimmed;

constexpr const char* kWord = "x-kubernetes-validations";

void check_text(const RuleText& rule, const Schema& schema, const std::string& path, FieldErrors* errors) {
    const std::string_view message = trimmed(rule.message);
    const std::string_view text = trimmed(rule.rule);
    if (text.empty()) {
        errors->required(field_child(path, "rule"), "rule is not specified");
    } else if (!rule.message.empty() && message.empty()) {
        errors->invalid(field_child(path, "message"), rule.message, "message must be non-empty if specified");
    } else if (has_line_breaks(message)) {
        errors->invalid(field_child(path, "message"), rule.message, "message must not contain line breaks");
    } else if (has_line_breaks(text) && message.empty()) {
        errors->required(field_child(path, "message"), "message must be specified if rule contains line breaks");
    }
    if (!rule.message_expression.empty() && trimmed(rule.message_expression).empty()) {
        errors->required(field_child(path, "messageExpression"), "messageExpression must be non-empty if specified");
    }
    if (rule.reason && *rule.reason != "FieldValueRequired" && *rule.reason != "FieldValueForbidden" &&
        *rule.reason != "FieldValueInvalid" && *rule.reason != "FieldValueDuplicate") {
        errors->not_supported(
            field_child(path, "reason"), *rule.reason,
            {"FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"});
    }
    const std::string at = field_child(path, "fieldPath");
    if (rule.field_path.empty()) return;
    if (trimmed(rule.field_path).empty()) {
        errors->invalid(at, rule.field_path, "fieldPath must be non-empty if specified");
    }
    if (has_line_breaks(rule.field_path)) {
        errors->invalid(at, rule.field_path, "fieldPath must not contain line breaks");
    }
    if (!normalized_field_path(rule.field_path, schema)) {
        errors->invalid(at, rule.field_path, "fieldPath must be a valid path");
    }
}

// As Go prints the struct.
BadValue shown_rule(const RuleText& rule) {
    return BadValue::verbatim(fmt::format(
        "apiextensions.ValidationRule{{Rule:{}, Message:{}, MessageExpression:{}, "
        "Reason:(*apiextensions.FieldValueErrorReason)({}), FieldPath:{}, OptionalOldSelf:(*bool)({})}}",
        go_quote(rule.rule), go_quote(rule.message), go_quote(rule.message_expression),
        rule.reason ? go_quote(*rule.reason) : "nil", go_quote(rule.field_path),
        rule.optional_old_self ? (*rule.optional_old_self ? "true" : "false") : "nil"));
}

std::string too_expensive(const char* what, std::uint64_t cost, std::uint64_t limit) {
    constexpr double kHopeless = 100;
    constexpr double kNearly = 1.5;
    const double factor = static_cast<double>(cost) / static_cast<double>(limit);
    const std::string by = factor > kHopeless ? "more than 100x"
                           : factor < kNearly ? fmt::format("{:f}x", factor)
                                              : fmt::format("{:.1f}x", factor);
    return fmt::format(
        "{} exceeds budget by factor of {} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength "
        "where arrays, maps, and strings are declared)",
        what, by);
}

// What all rules of a schema could cost together.
struct TotalCost {
    static constexpr std::size_t kNamed = 4;
    std::uint64_t total = 0;
    std::vector<std::pair<std::uint64_t, std::string>> most;  // with their paths, the most expensive first

    void add(std::uint64_t cost, const std::string& path) {
        total += std::min(cost, std::numeric_limits<std::uint64_t>::max() - total);
        if (cost < cel::kStaticTotalCostLimit / 100) return;
        most.emplace_back(cost, path);
        std::ranges::stable_sort(most, [](const auto& a, const auto& b) { return a.first > b.first; });
        if (most.size() > kNamed) most.pop_back();
    }
};

std::uint64_t cost_of(const CompiledRule& rule, const RuleNode& node) {
    if (!rule.program) return 0;
    const std::uint64_t once = rule.program->estimate().max;
    if (once == 0 || node.max_count == 0) return 0;
    return once > std::numeric_limits<std::uint64_t>::max() / node.max_count
               ? std::numeric_limits<std::uint64_t>::max()
               : once * node.max_count;
}

void check_rule(const CompiledRule& rule, const RuleNode& node, const std::string& path, TotalCost* total,
                FieldErrors* errors) {
    const std::string at = field_child(path, "rule");
    const std::uint64_t cost = cost_of(rule, node);
    if (cost > cel::kStaticCostLimit) {
        errors->forbidden(at, too_expensive("estimated rule cost", cost, cel::kStaticCostLimit));
    }
    total->add(cost, at);
    if (!rule.program) errors->invalid(at, shown_rule(*rule.text), rule.program.error().message);
    if (rule.message) {
        const std::string told = field_child(path, "messageExpression");
        if (!*rule.message) {
            errors->invalid(told, shown_rule(*rule.text), rule.message->error().message);
        } else {
            const std::uint64_t most = (*rule.message)->estimate().max;
            if (most > cel::kStaticCostLimit) {
                errors->forbidden(told, too_expensive("estimated messageExpression cost", most, cel::kStaticCostLimit));
            }
            total->add(most, told);
        }
    }
    if (rule.uses_old && !node.uncorrelated.empty()) {
        errors->invalid(at, rule.text->rule,
                        fmt::format("oldSelf cannot be used on the uncorrelatable portion of the schema within {}",
                                    node.uncorrelated));
    } else if (!rule.uses_old && rule.text->optional_old_self) {
        errors->invalid(field_child(path, "optionalOldSelf"),
                        BadValue::verbatim(*rule.text->optional_old_self ? "true" : "false"),
                        "may not be set if oldSelf is not used in rule");
    }
}

// NOLINTNEXTLINE(misc-no-recursion): limited by kMaxSchemaDepth.
void check_node(const RuleNode& node, TotalCost* total, FieldErrors* errors) {
    if (node.additional != nullptr) check_node(*node.additional, total, errors);
    for (const auto& [name, property] : node.properties) check_node(*property, total, errors);
    if (node.items != nullptr) check_node(*node.items, total, errors);
    int index = 0;
    for (const CompiledRule& rule : node.rules) {
        check_rule(rule, node, field_index(field_child(node.schema_path, kWord), index++), total, errors);
    }
}

}  // namespace

// NOLINTNEXTLINE(misc-no-recursion)
void check_rule_texts(const Schema& schema, const std::string& path, FieldErrors* errors) {
    if (schema.additional_schema != nullptr) {
        check_rule_texts(*schema.additional_schema, field_child(path, "additionalProperties"), errors);
    }
    for (const auto& [name, property] : schema.properties) {
        check_rule_texts(property, field_key(field_child(path, "properties"), name), errors);
    }
    if (schema.items != nullptr) check_rule_texts(*schema.items, field_child(path, "items"), errors);
    int index = 0;
    for (const RuleText& rule : schema.rules) {
        check_text(rule, schema, field_index(field_child(path, kWord), index++), errors);
    }
}

void check_rules(const Schema& schema, const std::string& path, FieldErrors* errors) {
    const auto rules = compile_rules(schema, path);
    if (rules == nullptr) return;
    TotalCost total;
    check_node(*rules, &total, errors);
    if (total.total <= cel::kStaticTotalCostLimit) return;
    for (const auto& [cost, at] : total.most) {
        errors->forbidden(at,
                          "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema");
    }
    constexpr const char* kTotal = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
    errors->forbidden(path, too_expensive(kTotal, total.total, cel::kStaticTotalCostLimit));
}

}  // namespace sluice::registry
