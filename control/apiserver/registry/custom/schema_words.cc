// Words of JSON Schema that CRDs may not use, the rules of Kubernetes' own, and defaults.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json/value.hpp>
#include <set>

#include "api/codec/json.h"
#include "control/apiserver/registry/custom/structural_private.h"
#include "control/apiserver/registry/custom/values_private.h"

namespace sluice::registry {

namespace json = boost::json;

namespace {

std::string_view key_of(const json::key_value_pair& member) {
    return {member.key().data(), member.key().size()};
}

const json::object* object_at(const json::object& schema, std::string_view name) {
    const json::value* value = schema.if_contains(name);
    return value == nullptr ? nullptr : value->if_object();
}

std::string text_of(const json::value& value) {
    const auto* text = value.if_string();
    return text == nullptr ? std::string() : std::string(text->data(), text->size());
}

std::string text_at(const json::object& schema, std::string_view name) {
    const json::value* value = schema.if_contains(name);
    return value == nullptr ? std::string() : text_of(*value);
}

bool is_true(const json::object& schema, std::string_view name) {
    const json::value* value = schema.if_contains(name);
    return value != nullptr && value->is_bool() && value->get_bool();
}

struct Place {
    bool is_root = false;
    bool inside_meta = false;
    std::string no_defaults;  // why; empty: they may stand here
};

class Words {
public:
    explicit Words(FieldErrors* errors) : errors_(errors) {}

    // NOLINTNEXTLINE(misc-no-recursion)
    void check(const json::object& schema, const std::string& path, const Place& place) {
        forbidden_words(schema, path, place);
        const std::string type = text_at(schema, "type");
        constexpr std::string_view kTypes[] = {"array",  "boolean", "integer",
                                               "number", "object",  "string"};
        if (type == "null") {
            errors_->forbidden(field_child(path, "type"),
                               "type cannot be set to null, use nullable as an alternative");
        } else if (!type.empty() && std::ranges::find(kTypes, type) == std::end(kTypes)) {
            errors_->not_supported(field_child(path, "type"), type,
                                   {"array", "boolean", "integer", "number", "object", "string"});
        }
        additional(schema, path);
        below(schema, path, place);
        const json::value* preserve = schema.if_contains("x-kubernetes-preserve-unknown-fields");
        if (preserve != nullptr && preserve->is_bool() && !preserve->get_bool()) {
            errors_->invalid(field_child(path, "x-kubernetes-preserve-unknown-fields"),
                             BadValue::verbatim("false"), "must be true or undefined");
        }
        map_type(schema, type, path);
        list_type(schema, type, path);
    }

private:
    void forbidden_words(const json::object& schema, const std::string& path, const Place& place) {
        if (schema.contains("default") && !place.no_defaults.empty()) {
            errors_->forbidden(field_child(path, "default"), "must not be set " + place.no_defaults);
        }
        for (const std::string_view word : {"id", "additionalItems", "patternProperties",
                                            "definitions", "dependencies", "$ref"}) {
            if (schema.contains(word)) {
                errors_->forbidden(field_child(path, word), fmt::format("{} is not supported", word));
            }
        }
        if (const json::value* items = schema.if_contains("items");
            items != nullptr && items->is_array()) {
            errors_->forbidden(field_child(path, "items"),
                               "items must be a schema object and not an array");
        }
        if (is_true(schema, "uniqueItems")) {
            errors_->forbidden(field_child(path, "uniqueItems"),
                               "uniqueItems cannot be set to true since the runtime complexity "
                               "becomes quadratic");
        }
        if (place.inside_meta && is_true(schema, "x-kubernetes-embedded-resource")) {
            errors_->forbidden(field_child(path, "x-kubernetes-embedded-resource"),
                               "must not be used inside of resource meta");
        }
    }

    void additional(const json::object& schema, const std::string& path) {
        const json::value* more = schema.if_contains("additionalProperties");
        if (more == nullptr) return;
        const auto* properties = object_at(schema, "properties");
        if (properties == nullptr || properties->empty()) return;
        if (more->is_object() || (more->is_bool() && !more->get_bool())) {
            errors_->forbidden(field_child(path, "additionalProperties"),
                               "additionalProperties and properties are mutual exclusive");
        }
    }

