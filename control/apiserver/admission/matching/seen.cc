#include "control/apiserver/admission/matching/seen.h"

#include <fmt/format.h>
#include <google/protobuf/message.h>

#include "api/codec/json.h"
#include "control/apiserver/admission/matching/criteria.h"
#include "control/apiserver/registry/conversion/conversion.h"
#include "control/apiserver/registry/custom/custom_kind.h"
#include "control/apiserver/registry/custom/versions/converter.h"
#include "control/http/status_body.h"

namespace sluice::admission {
namespace {

using http::json_quote;
using registry::AdmissionRequest;
using registry::Operation;

std::string kind_json(const codec::GroupVersionKind& gvk) {
    return fmt::format(R"({{"group":{},"version":{},"kind":{}}})", json_quote(gvk.group), json_quote(gvk.version),
                       json_quote(gvk.kind));
}

std::string resource_json(const codec::KindInfo& kind) {
    return fmt::format(R"({{"group":{},"version":{},"resource":{}}})", json_quote(kind.gvk.group),
                       json_quote(kind.gvk.version), json_quote(kind.resource));
}

template <class Texts>
std::string list_json(const Texts& texts) {
    std::string out = "[";
    for (const std::string& text : texts) {
        if (out.size() > 1) out += ',';
        out += json_quote(text);
    }
    return out + "]";
}

std::string user_json(const http::Identity& user) {
    std::string out = "{\"username\":" + json_quote(user.user);
    if (!user.uid.empty()) out += ",\"uid\":" + json_quote(user.uid);
    if (!user.groups.empty()) out += ",\"groups\":" + list_json(user.groups);
    std::string extra;
    for (const auto& [key, values] : user.extra) {
        extra += fmt::format("{}{}:{}", extra.empty() ? "" : ",", json_quote(key), list_json(values));
    }
    if (!extra.empty()) out += ",\"extra\":{" + extra + "}";
    return out + "}";
}

void add_member(std::string_view name, std::string_view json, std::string* out) {
    *out += fmt::format(",\"{}\":{}", name, json);
}

std::string deletion_options(const AdmissionRequest& request) {
    std::string out = R"({"kind":"DeleteOptions","apiVersion":"meta.k8s.io/v1")";
    const auto options = registry::parse_delete_options(*request.call.request);
    if (!options) return out + "}";
    if (options->grace_seconds) add_member("gracePeriodSeconds", std::to_string(*options->grace_seconds), &out);
    if (options->uid || options->resource_version) {
        std::string preconditions;
        if (options->uid) preconditions = "\"uid\":" + json_quote(*options->uid);
        if (options->resource_version) {
            preconditions += (preconditions.empty() ? "" : ",") + std::string("\"resourceVersion\":") +
                             json_quote(*options->resource_version);
        }
        add_member("preconditions", "{" + preconditions + "}", &out);
    }
    switch (options->propagation) {
        case registry::Propagation::kDefault: break;
        case registry::Propagation::kBackground: add_member("propagationPolicy", "\"Background\"", &out); break;
        case registry::Propagation::kForeground: add_member("propagationPolicy", "\"Foreground\"", &out); break;
        case registry::Propagation::kOrphan: add_member("propagationPolicy", "\"Orphan\"", &out); break;
    }
    if (request.dry_run) add_member("dryRun", "[\"All\"]", &out);
    return out + "}";
}

std::string options_json(const AdmissionRequest& request) {
    if (request.operation == Operation::kConnect) return "null";
    if (request.operation == Operation::kDelete) return deletion_options(request);
    std::string out = fmt::format(R"({{"kind":"{}","apiVersion":"meta.k8s.io/v1")",
                                  request.operation == Operation::kCreate ? "CreateOptions" : "UpdateOptions");
    if (request.dry_run) add_member("dryRun", "[\"All\"]", &out);
    for (const char* name : {"fieldManager", "fieldValidation"}) {
        const auto value = request.call.request->parameter(name).value_or("");
        if (!value.empty()) add_member(name, json_quote(value), &out);
    }
    return out + "}";
}

}  // namespace

const codec::GroupVersionKind& seen_gvk(const AdmissionRequest& request, const codec::KindInfo& seen) {
    if (request.connect != nullptr) return request.connect->gvk;
    return request.sent != nullptr ? request.sent->gvk : seen.gvk;
}

registry::Answer<std::string> seen_json(const AdmissionRequest& request, const codec::KindInfo& seen,
                                        const registry::Message* object) {
    if (object == nullptr) return "null";
    const auto& gvk = seen_gvk(request, seen);
    const registry::Converter* converter = registry::converter_of(seen);
    if (request.sent == nullptr && converter != nullptr) {
        auto converted = converter->convert(request.kind, *object, seen);
        if (!converted) return registry::refuse(registry::internal_error(converted.error().message));
        return codec::encode_json(**converted, &gvk);
    }
    if (request.sent != nullptr || seen.custom != nullptr || &seen == &request.kind) {
        return codec::encode_json(*object, &gvk);
    }
    return codec::encode_json(*registry::to_served(seen, *object), &gvk);
}

registry::Answer<std::string> seen_object(const AdmissionRequest& request, const codec::KindInfo& seen) {
    if (request.connect != nullptr) return request.connect->json;
    return seen_json(request, seen, request.object);
}

std::string_view seen_namespace(const AdmissionRequest& request) {
    const bool about_namespace = request.kind.gvk.group.empty() && request.kind.resource == "namespaces";
    return about_namespace ? request.name : request.name_space;
}

std::string request_members(const AdmissionRequest& request, const codec::KindInfo& seen) {
    const codec::KindInfo& asked = *request.call.info.kind;
    const std::string_view name_space = seen_namespace(request);
    std::string out = "\"kind\":" + kind_json(seen_gvk(request, seen));
    add_member("resource", resource_json(seen), &out);
    if (!request.subresource.empty()) add_member("subResource", json_quote(request.subresource), &out);
    add_member("requestKind", kind_json(seen_gvk(request, asked)), &out);
    add_member("requestResource", resource_json(asked), &out);
    if (!request.subresource.empty()) add_member("requestSubResource", json_quote(request.subresource), &out);
    if (!request.name.empty()) add_member("name", json_quote(request.name), &out);
    if (!name_space.empty()) add_member("namespace", json_quote(name_space), &out);
    add_member("operation", json_quote(operation_name(request.operation)), &out);
    add_member("userInfo", user_json(request.user), &out);
    add_member("dryRun", request.dry_run ? "true" : "false", &out);
    add_member("options", options_json(request), &out);
    return out;
}

}  // namespace sluice::admission
