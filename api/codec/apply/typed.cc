#include "api/codec/apply/typed.h"

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <unordered_map>

#include "api/codec/apply/typed_internal.h"

namespace sluice::codec {

namespace json = boost::json;

using Shape = ApplyType::Shape;

View view_of(const ApplyType& type, const json::value* value) {
    switch (type.shape) {
        case Shape::kScalar:
        case Shape::kAtomic: return View::kLeaf;
        case Shape::kObject: return is_nothing(value) || value->is_object() ? View::kObject : View::kLeaf;
        case Shape::kSet:
        case Shape::kKeyed: return is_nothing(value) || value->is_array() ? View::kList : View::kLeaf;
        case Shape::kFreeForm: break;
    }
    return value != nullptr && value->is_object() ? View::kObject : View::kLeaf;
}

bool is_hollow(const json::value* value) {
    return is_nothing(value) || (value->is_object() && value->as_object().empty()) ||
           (value->is_array() && value->as_array().empty());
}

Result<PathElement> element_of(const ApplyType& list, const json::value& item) {
    if (list.shape == Shape::kSet) {
        if (item.is_object() || item.is_array() || item.is_null()) {
            return make_error(Code::kInvalidArgument, "an element of a set is no scalar: {}", json::serialize(item));
        }
        return PathElement{PathElement::Kind::kValue, json::serialize(item)};
    }
    if (!item.is_object()) {
        return make_error(Code::kInvalidArgument,
                          "associative list with keys may not have non-map elements: {}", json::serialize(item));
    }
    std::string text = "{";
    for (const std::string& key : list.keys) {
        const json::value* value = item.as_object().if_contains(key);
        const std::string_view fallback = ApplySchema::default_of_key(key);
        if (value == nullptr && fallback.empty()) continue;
        if (text.size() > 1) text += ',';
        text += json::serialize(json::string(key)) + ":";
        text += value == nullptr ? std::string(fallback) : json::serialize(*value);
    }
    if (text.size() == 1) {
        std::string keys;
        for (const std::string& key : list.keys) keys += (keys.empty() ? "\"" : " \"") + key + "\"";
        return make_error(Code::kInvalidArgument,
                          "associative list with keys has an element that omits all key fields [{}] (and doesn't "
                          "have default values for any key fields)",
                          keys);
    }
    return PathElement{PathElement::Kind::kKey, text + "}"};
}

namespace {

Result<void> collect(const json::value& value, const ApplyType& type, ApplySchema& schema, FieldSet* out);

// A value that stands at `element`: itself as a leaf, or what is in it.
Result<void> collect_at(const PathElement& element, const json::value& value, const ApplyType& type,
                        bool also_itself, ApplySchema& schema, FieldSet* out) {
    const View view = view_of(type, &value);
    if (view == View::kLeaf || value.is_null() || (view == View::kObject && value.as_object().empty())) {
        out->insert(element);
        return {};
    }
    if (also_itself) out->insert(element);
    return collect(value, type, schema, &out->make_below(element));
}

Result<void> collect(const json::value& value, const ApplyType& type, ApplySchema& schema, FieldSet* out) {
    if (value.is_object()) {
        for (const auto& [name, member] : value.as_object()) {
            bool known = false;
            const ApplyType& inner = schema.member(type, name, &known);
            SLUICE_TRY(collect_at(PathElement::field(std::string(name)), member, inner, !known, schema, out));
        }
    } else if (value.is_array()) {
        const ApplyType inner = ApplySchema::element(type);
        for (const json::value& item : value.as_array()) {
            SLUICE_TRY_ASSIGN(const auto element, element_of(type, item));
            SLUICE_TRY(collect_at(element, item, inner, true, schema, out));
        }
    }
    return {};
}

json::value cut(const json::value& value, const FieldSet& fields, const ApplyType& type, ApplySchema& schema);

json::value cut_object(const json::object& object, const FieldSet& fields, const ApplyType& type,
                       ApplySchema& schema) {
    json::object out;
    for (const auto& [name, member] : object) {
        const PathElement element = PathElement::field(std::string(name));
        if (fields.has(element)) continue;
        const FieldSet* below = fields.below(element);
        bool known = false;
        out.emplace(name, below == nullptr ? member : cut(member, *below, schema.member(type, name, &known), schema));
    }
    // An object that was emptied is gone; one that was empty has nothing to take away.
    return out.empty() && !object.empty() ? json::value(nullptr) : json::value(std::move(out));
}

json::value cut_list(const json::array& list, const FieldSet& fields, const ApplyType& type, ApplySchema& schema) {
    const ApplyType inner = ApplySchema::element(type);
    json::array out;
    for (const json::value& item : list) {
        const auto element = element_of(type, item);
        if (!element) {
            out.push_back(item);
            continue;
        }
        if (fields.has(*element)) continue;
        const FieldSet* below = fields.below(*element);
        out.push_back(below == nullptr ? item : cut(item, *below, inner, schema));
    }
    return out.empty() && !list.empty() ? json::value(nullptr) : json::value(std::move(out));
}

json::value cut(const json::value& value, const FieldSet& fields, const ApplyType& type, ApplySchema& schema) {
    switch (view_of(type, &value)) {
        case View::kObject:
            return value.is_object() ? cut_object(value.as_object(), fields, type, schema) : value;
        case View::kList: return value.is_array() ? cut_list(value.as_array(), fields, type, schema) : value;
        case View::kLeaf: break;
    }
    return value;
}

FieldSet with_parents(const FieldSet& fields, const ApplyType& type, ApplySchema& schema) {
    FieldSet out;
    for (const PathElement& member : fields.members()) out.insert(member);
    for (const auto& [element, below] : fields.children()) {
        const bool field = element.kind == PathElement::Kind::kField;
        bool known = false;
        const ApplyType inner =
            field ? schema.member(type, element.text, &known) : ApplySchema::element(type);
        if (known) out.insert(element);
        out.make_below(element) = with_parents(below, inner, schema);
    }
    return out;
}

}  // namespace

Result<FieldSet> fields_of(const json::value& object, const google::protobuf::Descriptor& type,
                           ApplySchema& schema) {
    FieldSet out;
    SLUICE_TRY(collect(object, ApplySchema::root(type), schema, &out));
    out.drop_empty();
    return out;
}

json::value without(const json::value& object, const FieldSet& fields, const google::protobuf::Descriptor& type,
                    ApplySchema& schema) {
    return cut(object, fields, ApplySchema::root(type), schema);
}

FieldSet with_named_parents(const FieldSet& fields, const google::protobuf::Descriptor& type, ApplySchema& schema) {
    return with_parents(fields, ApplySchema::root(type), schema);
}

}  // namespace sluice::codec
