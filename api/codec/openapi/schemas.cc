// Derives schemas from descriptors, options and comments. Types whose JSON is not that of their
// message (Time, Quantity and the like) are written by hand, as the JSON codec does.
#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <boost/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "api/codec/openapi/documentation.h"
#include "api/codec/openapi/schemas_internal.h"
#include "api/kubernetes/options.pb.h"

namespace sluice::codec {
namespace json = boost::json;
namespace pb = ::google::protobuf;

namespace {

constexpr std::string_view kMeta = "k8s.io.apimachinery.pkg.apis.meta.v1.";

// The schema of a type that is not an object with its fields as members; nothing for ordinary
// types.
std::optional<json::object> special_schema(std::string_view type, OpenApiVersion version) {
    const bool v3 = version == OpenApiVersion::kV3;
    if (type.starts_with(kMeta)) {
        const std::string_view name = type.substr(kMeta.size());
        if (name == "Time" || name == "MicroTime") {
            return json::object{{"type", "string"}, {"format", "date-time"}};
        }
        if (name == "Duration") return json::object{{"type", "string"}};
        if (name == "FieldsV1" || name == "Patch") return json::object{{"type", "object"}};
        return std::nullopt;
    }
    if (type == "k8s.io.apimachinery.pkg.api.resource.Quantity") {
        if (!v3) return json::object{{"type", "string"}};
        return json::object{{"oneOf", json::array{json::object{{"type", "string"}},
                                                  json::object{{"type", "number"}}}}};
    }
    if (type == "k8s.io.apimachinery.pkg.util.intstr.IntOrString") {
        if (!v3) return json::object{{"type", "string"}, {"format", "int-or-string"}};
        return json::object{{"format", "int-or-string"},
                            {"oneOf", json::array{json::object{{"type", "integer"}},
                                                  json::object{{"type", "string"}}}}};
    }
    if (type == "k8s.io.api.certificates.v1.ExtraValue") {
        return json::object{{"type", "array"}, {"items", json::object{{"type", "string"}}}};
    }
    // JSON, and what may stand in the place of a schema: anything.
    constexpr std::string_view kExtensions =
        "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.";
    if (type.starts_with(kExtensions)) {
        const std::string_view name = type.substr(kExtensions.size());
        if (name == "JSON" || name.starts_with("JSONSchemaPropsOr")) return json::object{};
    }
    if (type == "k8s.io.apimachinery.pkg.runtime.RawExtension")
        return json::object{{"type", "object"}};
    return std::nullopt;
}

// Values that the API server fills in and Kubernetes declares in its schemas.
std::string_view declared_default(std::string_view field) {
    if (field == "k8s.io.api.core.v1.ServicePort.protocol" ||
        field == "k8s.io.api.core.v1.ContainerPort.protocol") {
        return "TCP";
    }
    return {};
}

class SchemaMaker {
public:
    SchemaMaker(const KindNames& kinds, OpenApiVersion version)
        : kinds_(kinds), version_(version) {}

    void add(const pb::Descriptor& type) {
        if (!seen_.insert(&type).second) return;
        pending_.push_back(&type);
    }

    std::map<std::string, json::object> run() {
        while (!pending_.empty()) {
            const pb::Descriptor& type = *pending_.back();
            pending_.pop_back();
            schemas_.emplace(definition_name(type), definition(type));
        }
        return std::move(schemas_);
    }

private:
    [[nodiscard]] bool v3() const { return version_ == OpenApiVersion::kV3; }

    json::object definition(const pb::Descriptor& type) {
        json::object out;
        if (const std::string_view text = documentation_of(type.full_name()); !text.empty()) {
            out["description"] = text;
        }
        const auto special = special_schema(type.full_name(), version_);
        if (special) {
            for (const auto& member : *special) out[member.key()] = member.value();
        } else {
            out["type"] = "object";
        }
        const auto kinds = kinds_.find(type.full_name());
        if (!special) {
            std::map<std::string, json::object> properties;
            std::set<std::string> required;
            if (kinds != kinds_.end()) add_type_members(&properties);
            add_fields(type, &properties, &required);
            if (!required.empty()) out["required"] = json::array(required.begin(), required.end());
            if (!properties.empty()) {
                json::object& members = out["properties"].emplace_object();
                for (auto& [name, schema] : properties) members.emplace(name, std::move(schema));
            }
        }
        if (kinds != kinds_.end()) {
            json::array& list = out["x-kubernetes-group-version-kind"].emplace_array();
            for (const GroupVersionKind& gvk : kinds->second) list.push_back(gvk_object(gvk));
        }
        return out;
    }

    static void add_type_members(std::map<std::string, json::object>* properties) {
        properties->emplace(
            "apiVersion",
            json::object{
                {"description", "Group and version of the schema that this object follows."},
                {"type", "string"}});
        properties->emplace(
            "kind", json::object{{"description", "Name of the schema that this object follows."},
                                 {"type", "string"}});
    }

    // The fields of inlined messages stand among those of the message that holds them.
    void add_fields(const pb::Descriptor& type, std::map<std::string, json::object>* properties,
                    std::set<std::string>* required) {
        for (int i = 0; i < type.field_count(); ++i) {
            const pb::FieldDescriptor& field = *type.field(i);
            const pb::FieldOptions& options = field.options();
            if (options.GetExtension(k8s::inlined)) {
                add_fields(*field.message_type(), properties, required);
                continue;
            }
            const std::string name = options.HasExtension(k8s::json_name)
                                         ? options.GetExtension(k8s::json_name)
                                         : field.name();
            if (name == "-") continue;
            if (options.GetExtension(k8s::required)) required->insert(name);
            properties->emplace(name, property(field));
        }
    }

