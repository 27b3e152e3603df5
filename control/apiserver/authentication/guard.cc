#include "control/apiserver/authentication/guard.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "control/apiserver/authentication/bootstrap_tokens.h"
#include "control/apiserver/authorization/attributes.h"
#include "control/http/status_body.h"

namespace sluice::authentication {
namespace {

constexpr std::string_view kClusterInfo = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
constexpr std::string_view kAuthenticated = "system:authenticated";

using authorization::Attributes;

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

bool may_bootstrap(const http::Request& request, const Attributes& asked) {
    if (is_discovery(request) || is_open_to_strangers(request)) return true;
    if (!asked.is_resource || asked.group != "certificates.k8s.io" ||
        asked.resource != "certificatesigningrequests" || !asked.subresource.empty()) {
        return false;
    }
    // To watch one needs a list to begin from, and a bootstrap token has no business with the
    // requests of others.
    if (asked.verb == "watch") return !asked.name.empty();
    return asked.verb == "create" || asked.verb == "get";
}

http::Response forbidden(const Attributes& asked) {
    return http::status_response(403, "Forbidden", authorization::refusal(asked));
}

}  // namespace

bool is_open_to_strangers(const http::Request& request) {
    return request.method == "GET" && request.path == kClusterInfo &&
           !request.parameter("watch").has_value();
}

std::optional<http::Response> guard(const http::Request& request) {
    const Attributes asked = authorization::attributes_of(request);
    if (request.identity.user.empty()) {
        if (is_discovery(request) || is_open_to_strangers(request)) return std::nullopt;
        return forbidden(asked);
    }
    if (!only_bootstraps(request.identity) || may_bootstrap(request, asked)) return std::nullopt;
    return forbidden(asked);
}

}  // namespace sluice::authentication
