// What a schema's x-kubernetes-list-type and -embedded-resource demand beyond JSON Schema.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json/value.hpp>
#include <cctype>
#include <unordered_map>

#include "api/codec/json.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/custom/values_private.h"
#include "control/apiserver/registry/validation/object_meta.h"

namespace sluice::registry {

namespace json = boost::json;

namespace {

std::string_view key_of(const json::key_value_pair& member) {
    return {member.key().data(), member.key().size()};
}

// The members of an element that identify it, as an object.
json::value keys_of(const json::value& element, const Schema& list) {
    json::object keys;
    if (const auto* object = element.if_object()) {
        for (const std::string& name : list.list_keys) {
            if (const json::value* value = object->if_contains(name)) keys[name] = *value;
        }
    }
    return keys;
}

// Each value that is there more than once is named at its second place.
void check_unique(const json::array& items, const Schema& list, const std::string& path,
                  FieldErrors* errors) {
    std::unordered_map<std::string, int> seen;
    int index = 0;
    for (const json::value& item : items) {
        const json::value identity = list.list_type == "map" ? keys_of(item, list) : item;
        if (++seen[codec::write_sorted_json(identity)] == 2) {
            errors->duplicate(field_index(path, index), shown_value(identity));
        }
        ++index;
    }
}

void check_type_member(const json::object& object, const char* name, const std::string& path,
                       FieldErrors* errors) {
    const std::string at = field_child(path, name);
    const json::value* value = object.if_contains(name);
    if (value == nullptr) return errors->required(at);
    const auto* text = value->if_string();
    if (text == nullptr) return errors->invalid(at, shown_value(*value), "must be a string");
    if (text->empty()) return errors->invalid(at, "", "must not be empty");
    const std::string given(text->data(), text->size());
    if (std::string_view(name) == "apiVersion") {
        if (const auto ok = codec::GroupVersionKind::parse(given, ""); !ok) {
            errors->invalid(at, given, ok.error().message);
        }
        return;
    }
    std::string lower = given;
    std::ranges::transform(lower, lower.begin(), [](unsigned char c) {
        return static_cast<char>(std::tolower(c));
    });
    const auto wrong = check_dns1035_label(lower);
    if (!wrong.empty()) {
        errors->invalid(at, given,
                        fmt::format("may have mixed case, but should otherwise match: {}",
                                    fmt::join(wrong, ",")));
    }
}

void check_object(const json::object& object, const std::string& path, FieldErrors* errors) {
    check_type_member(object, "apiVersion", path, errors);
    check_type_member(object, "kind", path, errors);
    const json::value* metadata = object.if_contains("metadata");
    if (metadata == nullptr) return;
    const std::string at = field_child(path, "metadata");
    codec::metav1::ObjectMeta meta;
    if (!metadata->is_object()) {
        return errors->invalid(at, shown_value(*metadata), "must be an object");
    }
    if (const auto ok = codec::from_json_value(*metadata, &meta); !ok) {
        return errors->invalid(at, shown_value(*metadata), ok.error().message);
    }
    // Objects inside objects may be templates, which have no name.
    if (meta.name().empty()) meta.set_name("fakename");
    FieldErrors found;
    validate_object_meta(meta, !meta.namespace_().empty(), check_path_segment, &found);
    errors->append(found, path);
}

}  // namespace

OldItems::OldItems(const Schema& list, const json::value* old) : list_(list) {
    if (list.list_type != "map" || old == nullptr || !old->is_array()) return;
    for (const json::value& item : old->get_array()) {
        if (item.is_object()) items_.emplace(codec::write_sorted_json(keys_of(item, list)), &item);
    }
}

const json::value* OldItems::find(const json::value& item) const {
    if (items_.empty() || !item.is_object()) return nullptr;
    const auto found = items_.find(codec::write_sorted_json(keys_of(item, list_)));
    return found == items_.end() ? nullptr : found->second;
}

// NOLINTNEXTLINE(misc-no-recursion)
void check_lists(const json::value& value, const Schema& schema, const std::string& path,
                 FieldErrors* errors) {
    if (const auto* object = value.if_object()) {
        for (const auto& member : *object) {
            const std::string_view name = key_of(member);
            if (const Schema* known = schema.property(name)) {
                check_lists(member.value(), *known, field_child(path, name), errors);
            } else if (schema.additional_schema != nullptr) {
                check_lists(member.value(), *schema.additional_schema, field_key(path, name),
                            errors);
            }
        }
        return;
    }
    const auto* items = value.if_array();
    if (items == nullptr) return;
    int index = 0;
    if (schema.list_type == "map") {
        for (const json::value& item : *items) {
            if (!item.is_object() && !item.is_null()) {
                return errors->invalid(field_index(path, index), shown_value(item),
                                       "must be an object for an array of list-type map");
            }
            ++index;
        }
    }
    if (schema.list_type == "map" || schema.list_type == "set") {
        check_unique(*items, schema, path, errors);
    }
    if (schema.items == nullptr) return;
    index = 0;
    for (const json::value& item : *items) {
        check_lists(item, *schema.items, field_index(path, index++), errors);
    }
}

// NOLINTNEXTLINE(misc-no-recursion)
void check_embedded(const json::value& value, const Schema& schema, bool is_root,
                    const std::string& path, FieldErrors* errors) {
    if (const auto* object = value.if_object()) {
        if (schema.embedded && !is_root) check_object(*object, path, errors);
        for (const auto& member : *object) {
            const std::string_view name = key_of(member);
            if (const Schema* known = schema.property(name)) {
                check_embedded(member.value(), *known, false, field_child(path, name), errors);
            } else if (schema.additional_schema != nullptr) {
                check_embedded(member.value(), *schema.additional_schema, false,
                               field_key(path, name), errors);
            }
        }
    } else if (const auto* items = value.if_array(); items != nullptr && schema.items != nullptr) {
        int index = 0;
        for (const json::value& item : *items) {
            check_embedded(item, *schema.items, false, field_index(path, index++), errors);
        }
    }
}

}  // namespace sluice::registry
