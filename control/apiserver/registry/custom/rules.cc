// Rules compiled: each with the variables self and oldSelf, of the type that the schema gives them.
#include "control/apiserver/registry/custom/rules_private.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "control/apiserver/expressions/text.h"
#include "control/cel/environment.h"

namespace sluice::registry {
namespace {

using cel::Type;
using expressions::trimmed;

constexpr std::uint64_t kUnbounded = std::numeric_limits<std::uint64_t>::max();

// By how much a schema multiplies the values below it.
std::uint64_t factor_of(const Schema& schema) {
    const auto bounded = [](const std::optional<std::int64_t>& most) {
        return most ? static_cast<std::uint64_t>(std::max<std::int64_t>(0, *most)) : kUnbounded;
    };
    if (schema.type == "array") return bounded(schema.max_items);
    if (schema.type == "object" && schema.additional != Schema::Additional::kAbsent) {
        return bounded(schema.max_properties);
    }
    return 1;
}

std::uint64_t product(std::uint64_t a, std::uint64_t b) {
    if (a == 0 || b == 0) return 0;
    return a > kUnbounded / b ? kUnbounded : a * b;
}

class Compiler {
public:
    struct Place {
        std::string path;          // of the schema
        std::string type_path;     // names the types of objects
        std::string uncorrelated;
        std::uint64_t count = 1;   // kUnbounded: as many as fit a request
        bool is_root = false;
    };

    // NOLINTNEXTLINE(misc-no-recursion)
    std::unique_ptr<RuleNode> compile(const Schema& schema, const Place& place) {
        if (!has_rules_below(schema)) return nullptr;
        auto node = std::make_unique<RuleNode>();
        node->schema = &schema;
        node->is_root = place.is_root;
        node->schema_path = place.path;
        node->uncorrelated = place.uncorrelated;
        const DeclaredType* type = types_.of(schema, place.is_root, place.type_path);
        const std::uint64_t fitting =
            cel::kMaxRequestSizeBytes / static_cast<std::uint64_t>((type == nullptr ? 0 : type->min_bytes) + 1);
        node->max_count = place.count == kUnbounded ? fitting : place.count;
        if (type != nullptr) node->type = type->type;
        if (!schema.rules.empty()) compile_here(schema, type, node.get());
        const std::uint64_t below = product(place.count, factor_of(schema));
        if (schema.items != nullptr) {
            Place items = inside(place, "items", ".@items", *schema.items, below);
            if (schema.list_type != "map" && items.uncorrelated.empty()) items.uncorrelated = place.path;
            node->items = compile(*schema.items, items);
        }
        if (schema.additional_schema != nullptr) {
            node->additional = compile(*schema.additional_schema, inside(place, "additionalProperties", ".@values",
                                                                         *schema.additional_schema, below));
        }
        for (const auto& [name, property] : schema.properties) {
            Place member = inside(place, "", "." + name, property, below);
            member.path = field_key(field_child(place.path, "properties"), name);
            if (auto one = compile(property, member)) node->properties.emplace(name, std::move(one));
        }
        return node;
    }

private:
    static Place inside(const Place& place, const char* name, const std::string& type_name, const Schema& schema,
                        std::uint64_t count) {
        Place out;
        out.path = name[0] == '\0' ? place.path : field_child(place.path, name);
        out.type_path = place.type_path + type_name;
        out.uncorrelated = place.uncorrelated;
        out.count = count;
        out.is_root = schema.embedded;
        return out;
    }

    // Looked at once for each schema, however deep it stands.
    // NOLINTNEXTLINE(misc-no-recursion)
    bool has_rules_below(const Schema& schema) {
        const auto found = known_.find(&schema);
        if (found != known_.end()) return found->second;
        bool has = !schema.rules.empty();
        if (schema.items != nullptr) has = has_rules_below(*schema.items) || has;
        if (schema.additional_schema != nullptr) has = has_rules_below(*schema.additional_schema) || has;
        for (const auto& [name, property] : schema.properties) has = has_rules_below(property) || has;
        known_.emplace(&schema, has);
        return has;
    }

    static void compile_here(const Schema& schema, const DeclaredType* type, RuleNode* node) {
        const Type self = type == nullptr ? Type::dyn() : type->type;
        const cel::Environment plain({{"self", self}, {"oldSelf", self}});
        const cel::Environment optional({{"self", self}, {"oldSelf", Type::optional(self)}});
        for (const RuleText& text : schema.rules) {
            CompiledRule rule{&text, make_error(Code::kInvalidArgument, "it is empty"), std::nullopt, false, {}};
            const bool is_optional = text.optional_old_self.value_or(false);
            const cel::Environment& environment = is_optional ? optional : plain;
            if (!trimmed(text.rule).empty()) rule.program = compile_rule(environment, text.rule, type);
            if (rule.program) {
                rule.uses_old = rule.program->mentions("oldSelf");
                if (!text.message_expression.empty()) {
                    rule.message = compile_message(environment, text.message_expression);
                }
            }
            if (!text.field_path.empty()) {
                rule.field_path = normalized_field_path(text.field_path, schema).value_or(std::string());
            }
            node->rules.push_back(std::move(rule));
        }
    }

    static Result<cel::Program> compile_rule(const cel::Environment& environment, const std::string& text,
                                             const DeclaredType* type) {
        if (type == nullptr) {
            return make_error(Code::kInvalidArgument, "failed to convert to declType for CEL validation rules");
        }
        auto program = environment.compile(text);
        if (!program) return make_error(program.error().code, "compilation failed: {}", program.error().message);
        if (program->output_type() != Type::boolean()) {
            return make_error(Code::kInvalidArgument, "cel expression must evaluate to a bool");
        }
        return program;
    }

    static Result<cel::Program> compile_message(const cel::Environment& environment, const std::string& text) {
        auto program = environment.compile(text);
        if (!program) {
            return make_error(program.error().code, "messageExpression compilation failed: {}",
                              program.error().message);
        }
        if (program->output_type() != Type::string()) {
            return make_error(Code::kInvalidArgument, "messageExpression must evaluate to a string");
        }
        return program;
    }

    DeclaredTypes types_;
    std::unordered_map<const Schema*, bool> known_;
};

}  // namespace

std::unique_ptr<const RuleNode> compile_rules(const Schema& schema, const std::string& path) {
    Compiler::Place root;
    root.path = path;
    root.type_path = "selfType";
    root.is_root = true;
    return Compiler().compile(schema, root);
}

std::string rule_name(const RuleText& rule) {
    return std::string(trimmed(rule.message.empty() ? rule.rule : rule.message));
}

}  // namespace sluice::registry
