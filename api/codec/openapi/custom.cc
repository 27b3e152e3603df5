#include <google/protobuf/message.h>

#include <boost/json.hpp>

#include "api/codec/json.h"
#include "api/codec/openapi/custom_internal.h"

namespace sluice::codec {

namespace json = boost::json;

namespace {

constexpr std::string_view kObjectMeta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
constexpr std::string_view kListMeta = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
constexpr std::string_view kApiVersion =
    "APIVersion defines the versioned schema of this representation of an object. Servers should "
    "convert recognized schemas to the latest internal value, and may reject unrecognized values. "
    "More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
constexpr std::string_view kKind =
    "Kind is a string value representing the REST resource this object represents. Servers may "
    "infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. "
    "More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/"
    "api-conventions.md#types-kinds";
constexpr std::string_view kObjectMetadata =
    "Standard object's metadata. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
constexpr std::string_view kListMetadata =
    "Standard list metadata. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/"
    "api-conventions.md#types-kinds";

std::string custom_name(const KindInfo& kind, const std::string& name) {
    std::string out;
    std::string_view rest = kind.gvk.group;
    while (!rest.empty()) {
        const std::size_t dot = rest.rfind('.');
        out += rest.substr(dot == std::string_view::npos ? 0 : dot + 1);
        out += '.';
        rest = dot == std::string_view::npos ? std::string_view() : rest.substr(0, dot);
    }
    return out + kind.gvk.version + "." + name;
}

json::object text(std::string_view description) {
    return {{"description", description}, {"type", "string"}};
}

json::object reference(std::string_view name, std::string_view description,
                       OpenApiVersion version) {
    json::object out{{"$ref", definition_reference(name, version)}};
    if (description.empty()) return out;
    if (version == OpenApiVersion::kV3) out = json::object{{"allOf", json::array{std::move(out)}}};
    out["description"] = description;
    return out;
}

bool is_true(const json::object& schema, std::string_view name) {
    const json::value* value = schema.if_contains(name);
    return value != nullptr && value->is_bool() && value->get_bool();
}

// Version 2 knows less than CRDs say: what it cannot express is left out, so that clients that validate by it let
// everything pass that the server takes.
// NOLINTNEXTLINE(misc-no-recursion): the codec limits the depth.
json::object as_v2(const json::object& schema) {
    json::object out;
    const bool open = is_true(schema, "x-kubernetes-preserve-unknown-fields");
    const bool nullable = is_true(schema, "nullable");
    const bool loose = nullable || is_true(schema, "x-kubernetes-int-or-string");
    for (const auto& member : schema) {
        const std::string_view name{member.key().data(), member.key().size()};
        const json::value& value = member.value();
        if (name == "description" || name == "format" || name == "default" ||
            name == "required" || name.starts_with("x-kubernetes-")) {
            out[name] = value;
        } else if (name == "type" && !loose) {
            out[name] = value;
        } else if (name == "items" && value.is_object() && !open && !nullable) {
            out[name] = as_v2(value.get_object());
        } else if (name == "additionalProperties" && value.is_object() && !nullable) {
            out[name] = as_v2(value.get_object());
        } else if (name == "properties" && value.is_object() && !open && !nullable) {
            json::object& properties = out[name].emplace_object();
            for (const auto& property : value.get_object()) {
                if (const auto* one = property.value().if_object()) {
                    properties[property.key()] = as_v2(*one);
                }
            }
        }
    }
    if (nullable) out.erase("required");
    return out;
}

json::object object_schema(const PublishedKind& kind, OpenApiVersion version) {
    auto parsed = parse_json(kind.schema);
    json::object schema;
    if (parsed && parsed->is_object()) schema = parsed->get_object();
    if (version == OpenApiVersion::kV2) schema = as_v2(schema);
    schema["type"] = "object";
    json::value& properties = schema["properties"];
    if (!properties.is_object()) properties.emplace_object();
    json::object& members = properties.get_object();
    members["apiVersion"] = text(kApiVersion);
    members["kind"] = text(kKind);
    members["metadata"] = reference(kObjectMeta, kObjectMetadata, version);
    schema["x-kubernetes-group-version-kind"] = json::array{gvk_object(kind.info.gvk)};
    return schema;
}

json::object list_schema(const PublishedKind& kind, OpenApiVersion version) {
    const KindInfo& info = kind.info;
    json::object members;
    members["apiVersion"] = text(kApiVersion);
    members["items"] = json::object{
        {"description", "List of " + info.resource +
                            ". More info: https://git.k8s.io/community/contributors/devel/"
                            "sig-architecture/api-conventions.md"},
        {"type", "array"},
        {"items", reference(object_definition(info), "", version)}};
    members["kind"] = text(kKind);
    members["metadata"] = reference(kListMeta, kListMetadata, version);
    json::object out{{"description", info.list_kind() + " is a list of " + info.gvk.kind},
                     {"type", "object"},
                     {"required", json::array{"items"}}};
    out["properties"] = std::move(members);
    out["x-kubernetes-group-version-kind"] =
        json::array{gvk_object({info.gvk.group, info.gvk.version, info.list_kind()})};
    return out;
}

}  // namespace

bool is_custom(const KindInfo& kind) { return kind.prototype == &custom_object_prototype(); }

std::string object_definition(const KindInfo& kind) {
    return is_custom(kind) ? custom_name(kind, kind.gvk.kind)
                           : definition_name(*kind.prototype->GetDescriptor());
}

std::string list_definition(const KindInfo& kind) {
    return is_custom(kind) ? custom_name(kind, kind.list_kind())
                           : definition_name(*kind.list_prototype->GetDescriptor());
}

void add_custom_schemas(const PublishedKind& kind, OpenApiVersion version,
                        json::object* definitions) {
    (*definitions)[object_definition(kind.info)] = object_schema(kind, version);
    (*definitions)[list_definition(kind.info)] = list_schema(kind, version);
}

}  // namespace sluice::codec
