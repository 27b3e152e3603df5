#include "control/apiserver/authentication/guard.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "control/apiserver/authentication/bootstrap_tokens.h"
#include "control/http/status_body.h"

namespace sluice::authentication {
namespace {

constexpr std::string_view kClusterInfo = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
constexpr std::string_view kAuthenticated = "system:authenticated";

struct Attributes {
    bool is_resource = false;
    std::string group;
    std::string namespace_name;
    std::string resource;
    std::string name;
    std::string subresource;
    std::string verb;
};

std::vector<std::string> segments_of(std::string_view path) {
    std::vector<std::string> out;
    while (!path.empty()) {
        const std::size_t slash = path.find('/');
        if (slash != 0) out.emplace_back(path.substr(0, slash));
        if (slash == std::string_view::npos) break;
        path.remove_prefix(slash + 1);
    }
    return out;
}

std::string verb_of(const http::Request& request, bool has_name) {
    if (request.method == "GET" || request.method == "HEAD") {
        const auto watch = request.parameter("watch");
        if (watch && *watch != "false" && *watch != "0") return "watch";
        return has_name ? "get" : "list";
    }
    if (request.method == "POST") return "create";
    if (request.method == "PUT") return "update";
    if (request.method == "PATCH") return "patch";
    if (request.method == "DELETE") return has_name ? "delete" : "deletecollection";
    return "";
}

Attributes attributes_of(const http::Request& request) {
    Attributes out;
    const auto parts = segments_of(request.path);
    std::size_t at = 0;
    if (parts.size() >= 3 && parts[0] == "api") {
        at = 2;
    } else if (parts.size() >= 4 && parts[0] == "apis") {
        out.group = parts[1];
        at = 3;
    } else {
        return out;
    }
    out.is_resource = true;
    if (parts[at] == "namespaces" && parts.size() > at + 2 && parts[at + 2] != "status" &&
        parts[at + 2] != "finalize") {
        out.namespace_name = parts[at + 1];
        at += 2;
    }
    out.resource = parts[at];
    if (parts.size() > at + 1) out.name = parts[at + 1];
    if (parts.size() > at + 2) out.subresource = parts[at + 2];
    out.verb = verb_of(request, !out.name.empty());
    return out;
}

// Discovery and the like: what clients ask before they do anything.
bool is_discovery(const http::Request& request) {
    if (request.method != "GET" && request.method != "HEAD") return false;
    const auto parts = segments_of(request.path);
    if (parts.empty()) return false;
    if (parts[0] == "api") return parts.size() <= 2;
    if (parts[0] == "apis") return parts.size() <= 3;
    return parts[0] == "openapi" || parts[0] == "version" || parts[0] == "healthz" ||
           parts[0] == "livez" || parts[0] == "readyz";
}

bool only_bootstraps(const http::Identity& identity) {
    return std::find(identity.groups.begin(), identity.groups.end(), kBootstrappersGroup) !=
               identity.groups.end() &&
           std::all_of(identity.groups.begin(), identity.groups.end(), [](const auto& group) {
               return group == kAuthenticated || group == kBootstrappersGroup ||
                      group.starts_with("system:bootstrappers:");
           });
}

// Whether the selector picks one object by its name: "metadata.name=x" and nothing besides.
bool selects_one(const http::Request& request) {
    const auto selector = request.parameter("fieldSelector");
    constexpr std::string_view kName = "metadata.name=";
    return selector && selector->starts_with(kName) && selector->size() > kName.size() &&
           selector->find_first_of(",!=", kName.size()) == std::string::npos;
}

bool may_bootstrap(const http::Request& request, const Attributes& asked) {
    if (is_discovery(request) || is_open_to_strangers(request)) return true;
    if (!asked.is_resource || asked.group != "certificates.k8s.io" ||
        asked.resource != "certificatesigningrequests" || !asked.subresource.empty()) {
        return false;
    }
    // To watch one needs a list to begin from, and a bootstrap token has no business with the
    // requests of others.
    if (asked.verb == "watch") return selects_one(request) || !asked.name.empty();
    return asked.verb == "create" || asked.verb == "get";
}

http::Response forbidden(const http::Request& request, const Attributes& asked) {
    const std::string user =
        request.identity.user.empty() ? "system:anonymous" : request.identity.user;
    if (!asked.is_resource) {
        std::string verb = request.method;
        std::transform(verb.begin(), verb.end(), verb.begin(), [](char c) {
            return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
        });
        return http::status_response(
            403, "Forbidden",
            fmt::format("forbidden: User \"{}\" cannot {} path \"{}\"", user, verb, request.path));
    }
    const std::string resource = asked.group.empty() ? asked.resource : asked.resource + "." + asked.group;
    const std::string full =
        asked.subresource.empty() ? asked.resource : asked.resource + "/" + asked.subresource;
    const std::string object =
        asked.name.empty() ? resource : fmt::format("{} \"{}\"", resource, asked.name);
    const std::string scope = asked.namespace_name.empty()
                                  ? "at the cluster scope"
                                  : fmt::format("in the namespace \"{}\"", asked.namespace_name);
    return http::status_response(
        403, "Forbidden",
        fmt::format("{} is forbidden: User \"{}\" cannot {} resource \"{}\" in API group \"{}\" {}",
                    object, user, asked.verb, full, asked.group, scope));
}

}  // namespace

bool is_open_to_strangers(const http::Request& request) {
    return request.method == "GET" && request.path == kClusterInfo &&
           !request.parameter("watch").has_value();
}

std::optional<http::Response> guard(const http::Request& request) {
    const Attributes asked = attributes_of(request);
    if (request.identity.user.empty()) {
        if (is_discovery(request) || is_open_to_strangers(request)) return std::nullopt;
        return forbidden(request, asked);
    }
    if (!only_bootstraps(request.identity) || may_bootstrap(request, asked)) return std::nullopt;
    return forbidden(request, asked);
}

}  // namespace sluice::authentication
