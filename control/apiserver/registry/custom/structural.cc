// The rules of https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
// #specifying-a-structural-schema, in Kubernetes' words.
#include "control/apiserver/registry/custom/structural_private.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/value.hpp>
#include <set>

#include "api/codec/json.h"
#include "control/apiserver/registry/custom/rules_private.h"
#include "control/apiserver/registry/custom/values_private.h"

namespace sluice::registry {

namespace json = boost::json;

namespace {

constexpr std::string_view kCombinations[] = {"allOf", "anyOf", "oneOf"};

enum class Level : unsigned char { kRoot, kItem, kField };

const json::object* object_at(const json::object& schema, std::string_view name) {
    const json::value* value = schema.if_contains(name);
    return value == nullptr ? nullptr : value->if_object();
}

const json::array* array_at(const json::object& schema, std::string_view name) {
    const json::value* value = schema.if_contains(name);
    return value == nullptr ? nullptr : value->if_array();
}

std::string text_at(const json::object& schema, std::string_view name) {
    const json::value* value = schema.if_contains(name);
    const auto* text = value == nullptr ? nullptr : value->if_string();
    return text == nullptr ? std::string() : std::string(text->data(), text->size());
}

bool is_true(const json::object& schema, std::string_view name) {
    const json::value* value = schema.if_contains(name);
    return value != nullptr && value->is_bool() && value->get_bool();
}

bool has(const json::object& schema, std::string_view name) { return schema.contains(name); }

std::string_view key_of(const json::key_value_pair& member) {
    return {member.key().data(), member.key().size()};
}

// [{"type": "integer"}, {"type": "string"}], the one use of types inside anyOf.
bool is_int_or_string(const json::array* any_of) {
    static const json::value pattern = {{{"type", "integer"}}, {{"type", "string"}}};
    return any_of != nullptr && *any_of == pattern.get_array();
}

class Structure {
public:
    explicit Structure(FieldErrors* errors) : errors_(errors) {}

    // The part of a schema that gives values their shape.
    // NOLINTNEXTLINE(misc-no-recursion)
    void shape(const json::object& schema, Level level, const std::string& path) {
        const std::string type = text_at(schema, "type");
        const bool embedded = is_true(schema, "x-kubernetes-embedded-resource");
        const bool preserves = is_true(schema, "x-kubernetes-preserve-unknown-fields");
        const bool int_or_string = is_true(schema, "x-kubernetes-int-or-string");
        const json::object* items = object_at(schema, "items");
        if (type == "array" && items == nullptr) {
            errors_->required(field_child(path, "items"), "must be specified");
        }
        if (items != nullptr) shape(*items, Level::kItem, field_child(path, "items"));
        const std::string members = field_child(path, "properties");
        const json::object* properties = object_at(schema, "properties");
        if (properties != nullptr) {
            for (const auto& member : *properties) {
                if (const auto* one = member.value().if_object()) {
                    shape(*one, Level::kField, field_key(members, key_of(member)));
                }
            }
        }
        const std::string additional = field_child(path, "additionalProperties");
        if (has(schema, "additionalProperties")) {
            if (level == Level::kRoot) {
                errors_->forbidden(additional, "must not be used at the root");
            }
            if (const auto* one = object_at(schema, "additionalProperties")) {
                shape(*one, Level::kField, additional);
            }
        }
        if (int_or_string && preserves) {
            errors_->invalid(field_child(path, "x-kubernetes-preserve-unknown-fields"),
                             BadValue::verbatim("true"),
                             "must be false if x-kubernetes-int-or-string is true");
        }
        if (int_or_string && embedded) {
            errors_->invalid(field_child(path, "x-kubernetes-embedded-resource"),
                             BadValue::verbatim("true"),
                             "must be false if x-kubernetes-int-or-string is true");
        }
        values(schema, path);
        type_rules(schema, type, level, path);
        if (embedded && has(schema, "additionalProperties")) {
            errors_->forbidden(additional,
                               "must not be used if x-kubernetes-embedded-resource is set");
        }
        if (properties != nullptr) meta_rules(*properties, level, embedded, members);
        if (embedded && !preserves && (properties == nullptr || properties->empty())) {
            errors_->required(members,
                              "must not be empty if x-kubernetes-embedded-resource is true without "
                              "x-kubernetes-preserve-unknown-fields");
        }
    }