    json::object property(const pb::FieldDescriptor& field) {
        const pb::FieldOptions& options = field.options();
        json::object out;
        if (field.is_map()) {
            out["type"] = "object";
            out["additionalProperties"] = element(*field.message_type()->FindFieldByNumber(2));
        } else if (field.is_repeated()) {
            out["type"] = "array";
            out["items"] = element(field);
        } else {
            out = single(field,
                         options.GetExtension(k8s::always) && !options.GetExtension(k8s::pointer));
        }
        json::object beside;
        if (const std::string_view text = documentation_of(field.full_name()); !text.empty()) {
            beside["description"] = text;
        }
        add_extensions(options, &beside);
        if (!beside.empty() && v3() && out.contains("$ref")) {
            // In v3 nothing may stand beside a reference.
            out = json::object{{"allOf", json::array{std::move(out)}}};
        }
        for (auto& member : beside) out.emplace(member.key(), std::move(member.value()));
        return out;
    }

    static void add_extensions(const pb::FieldOptions& options, json::object* out) {
        const auto add = [&](const char* name, const std::string& value) {
            if (!value.empty()) (*out)[name] = value;
        };
        add("x-kubernetes-patch-strategy", options.GetExtension(k8s::patch_strategy));
        add("x-kubernetes-patch-merge-key", options.GetExtension(k8s::patch_merge_key));
        add("x-kubernetes-list-type", options.GetExtension(k8s::list_type));
        add("x-kubernetes-map-type", options.GetExtension(k8s::map_type));
        if (const int keys = options.ExtensionSize(k8s::list_map_key); keys > 0) {
            json::array& list = (*out)["x-kubernetes-list-map-keys"].emplace_array();
            for (int i = 0; i < keys; ++i) {
                list.emplace_back(options.GetExtension(k8s::list_map_key, i));
            }
        }
    }

    // Elements of lists and maps are values, never absent, so they have their zero as default in
    // v3.
    json::object element(const pb::FieldDescriptor& field) { return single(field, true); }

    // zero_default: an absent value is the zero value.
    json::object single(const pb::FieldDescriptor& field, bool zero_default) {
        json::object out;
        json::value zero;
        switch (field.type()) {
            case pb::FieldDescriptor::TYPE_STRING:
                out["type"] = "string";
                zero = "";
                break;
            case pb::FieldDescriptor::TYPE_BYTES:
                out["type"] = "string";
                out["format"] = "byte";
                break;
            case pb::FieldDescriptor::TYPE_BOOL:
                out["type"] = "boolean";
                zero = false;
                break;
            case pb::FieldDescriptor::TYPE_DOUBLE:
                out["type"] = "number";
                out["format"] = "double";
                zero = 0;
                break;
            case pb::FieldDescriptor::TYPE_INT32:
            case pb::FieldDescriptor::TYPE_UINT32:
                out["type"] = "integer";
                out["format"] = "int32";
                zero = 0;
                break;
            case pb::FieldDescriptor::TYPE_MESSAGE: {
                const pb::Descriptor& type = *field.message_type();
                add(type);
                json::object reference{
                    {"$ref", definition_reference(definition_name(type), version_)}};
                if (!v3() || !zero_default || special_schema(type.full_name(), version_)) {
                    return reference;
                }
                out["allOf"] = json::array{std::move(reference)};
                zero.emplace_object();
                break;
            }
            default:
                // Upstream's messages have no other types.
                out["type"] = "integer";
                out["format"] = "int64";
                zero = 0;
        }
        if (!v3()) return out;
        if (const std::string_view value = declared_default(field.full_name()); !value.empty()) {
            out["default"] = value;
        } else if (zero_default && !zero.is_null()) {
            out["default"] = std::move(zero);
        }
        return out;
    }

    const KindNames& kinds_;
    OpenApiVersion version_;
    std::set<const pb::Descriptor*> seen_;
    std::vector<const pb::Descriptor*> pending_;
    std::map<std::string, json::object> schemas_;
};

}  // namespace

std::string definition_name(const pb::Descriptor& type) {
    // Upstream names definitions by Go package, whose host is written backwards.
    const std::string& name = type.full_name();
    const std::string_view prefix = "k8s.io.";
    if (!name.starts_with(prefix)) return name;
    return "io.k8s." + name.substr(prefix.size());
}

std::string definition_reference(std::string_view name, OpenApiVersion version) {
    return (version == OpenApiVersion::kV2 ? "#/definitions/" : "#/components/schemas/") +
           std::string(name);
}

json::object gvk_object(const GroupVersionKind& gvk) {
    return {{"group", gvk.group}, {"kind", gvk.kind}, {"version", gvk.version}};
}

std::map<std::string, json::object> make_schemas(const std::vector<const pb::Descriptor*>& roots,
                                                 const KindNames& kinds, OpenApiVersion version) {
    SchemaMaker maker(kinds, version);
    for (const pb::Descriptor* root : roots) maker.add(*root);
    return maker.run();
}

}  // namespace sluice::codec
