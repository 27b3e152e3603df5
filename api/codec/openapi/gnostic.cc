// Converts a v2 document into openapi.v2.Document. Extensions and defaults become YAML text; JSON
// is YAML, so they are written as JSON.
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <boost/json.hpp>
#include <string_view>

#include "api/base/result.h"
#include "api/codec/openapi/gnostic_internal.h"
#include "api/external/openapiv2.pb.h"

namespace sluice::codec {
namespace json = boost::json;
namespace v2 = ::openapi::v2;

namespace {

std::string text(const json::value& value) {
    SLUICE_ASSERT(value.is_string());
    return std::string(value.get_string());
}

void set_yaml(const json::value& value, v2::Any* out) {
    out->set_yaml(json::serialize(value) + "\n");
}

template <class Owner>
void add_extension(std::string_view name, const json::value& value, Owner* owner) {
    v2::NamedAny* extension = owner->add_vendor_extension();
    extension->set_name(std::string(name));
    set_yaml(value, extension->mutable_value());
}

void convert_schema(const json::object& schema, v2::Schema* out) {
    for (const auto& member : schema) {
        const std::string_view name = member.key();
        const json::value& value = member.value();
        if (name == "$ref") {
            out->set__ref(text(value));
        } else if (name == "format") {
            out->set_format(text(value));
        } else if (name == "description") {
            out->set_description(text(value));
        } else if (name == "type") {
            out->mutable_type()->add_value(text(value));
        } else if (name == "default") {
            set_yaml(value, out->mutable_default_());
        } else if (name == "required") {
            for (const json::value& entry : value.get_array()) out->add_required(text(entry));
        } else if (name == "items") {
            convert_schema(value.get_object(), out->mutable_items()->add_schema());
        } else if (name == "additionalProperties") {
            convert_schema(value.get_object(),
                           out->mutable_additional_properties()->mutable_schema());
        } else if (name == "properties") {
            for (const auto& property : value.get_object()) {
                v2::NamedSchema* named = out->mutable_properties()->add_additional_properties();
                named->set_name(std::string(property.key()));
                convert_schema(property.value().get_object(), named->mutable_value());
            }
        } else {
            SLUICE_ASSERT(name.starts_with("x-"));
            add_extension(name, value, out);
        }
    }
}

template <class SubSchema>
void convert_simple_parameter(const json::object& parameter, SubSchema* out) {
    out->set_in(text(parameter.at("in")));
    out->set_name(text(parameter.at("name")));
    out->set_description(text(parameter.at("description")));
    out->set_type(text(parameter.at("type")));
    out->set_unique_items(parameter.contains("uniqueItems"));
    out->set_required(parameter.contains("required"));
}

void convert_parameter(const json::object& parameter, v2::Parameter* out) {
    const std::string in = text(parameter.at("in"));
    if (in == "body") {
        v2::BodyParameter* body = out->mutable_body_parameter();
        body->set_in(in);
        body->set_name(text(parameter.at("name")));
        body->set_required(parameter.contains("required"));
        convert_schema(parameter.at("schema").get_object(), body->mutable_schema());
        return;
    }
    v2::NonBodyParameter* other = out->mutable_non_body_parameter();
    if (in == "query") {
        convert_simple_parameter(parameter, other->mutable_query_parameter_sub_schema());
    } else {
        SLUICE_ASSERT(in == "path");
        convert_simple_parameter(parameter, other->mutable_path_parameter_sub_schema());
    }
}

void convert_operation(const json::object& operation, v2::Operation* out) {
    for (const auto& member : operation) {
        const std::string_view name = member.key();
        const json::value& value = member.value();
        if (name == "description") {
            out->set_description(text(value));
        } else if (name == "operationId") {
            out->set_operation_id(text(value));
        } else if (name == "tags") {
            for (const json::value& entry : value.get_array()) out->add_tags(text(entry));
        } else if (name == "consumes") {
            for (const json::value& entry : value.get_array()) out->add_consumes(text(entry));
        } else if (name == "produces") {
            for (const json::value& entry : value.get_array()) out->add_produces(text(entry));
        } else if (name == "schemes") {
            for (const json::value& entry : value.get_array()) out->add_schemes(text(entry));
        } else if (name == "parameters") {
            for (const json::value& entry : value.get_array()) {
                convert_parameter(entry.get_object(), out->add_parameters()->mutable_parameter());
            }
        } else if (name == "responses") {
            for (const auto& response : value.get_object()) {
                v2::NamedResponseValue* named = out->mutable_responses()->add_response_code();
                named->set_name(std::string(response.key()));
                v2::Response* to = named->mutable_value()->mutable_response();
                const json::object& from = response.value().get_object();
                to->set_description(text(from.at("description")));
                if (const json::value* schema = from.if_contains("schema")) {
                    convert_schema(schema->get_object(), to->mutable_schema()->mutable_schema());
                }
            }
        } else {
            SLUICE_ASSERT(name.starts_with("x-"));
            add_extension(name, value, out);
        }
    }
}

v2::Operation* operation_of(std::string_view method, v2::PathItem* item) {
    if (method == "get") return item->mutable_get();
    if (method == "put") return item->mutable_put();
    if (method == "post") return item->mutable_post();
    if (method == "delete") return item->mutable_delete_();
    SLUICE_ASSERT(method == "patch");
    return item->mutable_patch();
}

}  // namespace

std::string openapi_v2_to_protobuf(const json::object& document) {
    v2::Document out;
    out.set_swagger(text(document.at("swagger")));
    const json::object& info = document.at("info").get_object();
    out.mutable_info()->set_title(text(info.at("title")));
    out.mutable_info()->set_version(text(info.at("version")));
    for (const auto& path : document.at("paths").get_object()) {
        v2::NamedPathItem* named = out.mutable_paths()->add_path();
        named->set_name(std::string(path.key()));
        for (const auto& member : path.value().get_object()) {
            if (member.key() != "parameters") {
                convert_operation(member.value().get_object(),
                                  operation_of(member.key(), named->mutable_value()));
                continue;
            }
            for (const json::value& entry : member.value().get_array()) {
                convert_parameter(entry.get_object(),
                                  named->mutable_value()->add_parameters()->mutable_parameter());
            }
        }
    }
    for (const auto& definition : document.at("definitions").get_object()) {
        v2::NamedSchema* named = out.mutable_definitions()->add_additional_properties();
        named->set_name(std::string(definition.key()));
        convert_schema(definition.value().get_object(), named->mutable_value());
    }
    return out.SerializeAsString();
}

}  // namespace sluice::codec