    // What is demanded of values must be demanded of values whose shape is known.
    // NOLINTNEXTLINE(misc-no-recursion)
    void complete(const json::object& demands, const json::object* shape, const std::string& shape_path,
                  const std::string& path) {
        for (const std::string_view word : kCombinations) {
            const json::array* list = array_at(demands, word);
            if (list == nullptr) continue;
            int index = 0;
            for (const json::value& one : *list) {
                const std::string at = field_index(field_child(path, word), index++);
                if (const auto* nested = one.if_object()) {
                    complete_nested(*nested, shape, shape_path, at);
                }
            }
        }
        if (const auto* negated = object_at(demands, "not")) {
            complete_nested(*negated, shape, shape_path, field_child(path, "not"));
        }
    }

private:
    void type_rules(const json::object& schema, const std::string& type, Level level,
                    const std::string& path) {
        const std::string at = field_child(path, "type");
        if (is_true(schema, "x-kubernetes-embedded-resource") && type != "object") {
            constexpr std::string_view kWhy =
                "must be object if x-kubernetes-embedded-resource is true";
            if (type.empty()) {
                errors_->required(at, kWhy);
            } else {
                errors_->invalid(at, type, kWhy);
            }
        } else if (type.empty() && !is_true(schema, "x-kubernetes-int-or-string") &&
                   !is_true(schema, "x-kubernetes-preserve-unknown-fields")) {
            errors_->required(at, level == Level::kRoot ? "must not be empty at the root"
                                  : level == Level::kItem
                                      ? "must not be empty for specified array items"
                                      : "must not be empty for specified object fields");
        }
        if (level == Level::kRoot && !type.empty() && type != "object") {
            errors_->invalid(at, type, "must be object at the root");
        }
    }

    void meta_rules(const json::object& properties, Level level, bool embedded,
                    const std::string& path) {
        const bool checked = level == Level::kRoot || embedded;
        for (const char* name : {"kind", "apiVersion"}) {
            const auto* one = object_at(properties, name);
            if (one == nullptr || !checked || text_at(*one, "type") == "string") continue;
            errors_->invalid(field_child(field_key(path, name), "type"), text_at(*one, "type"),
                             "must be string");
        }
        const auto* metadata = object_at(properties, "metadata");
        if (metadata == nullptr) return;
        const std::string at = field_key(path, "metadata");
        if (checked && text_at(*metadata, "type") != "object") {
            errors_->invalid(field_child(at, "type"), text_at(*metadata, "type"),
                             "must be object");
        }
        if (level != Level::kRoot) return;
        const bool plain = std::ranges::all_of(*metadata, [](const json::key_value_pair& member) {
            if (key_of(member) == "type") return true;
            if (key_of(member) != "properties" || !member.value().is_object()) return false;
            return std::ranges::all_of(
                member.value().get_object(), [](const json::key_value_pair& property) {
                    return key_of(property) == "name" || key_of(property) == "generateName";
                });
        });
        if (!plain) {
            errors_->forbidden(at,
                               "must not specify anything other than name and generateName, but "
                               "metadata is implicitly specified");
        }
    }

    // NOLINTNEXTLINE(misc-no-recursion)
    void values(const json::object& schema, const std::string& path) {
        for (const std::string_view word : kCombinations) {
            const json::array* list = array_at(schema, word);
            if (list == nullptr) continue;
            if (word == "anyOf" && is_int_or_string(list)) continue;
            int index = 0;
            for (const json::value& one : *list) {
                const std::string at = field_index(field_child(path, word), index);
                const auto* nested = one.if_object();
                const bool first_of_all = word == "allOf" && index == 0;
                ++index;
                if (nested == nullptr) continue;
                nested_values(*nested,
                              first_of_all && is_int_or_string(array_at(*nested, "anyOf")), at);
            }
        }
        if (const auto* negated = object_at(schema, "not")) {
            nested_values(*negated, false, field_child(path, "not"));
        }
    }

