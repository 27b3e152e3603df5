// Schemas as types of expressions, by Kubernetes' mapping; how much values can hold comes from maxItems and the like,
// or from the size of the largest request.
#include <algorithm>
#include <limits>
#include <utility>

#include "control/apiserver/registry/custom/rules_private.h"
#include "control/cel/escape.h"

namespace sluice::registry {

using cel::Type;

namespace {

constexpr std::int64_t kMaxRequest = static_cast<std::int64_t>(cel::kMaxRequestSizeBytes);
// The least and the most that values take as JSON.
constexpr std::int64_t kMinText = 2;
constexpr std::int64_t kMinBool = 4;
constexpr std::int64_t kMinNumber = 1;
constexpr std::int64_t kMinDuration = 3;
constexpr std::int64_t kMinDateTime = 21;
constexpr std::int64_t kDateBytes = 12;
constexpr std::int64_t kMaxDuration = 32;
constexpr std::int64_t kMaxDateTime = 32;
constexpr std::int64_t kMaxText = kMaxRequest - 2;
constexpr std::int64_t kEmptyObject = 2;
// Quotes, colon and comma of a member.
constexpr std::int64_t kMemberBytes = 4;
constexpr std::int64_t kEntryBytes = 6;
constexpr std::int64_t kBytesOfCharacter = 4;

DeclaredType sized(Type type, std::int64_t max_elements, std::int64_t min_bytes) {
    return {type.with_max_elements(static_cast<std::uint64_t>(std::max<std::int64_t>(0, max_elements))), min_bytes};
}

std::int64_t longest(const std::vector<boost::json::value>& values) {
    std::int64_t out = 0;
    for (const auto& value : values) {
        if (const auto* text = value.if_string()) out = std::max(out, static_cast<std::int64_t>(text->size()));
    }
    return out;
}

DeclaredType text_type(const Schema& schema) {
    if (schema.format == "byte") {
        return sized(Type::bytes(), schema.max_length.value_or(kMaxText), kMinText);
    }
    if (schema.format == "duration") return sized(Type::duration(), kMaxDuration, kMinDuration);
    if (schema.format == "date") return sized(Type::timestamp(), kDateBytes, kDateBytes);
    if (schema.format == "date-time") return sized(Type::timestamp(), kMaxDateTime, kMinDateTime);
    std::int64_t most = kMaxText;
    if (schema.max_length) {
        // Counted in characters, while costs are counted in bytes.
        constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max() / kBytesOfCharacter;
        most = std::clamp<std::int64_t>(*schema.max_length, 0, kMost) * kBytesOfCharacter;
    } else if (!schema.values.empty()) {
        most = longest(schema.values);
    }
    return sized(Type::string(), most, kMinText);
}

std::shared_ptr<const cel::ListSemantics> semantics_of(const Schema& list) {
    if (list.list_type != "set" && list.list_type != "map") return nullptr;
    cel::ListSemantics out;
    out.merge = list.list_type == "set" ? cel::ListSemantics::Merge::kSet : cel::ListSemantics::Merge::kMap;
    out.keys = list.list_keys;
    return std::make_shared<const cel::ListSemantics>(std::move(out));
}

class SchemaObject final : public cel::ObjectType {
public:
    explicit SchemaObject(std::string name) : name_(std::move(name)) {}
    [[nodiscard]] const std::string& name() const override { return name_; }
    [[nodiscard]] std::optional<Type> field(std::string_view json_name) const override {
        const auto found = fields_.find(json_name);
        return found == fields_.end() ? std::nullopt : std::optional<Type>(found->second);
    }
    void add(std::string_view name, Type type) { fields_.insert_or_assign(std::string(name), std::move(type)); }

private:
    const std::string name_;
    std::map<std::string, Type, std::less<>> fields_;
};

bool is_typed(const Schema* schema, std::string_view type) { return schema != nullptr && schema->type == type; }

// Whether the schema says itself what every resource has.
bool has_type_and_meta(const Schema& schema) {
    const Schema* metadata = schema.property("metadata");
    return is_typed(schema.property("kind"), "string") && is_typed(schema.property("apiVersion"), "string") &&
           is_typed(metadata, "object") && is_typed(metadata->property("name"), "string") &&
           is_typed(metadata->property("generateName"), "string");
}

}  // namespace

// NOLINTNEXTLINE(misc-no-recursion): limited by kMaxSchemaDepth.
const DeclaredType* DeclaredTypes::of(const Schema& schema, bool is_root, const std::string& path) {
    auto found = made_.find(&schema);
    if (found == made_.end()) found = made_.emplace(&schema, make(schema, is_root, path)).first;
    return found->second ? &*found->second : nullptr;
}

// NOLINTNEXTLINE(misc-no-recursion)
std::optional<DeclaredType> DeclaredTypes::make(const Schema& schema, bool is_root, const std::string& path) {
    if (schema.int_or_string) return sized(Type::dyn(), kMaxText, kMinNumber);
    if (schema.type == "array") {
        if (schema.items == nullptr) return std::nullopt;
        const DeclaredType* items = of(*schema.items, schema.items->embedded, path + ".@items");
        if (items == nullptr) return std::nullopt;
        const std::int64_t most = schema.max_items.value_or((kMaxRequest - 2) / (items->min_bytes + 1));
        return sized(Type::list(items->type, semantics_of(schema)), most, kEmptyObject);
    }
    if (schema.type == "object") {
        if (schema.additional_schema != nullptr) {
            const Schema& values = *schema.additional_schema;
            const DeclaredType* value = of(values, values.embedded, path + ".@values");
            if (value == nullptr) return std::nullopt;
            const std::int64_t most =
                schema.max_properties.value_or((kMaxRequest - 2) / (value->min_bytes + kEntryBytes));
            return sized(Type::map(Type::string(), value->type), most, kEmptyObject);
        }
        return object(schema, is_root, path);
    }
    if (schema.type == "string") return text_type(schema);
    if (schema.type == "boolean") return DeclaredType{Type::boolean(), kMinBool};
    if (schema.type == "number") return DeclaredType{Type::number(), kMinNumber};
    if (schema.type == "integer") return DeclaredType{Type::integer(), kMinNumber};
    return std::nullopt;
}

// NOLINTNEXTLINE(misc-no-recursion)
DeclaredType DeclaredTypes::object(const Schema& schema, bool is_root, const std::string& path) {
    auto type = std::make_shared<SchemaObject>(path);
    std::int64_t min_bytes = kEmptyObject;
    for (const auto& [name, property] : schema.properties) {
        const DeclaredType* field = of(property, property.embedded, path + "." + name);
        if (field == nullptr) continue;
        if (cel::escape_name(name)) type->add(name, field->type);
        const bool required = std::ranges::find(schema.required, name) != schema.required.end();
        if (required && !property.fallback) {
            min_bytes += static_cast<std::int64_t>(name.size()) + field->min_bytes + kMemberBytes;
        }
    }
    if (is_root && !has_type_and_meta(schema)) {
        const Type text = sized(Type::string(), kMaxText, kMinText).type;
        type->add("kind", text);
        type->add("apiVersion", text);
        type->add("metadata", cel::make_object_type(path + ".metadata", {{"name", text}, {"generateName", text}}));
    }
    return {Type::object(std::move(type)), min_bytes};
}

}  // namespace sluice::registry
