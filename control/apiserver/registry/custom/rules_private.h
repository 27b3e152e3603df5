// Rules of schemas (x-kubernetes-validations): expressions that values have to satisfy. Compiled once for each version
// of a definition and then shared by all requests. Private to custom/.
//
//   Schema --DeclaredTypes--> type of self --compile_rules--> RuleNode, a tree beside the schema's --evaluate_rules
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "control/apiserver/registry/custom/schema_private.h"
#include "control/apiserver/registry/validation/field_errors.h"
#include "control/cel/program.h"
#include "control/cel/type.h"

namespace sluice::registry {

// What expressions see of values of a schema, with the least that such a value takes as JSON.
struct DeclaredType {
    cel::Type type;
    std::int64_t min_bytes = 0;
};

// Types of schemas, each made once. The schemas outlive it; the types are complete in themselves.
class DeclaredTypes {
public:
    // Null: expressions do not see values of the schema. path: names the types of objects. is_root: of a whole
    // resource, which always has kind, apiVersion and two members of metadata.
    const DeclaredType* of(const Schema& schema, bool is_root, const std::string& path);

private:
    [[nodiscard]] std::optional<DeclaredType> make(const Schema& schema, bool is_root, const std::string& path);
    [[nodiscard]] DeclaredType object(const Schema& schema, bool is_root, const std::string& path);
    std::unordered_map<const Schema*, std::optional<DeclaredType>> made_;
};

struct CompiledRule {
    const RuleText* text = nullptr;
    Result<cel::Program> program;
    std::optional<Result<cel::Program>> message;  // nullopt: there is no messageExpression, or the rule is wrong
    bool uses_old = false;                        // a transition rule
    std::string field_path;                       // normalized; empty: of the value itself
};

// A schema that has rules, or some below it.
struct RuleNode {
    const Schema* schema = nullptr;
    cel::Type type;
    bool is_root = false;
    std::uint64_t max_count = 1;  // how many such values an object can hold at most
    std::string schema_path;      // as errors of definitions name it
    std::string uncorrelated;     // the path of the list whose elements cannot be told again; empty: there is none
    std::vector<CompiledRule> rules;
    std::map<std::string, std::unique_ptr<RuleNode>, std::less<>> properties;
    std::unique_ptr<RuleNode> items;
    std::unique_ptr<RuleNode> additional;
};

// Null: there are no rules. The schema outlives it. path: of the schema, for errors. Rules that cannot be compiled are
// there, and fail.
[[nodiscard]] std::unique_ptr<const RuleNode> compile_rules(const Schema& schema, const std::string& path);

// What definitions may not say in rules: first of their texts alone, then of what they mean, which is to be asked only
// of schemas without other errors.
void check_rule_texts(const Schema& schema, const std::string& path, FieldErrors* errors);
void check_rules(const Schema& schema, const std::string& path, FieldErrors* errors);

// Whether the whole object is as the rules say. old: null at creation. Errors about what did not change are passed over
// (ratcheting). Bounded by Kubernetes' budget for one object.
void evaluate_rules(const boost::json::value& whole, const boost::json::value* old, const RuleNode& rules,
                    FieldErrors* errors);

// The path of a value below one of the schema, ".spec.x['a.b']", as errors write it: "spec.x[a.b]". The error says why
// it names none.
Result<std::string> normalized_field_path(std::string_view path, const Schema& schema);

// As go's %v of the rule in an error.
[[nodiscard]] std::string rule_name(const RuleText& rule);

}  // namespace sluice::registry