    // Inside allOf and the like, where values may be restricted but get no shape.
    // NOLINTNEXTLINE(misc-no-recursion)
    void nested_values(const json::object& schema, bool skip_any_of, const std::string& path) {
        if (!skip_any_of) values(schema, path);
        if (const auto* items = object_at(schema, "items")) {
            nested_values(*items, false, field_child(path, "items"));
        }
        const std::string members = field_child(path, "properties");
        const auto* properties = object_at(schema, "properties");
        if (properties != nullptr) {
            for (const auto& member : *properties) {
                if (const auto* one = member.value().if_object()) {
                    nested_values(*one, false, field_key(members, key_of(member)));
                }
            }
        }
        constexpr std::pair<std::string_view, std::string_view> kWords[] = {
            {"type", "must be empty to be structural"},
            {"additionalProperties", "must be undefined to be structural"},
            {"default", "must be undefined to be structural"},
            {"title", "must be empty to be structural"},
            {"description", "must be empty to be structural"},
            {"nullable", "must be false to be structural"},
            {"x-kubernetes-preserve-unknown-fields", "must be false to be structural"},
            {"x-kubernetes-embedded-resource", "must be false to be structural"},
            {"x-kubernetes-int-or-string", "must be false to be structural"},
            {"x-kubernetes-list-map-keys", "must be empty to be structural"},
            {"x-kubernetes-list-type", "must be undefined to be structural"},
            {"x-kubernetes-map-type", "must be undefined to be structural"},
            {"x-kubernetes-validations", "must be empty to be structural"},
        };
        for (const auto& [word, why] : kWords) {
            if (has(schema, word)) errors_->forbidden(field_child(path, word), why);
        }
        if (properties != nullptr && properties->contains("metadata")) {
            errors_->forbidden(field_key(members, "metadata"),
                               "must not be specified in a nested context");
        }
    }

    // NOLINTNEXTLINE(misc-no-recursion)
    void complete_nested(const json::object& demands, const json::object* shape,
                         const std::string& shape_path, const std::string& path) {
        complete(demands, shape, shape_path, path);
        if (const auto* items = object_at(demands, "items")) {
            const auto* known = object_at(*shape, "items");
            const std::string at = field_child(shape_path, "items");
            if (known == nullptr) {
                missing(at, field_child(path, "items"));
            } else {
                complete_nested(*items, known, at, field_child(path, "items"));
            }
        }
        const auto* properties = object_at(demands, "properties");
        if (properties == nullptr) return;
        const auto* known = object_at(*shape, "properties");
        for (const auto& member : *properties) {
            const auto* one = member.value().if_object();
            if (one == nullptr) continue;
            const std::string_view name = key_of(member);
            const std::string at = field_key(field_child(shape_path, "properties"), name);
            const std::string here = field_key(field_child(path, "properties"), name);
            const auto* other = known == nullptr ? nullptr : object_at(*known, name);
            if (other == nullptr) {
                missing(at, here);
            } else {
                complete_nested(*one, other, at, here);
            }
        }
    }

    void missing(const std::string& shape_path, const std::string& path) {
        errors_->required(shape_path, fmt::format("because it is defined in {}", path));
    }

    FieldErrors* errors_;
};

}  // namespace

void check_structural(const json::value& document, const Schema& schema, const std::string& path,
                      bool with_status, FieldErrors* errors) {
    const auto* object = document.if_object();
    if (object == nullptr) return errors->required(path);
    if (with_status) {
        constexpr std::string_view kAtRoot[] = {
            "description", "type", "format", "title", "maximum", "exclusiveMaximum", "minimum",
            "exclusiveMinimum", "maxLength", "minLength", "pattern", "maxItems", "minItems",
            "uniqueItems", "multipleOf", "required", "items", "properties", "externalDocs",
            "example", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations"};
        for (const auto& member : *object) {
            if (std::ranges::find(kAtRoot, key_of(member)) != std::end(kAtRoot)) continue;
            errors->invalid(
                path, BadValue::verbatim(codec::write_json(document)),
                "only [Description Type Format Title Maximum ExclusiveMaximum Minimum "
                "ExclusiveMinimum MaxLength MinLength Pattern MaxItems MinItems UniqueItems "
                "MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields "
                "XValidations] fields are allowed at the root of the schema if the status "
                "subresource is enabled");
            break;
        }
    }
    if (schema.nullable) {
        errors->forbidden(path + ".nullable", "nullable cannot be true at the root");
    }
    FieldErrors found;
    Structure structure(&found);
    structure.shape(*object, Level::kRoot, path);
    structure.complete(*object, object, path, path);
    if (found.empty()) check_defaults(schema, path, &found);
    check_words(*object, path, &found);
    check_rule_texts(schema, path, &found);
    // What a rule means can only be said of a schema that is right.
    if (found.empty()) check_rules(schema, path, &found);
    errors->append(found);
}

}  // namespace sluice::registry