    // NOLINTNEXTLINE(misc-no-recursion)
    void below(const json::object& schema, const std::string& path, const Place& place) {
        Place inner = place;
        inner.is_root = false;
        if (const auto* more = object_at(schema, "additionalProperties")) {
            Place map = inner;
            map.no_defaults = "inside additionalProperties applying to object metadata";
            if (!place.inside_meta) map.no_defaults.clear();
            check(*more, field_child(path, "additionalProperties"), map);
        }
        const bool whole = place.is_root || is_true(schema, "x-kubernetes-embedded-resource");
        if (const auto* properties = object_at(schema, "properties")) {
            for (const auto& member : *properties) {
                const auto* one = member.value().if_object();
                if (one == nullptr) continue;
                const std::string_view name = key_of(member);
                Place property = inner;
                if (whole && (name == "metadata" || name == "kind" || name == "apiVersion")) {
                    property.inside_meta = true;
                    if (place.is_root) {
                        property.no_defaults = fmt::format("in top-level {}", name);
                    }
                }
                check(*one, field_key(field_child(path, "properties"), name), property);
            }
        }
        if (const auto* items = object_at(schema, "items")) {
            check(*items, field_child(path, "items"), inner);
        }
        if (const auto* negated = object_at(schema, "not")) {
            check(*negated, field_child(path, "not"), inner);
        }
        for (const std::string_view word : {"allOf", "oneOf", "anyOf"}) {
            const json::value* list = schema.if_contains(word);
            if (list == nullptr || !list->is_array()) continue;
            int index = 0;
            for (const json::value& one : list->get_array()) {
                const std::string at = field_index(field_child(path, word), index++);
                if (const auto* nested = one.if_object()) check(*nested, at, inner);
            }
        }
    }

    void map_type(const json::object& schema, const std::string& type, const std::string& path) {
        if (!schema.contains("x-kubernetes-map-type")) return;
        constexpr std::string_view kWhy = "must be object if x-kubernetes-map-type is specified";
        if (type.empty()) {
            errors_->required(field_child(path, "type"), kWhy);
        } else if (type != "object") {
            errors_->invalid(field_child(path, "type"), type, kWhy);
        }
        const std::string given = text_at(schema, "x-kubernetes-map-type");
        if (given != "atomic" && given != "granular") {
            errors_->not_supported(field_child(path, "x-kubernetes-map-type"), given,
                                   {"atomic", "granular"});
        }
    }

    void list_type(const json::object& schema, const std::string& type, const std::string& path) {
        const bool given = schema.contains("x-kubernetes-list-type");
        const std::string list = text_at(schema, "x-kubernetes-list-type");
        const std::string at = field_child(path, "x-kubernetes-list-type");
        if (given) {
            constexpr std::string_view kWhy = "must be array if x-kubernetes-list-type is specified";
            if (type.empty()) {
                errors_->required(field_child(path, "type"), kWhy);
            } else if (type != "array") {
                errors_->invalid(field_child(path, "type"), type, kWhy);
            } else if (list == "set") {
                set_items(schema, path);
            }
            if (list != "atomic" && list != "set" && list != "map") {
                errors_->not_supported(at, list, {"atomic", "set", "map"});
            }
        }
        const json::value* keys = schema.if_contains("x-kubernetes-list-map-keys");
        const bool has_keys = keys != nullptr && keys->is_array() && !keys->get_array().empty();
        if (has_keys && !given) {
            errors_->required(at, "must be map if x-kubernetes-list-map-keys is non-empty");
        } else if (has_keys && list != "map") {
            errors_->invalid(at, list, "must be map if x-kubernetes-list-map-keys is non-empty");
        }
        if (list != "map") return;
        if (!has_keys) {
            errors_->required(field_child(path, "x-kubernetes-list-map-keys"),
                              "must not be empty if x-kubernetes-list-type is map");
        }
        const auto* items = object_at(schema, "items");
        if (items == nullptr) {
            return errors_->required(field_child(path, "items"),
                                     "must have a schema if x-kubernetes-list-type is map");
        }
        if (text_at(*items, "type") != "object") {
            return errors_->invalid(field_child(field_child(path, "items"), "type"),
                                    text_at(*items, "type"),
                                    "must be object if parent array's x-kubernetes-list-type is map");
        }
        if (has_keys) map_keys(keys->get_array(), *items, path);
    }

