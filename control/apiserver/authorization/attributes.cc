#include "control/apiserver/authorization/attributes.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "api/codec/selector.h"
#include "control/http/uri.h"

namespace sluice::authorization {
namespace {

// What is asked for stands in the first of them.
constexpr std::size_t kMaxSegments = 12;

std::string lower(std::string_view text) {
    std::string out(text);
    std::transform(out.begin(), out.end(), out.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    return out;
}

bool is_set(const http::Request& request, std::string_view name) {
    const auto value = request.parameter(name);
    return value && !value->empty() && *value != "false" && *value != "0";
}

std::string verb_of(const http::Request& request, bool has_name, bool has_subresource) {
    if (request.method == "GET" || request.method == "HEAD") {
        // A subresource cannot be watched, and a proxy's parameters are those of whom it asks.
        if (!has_subresource && is_set(request, "watch")) return "watch";
        return has_name ? "get" : "list";
    }
    if (request.method == "POST") return "create";
    if (request.method == "PUT") return "update";
    if (request.method == "PATCH") return "patch";
    if (request.method == "DELETE") return has_name ? "delete" : "deletecollection";
    return lower(request.method);
}

// Fills in what a path of a resource says. False: it is none.
bool read_resource(const std::vector<std::string_view>& parts, Attributes* out) {
    std::size_t at = 0;
    if (parts.size() >= 3 && parts[0] == "api") {
        out->version = parts[1];
        at = 2;
    } else if (parts.size() >= 4 && parts[0] == "apis") {
        out->group = parts[1];
        out->version = parts[2];
        at = 3;
    } else {
        return false;
    }
    // /api/v1/watch/...: the old way to watch, by path instead of by query.
    if (parts[at] == "watch" && parts.size() > at + 1) {
        out->verb = "watch";
        ++at;
    }
    if (parts[at] == "namespaces" && parts.size() > at + 1) {
        // A namespace itself is asked for in its own scope, as kube-apiserver has it.
        out->namespace_name = parts[at + 1];
        if (parts.size() > at + 2 && parts[at + 2] != "status" && parts[at + 2] != "finalize") at += 2;
    }
    out->resource = parts[at];
    if (parts.size() > at + 1) out->name = parts[at + 1];
    if (parts.size() > at + 2) out->subresource = parts[at + 2];
    return true;
}

}  // namespace

std::string selected_value(std::string_view field_selector, std::string_view field) {
    // By the parser that the resource API uses: a comma behind a backslash would else end a term here and not there,
    // and a list of everything pass for one of a permitted object.
    const auto parsed = codec::FieldSelector::parse(field_selector);
    if (!parsed) return {};
    const auto value = parsed->required_value(field);
    return value ? std::string(*value) : std::string();
}

std::string selected_name(std::string_view field_selector) {
    return selected_value(field_selector, "metadata.name");
}

bool in_group(const http::Identity& identity, std::string_view group) {
    return std::find(identity.groups.begin(), identity.groups.end(), group) != identity.groups.end();
}

Attributes attributes_of(const http::Request& request) {
    Attributes out;
    out.user = request.identity;
    out.path = request.path;
    out.is_resource = read_resource(http::path_segments(request.path, kMaxSegments), &out);
    if (!out.is_resource) {
        out.verb = lower(request.method);
        return out;
    }
    if (out.verb.empty()) out.verb = verb_of(request, !out.name.empty(), !out.subresource.empty());
    if (out.name.empty()) {
        if (const auto selector = request.parameter("fieldSelector")) {
            out.field_selector = *selector;
            out.name = selected_name(*selector);
        }
    }
    return out;
}

std::string refusal(const Attributes& asked) {
    const std::string user = asked.user.user.empty() ? std::string(kAnonymousUser) : asked.user.user;
    if (!asked.is_resource) {
        return fmt::format("forbidden: User \"{}\" cannot {} path \"{}\"", user, asked.verb, asked.path);
    }
    const std::string resource =
        asked.group.empty() ? asked.resource : asked.resource + "." + asked.group;
    const std::string whole =
        asked.subresource.empty() ? asked.resource : asked.resource + "/" + asked.subresource;
    const std::string object = asked.name.empty() ? resource : fmt::format("{} \"{}\"", resource, asked.name);
    const std::string scope = asked.namespace_name.empty()
                                  ? "at the cluster scope"
                                  : fmt::format("in the namespace \"{}\"", asked.namespace_name);
    return fmt::format("{} is forbidden: User \"{}\" cannot {} resource \"{}\" in API group \"{}\" {}", object,
                       user, asked.verb, whole, asked.group, scope);
}

}  // namespace sluice::authorization
