#include "control/apiserver/authentication/impersonation.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::authentication {
namespace {

using authorization::Attributes;

constexpr std::string_view kPrefix = "impersonate-";
constexpr std::string_view kExtraPrefix = "impersonate-extra-";
constexpr std::string_view kServiceAccountPrefix = "system:serviceaccount:";
constexpr char kAuthenticationGroup[] = "authentication.k8s.io";

// Bytes of header names that may be no token are percent-encoded; what is no encoding stays as it is.
std::string unescape(std::string_view text) {
    const auto digit = [](char c) -> int {
        if (c >= '0' && c <= '9') return c - '0';
        if (c >= 'a' && c <= 'f') return c - 'a' + 10;
        if (c >= 'A' && c <= 'F') return c - 'A' + 10;
        return -1;
    };
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '%' && i + 2 < text.size() && digit(text[i + 1]) >= 0 && digit(text[i + 2]) >= 0) {
            out += static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2]));
            i += 2;
        } else {
            out += text[i];
        }
    }
    return out;
}

struct Wanted {
    http::Identity identity;
    bool any = false;
    std::size_t values = 0;
};

Wanted read_headers(const http::Request& request) {
    Wanted out;
    for (const auto& [name, value] : request.headers) {
        if (!name.starts_with(kPrefix)) continue;
        if (name == "impersonate-user") {
            out.any = true;
            if (out.identity.user.empty()) out.identity.user = value;
        } else if (name == "impersonate-group") {
            out.any = true;
            ++out.values;
            out.identity.groups.push_back(value);
        } else if (name == "impersonate-uid") {
            out.any = true;
            if (out.identity.uid.empty()) out.identity.uid = value;
        } else if (name.starts_with(kExtraPrefix)) {
            out.any = true;
            ++out.values;
            const std::string key = unescape(std::string_view(name).substr(kExtraPrefix.size()));
            auto& extra = out.identity.extra;
            auto found = std::find_if(extra.begin(), extra.end(),
                                      [&](const auto& entry) { return entry.first == key; });
            if (found == extra.end()) found = extra.insert(extra.end(), {key, {}});
            found->second.push_back(value);
        }
    }
    return out;
}

// Namespace and name of a service account's user name; both empty for other users.
std::pair<std::string, std::string> service_account_of(std::string_view user) {
    if (!user.starts_with(kServiceAccountPrefix)) return {};
    user.remove_prefix(kServiceAccountPrefix.size());
    const std::size_t colon = user.find(':');
    if (colon == std::string_view::npos || colon == 0 || colon + 1 == user.size() ||
        user.find(':', colon + 1) != std::string_view::npos) {
        return {};
    }
    return {std::string(user.substr(0, colon)), std::string(user.substr(colon + 1))};
}

}  // namespace

void settle_groups(http::Identity* identity) {
    if (identity->user.empty()) return;
    const char* group = identity->user == authorization::kAnonymousUser ? authorization::kUnauthenticatedGroup
                                                                        : authorization::kAuthenticatedGroup;
    if (authorization::in_group(*identity, authorization::kAuthenticatedGroup) ||
        authorization::in_group(*identity, authorization::kUnauthenticatedGroup)) {
        return;
    }
    identity->groups.emplace_back(group);
}

std::optional<ImpersonationRefused> impersonate(http::Request* request, const Ask& ask) {
    Wanted wanted = read_headers(*request);
    if (!wanted.any) return std::nullopt;
    http::Identity& identity = wanted.identity;
    ImpersonationRefused refused;
    if (identity.user.empty() || wanted.values > kMaxImpersonatedValues) {
        refused.senseless = fmt::format(
            "Internal Server Error: \"{}\": {}\n", request->path,
            identity.user.empty()
                ? std::string("requested groups, uid or extra without impersonating a user")
                : fmt::format("more than {} impersonated groups and extra values", kMaxImpersonatedValues));
        return refused;
    }
    Attributes asked;
    asked.user = request->identity;
    asked.verb = "impersonate";
    asked.version = "v1";
    asked.is_resource = true;
    const auto may = [&](const char* resource, std::string name) {
        asked.resource = resource;
        asked.name = std::move(name);
        return ask(asked, &refused.reason);
    };
    const auto no = [&] {
        refused.asked = asked;
        return refused;
    };
    const auto [name_space, account] = service_account_of(identity.user);
    if (!account.empty()) {
        asked.namespace_name = name_space;
        if (!may("serviceaccounts", account)) return no();
        asked.namespace_name.clear();
        if (identity.groups.empty()) {
            identity.groups = {"system:serviceaccounts", "system:serviceaccounts:" + name_space};
        }
    } else if (!may("users", identity.user)) {
        return no();
    }
    for (const auto& [name, value] : request->headers) {
        if (name == "impersonate-group" && !may("groups", value)) return no();
    }
    asked.group = kAuthenticationGroup;
    for (const auto& [key, values] : identity.extra) {
        asked.subresource = key;
        for (const std::string& value : values) {
            if (!may("userextras", value)) return no();
        }
    }
    asked.subresource.clear();
    if (!identity.uid.empty() && !may("uids", identity.uid)) return no();
    settle_groups(&identity);
    request->identity = std::move(identity);
    std::erase_if(request->headers, [](const auto& header) { return header.first.starts_with(kPrefix); });
    return std::nullopt;
}

}  // namespace sluice::authentication