    void set_items(const json::object& schema, const std::string& path) {
        const auto* items = object_at(schema, "items");
        if (items == nullptr) return;
        const std::string at = field_child(path, "items");
        constexpr std::string_view kWhy =
            "must be atomic as item of a list with x-kubernetes-list-type=set";
        const std::string type = text_at(*items, "type");
        if (type == "array" && items->contains("x-kubernetes-list-type") &&
            text_at(*items, "x-kubernetes-list-type") != "atomic") {
            errors_->invalid(field_child(at, "x-kubernetes-list-type"),
                             text_at(*items, "x-kubernetes-list-type"), kWhy);
        }
        if (type == "object" && text_at(*items, "x-kubernetes-map-type") != "atomic") {
            errors_->invalid(field_child(at, "x-kubernetes-map-type"),
                             text_at(*items, "x-kubernetes-map-type"), kWhy);
        }
        if (is_true(*items, "nullable")) {
            errors_->forbidden(field_child(at, "nullable"),
                               "cannot be nullable when x-kubernetes-list-type is set");
        }
    }

    void map_keys(const json::array& keys, const json::object& items, const std::string& path) {
        const std::string at = field_child(path, "x-kubernetes-list-map-keys");
        const std::string item = field_child(path, "items");
        const auto* properties = object_at(items, "properties");
        std::vector<std::string> names;
        for (const json::value& key : keys) names.push_back(text_of(key));
        const auto shown = BadValue::verbatim(go_string_list(names));
        if (is_true(items, "nullable")) {
            errors_->forbidden(field_child(item, "nullable"),
                               "cannot be nullable when x-kubernetes-list-type is map");
        }
        std::set<std::string> seen;
        for (const std::string& name : names) {
            const auto* one = properties == nullptr ? nullptr : object_at(*properties, name);
            const std::string here = field_key(field_child(item, "properties"), name);
            if (!seen.insert(name).second) {
                errors_->invalid(at, shown, "must not contain duplicate entries");
            }
            if (one == nullptr) {
                errors_->invalid(at, shown, "entries must all be names of item properties");
                continue;
            }
            const std::string type = text_at(*one, "type");
            if (type == "array" || type == "object") {
                errors_->invalid(field_child(here, "type"), text_at(items, "type"),
                                 "must be a scalar type if parent array's x-kubernetes-list-type "
                                 "is map");
            }
            if (!is_required(items, name) && !one->contains("default")) {
                errors_->required(field_child(here, "default"),
                                  "this property is in x-kubernetes-list-map-keys, so it must have "
                                  "a default or be a required property");
            }
            if (is_true(*one, "nullable")) {
                errors_->forbidden(field_child(here, "nullable"),
                                   "this property is in x-kubernetes-list-map-keys, so it cannot "
                                   "be nullable");
            }
        }
    }

    static bool is_required(const json::object& items, const std::string& name) {
        const json::value* required = items.if_contains("required");
        if (required == nullptr || !required->is_array()) return false;
        return std::ranges::any_of(required->get_array(), [&name](const json::value& one) {
            return text_of(one) == name;
        });
    }

    FieldErrors* errors_;
};

// The default of one schema, if it has one, and of those below.
// NOLINTNEXTLINE(misc-no-recursion)
void check_default(const Schema& schema, const std::string& path, FieldErrors* errors) {
    if (schema.fallback) {
        const std::string at = field_child(path, "default");
        json::value pruned = *schema.fallback;
        prune(&pruned, schema, schema.embedded, nullptr);
        if (!equal_values(pruned, *schema.fallback)) {
            errors->invalid(at, shown_value(*schema.fallback), "must not have unknown fields");
        } else {
            FieldErrors found;
            check_embedded(*schema.fallback, schema, false, at, &found);
            if (found.empty()) check_value(*schema.fallback, nullptr, schema, at, &found);
            errors->append(found);
        }
    }
    if (schema.items != nullptr) {
        check_default(*schema.items, field_child(path, "items"), errors);
    }
    for (const auto& [name, property] : schema.properties) {
        check_default(property, field_key(field_child(path, "properties"), name), errors);
    }
}

}  // namespace

void check_words(const json::object& document, const std::string& path, FieldErrors* errors) {
    Place root;
    root.is_root = true;
    Words(errors).check(document, path, root);
}

void check_defaults(const Schema& schema, const std::string& path, FieldErrors* errors) {
    check_default(schema, path, errors);
}

}  // namespace sluice::registry
