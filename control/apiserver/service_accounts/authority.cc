#include "control/apiserver/service_accounts/authority.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/base/log.h"
#include "api/client/bootstrap.h"
#include "api/kubernetes/core/v1/secret.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/rest/lifecycle.h"
#include "control/apiserver/registry/validation/field_errors.h"
#include "control/http/status_body.h"

namespace sluice::service_accounts {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;
using google::protobuf::Message;

constexpr std::string_view kComponent = "service-accounts";

Error refused(std::string why) { return make_error(Code::kUnauthenticated, "{}", why); }

// As Go's %q writes a list of strings.
std::string shown(const std::vector<std::string>& values) {
    std::string out = "[";
    for (const auto& value : values) {
        if (out.size() > 1) out += ' ';
        out += registry::go_quote(value);
    }
    return out + "]";
}

bool is_going(const Message& object, std::int64_t now_s) {
    const auto& meta = codec::object_meta(object);
    return meta.has_deletiontimestamp() && meta.deletiontimestamp().seconds() < now_s - kLeewaySeconds;
}

struct Bound {
    const char* resource;
    const char* shown;
    const Reference& reference;
    bool cluster;
};

Result<void> check_one(const Bound& bound, const Claims& claims, const Reader& read, std::int64_t now_s) {
    if (bound.reference.empty()) return {};
    const auto found = read(*codec::find_resource("", "v1", bound.resource),
                            bound.cluster ? std::string() : claims.name_space, bound.reference.name);
    const char* invalidated = "service account token has been invalidated";
    if (!found && found.error().code != Code::kNotFound) return found.error();
    if (!found || is_going(**found, now_s)) return refused(invalidated);
    if (codec::object_meta(**found).uid() != bound.reference.uid) {
        return refused(fmt::format("{} UID ({}) does not match service account {} ref claim ({})", bound.shown,
                                   codec::object_meta(**found).uid(), bound.resource, bound.reference.uid));
    }
    return {};
}

http::Identity identity_of(const Claims& claims) {
    http::Identity out;
    out.user = fmt::format("system:serviceaccount:{}:{}", claims.name_space, claims.account.name);
    out.uid = claims.account.uid;
    out.groups = {"system:serviceaccounts", "system:serviceaccounts:" + claims.name_space};
    const auto add = [&out](const char* key, const std::string& value) {
        if (!value.empty()) out.extra.push_back({std::string("authentication.kubernetes.io/") + key, {value}});
    };
    if (!claims.id.empty()) add("credential-id", "JTI=" + claims.id);
    add("node-name", claims.node.name);
    add("node-uid", claims.node.uid);
    add("pod-name", claims.pod.name);
    add("pod-uid", claims.pod.uid);
    return out;
}

}  // namespace

Authority::Authority(Options options, KeyRing keys) : options_(std::move(options)), keys_(std::move(keys)) {
    if (options_.audiences.empty()) options_.audiences = options_.issuers;
}

Result<std::string> Authority::issue(Claims claims, std::int64_t now_s, std::int64_t lifetime_s) const {
    claims.issuer = options_.issuers.front();
    claims.subject = fmt::format("system:serviceaccount:{}:{}", claims.name_space, claims.account.name);
    claims.id = registry::new_uid();
    claims.issued_s = claims.not_before_s = now_s;
    const bool own = std::all_of(claims.audiences.begin(), claims.audiences.end(), [this](const auto& audience) {
        return std::find(options_.audiences.begin(), options_.audiences.end(), audience) != options_.audiences.end();
    });
    if (options_.extend_expiration && !claims.pod.empty() && own && lifetime_s == kAutomaticTokenSeconds) {
        claims.warn_after_s = now_s + lifetime_s;
        lifetime_s = kExtendedTokenSeconds;
    }
    claims.expires_s = now_s + lifetime_s;
    return write_token(claims, keys_);
}

Result<std::string> Authority::issue_legacy(const std::string& name_space, const std::string& secret,
                                            const Reference& account) const {
    Claims claims;
    claims.legacy = true;
    claims.issuer = kLegacyIssuer;
    claims.subject = fmt::format("system:serviceaccount:{}:{}", name_space, account.name);
    claims.name_space = name_space;
    claims.secret.name = secret;
    claims.account = account;
    return write_token(claims, keys_);
}

bool Authority::is_ours(std::string_view token) const {
    const std::string issuer = claimed_issuer(token);
    return issuer == kLegacyIssuer ||
           std::find(options_.issuers.begin(), options_.issuers.end(), issuer) != options_.issuers.end();
}

Result<void> Authority::check_legacy(std::string_view token, const Claims& claims, const Reader& read) const {
    const auto found = read(*codec::find_resource("", "v1", "secrets"), claims.name_space, claims.secret.name);
    if (!found && found.error().code != Code::kNotFound) return found.error();
    if (!found || codec::object_meta(**found).has_deletiontimestamp()) return refused("Token has been invalidated");
    const auto& data = static_cast<const corev1::Secret&>(**found).data();
    const auto kept = data.find("token");
    if (kept == data.end() || !client::equal_in_constant_time(kept->second, token)) {
        return refused("Token does not match server's copy");
    }
    return {};
}

Result<void> Authority::check_bound(const Claims& claims, const Reader& read, std::int64_t now_s) const {
    SLUICE_TRY(check_one({"secrets", "secret", claims.secret, false}, claims, read, now_s));
    SLUICE_TRY(check_one({"pods", "pod", claims.pod, false}, claims, read, now_s));
    // Beside a Pod the Node is what is known of it, and not what the token is bound to.
    if (!claims.pod.empty()) return {};
    return check_one({"nodes", "node", claims.node, true}, claims, read, now_s);
}

Result<Known> Authority::authenticate(std::string_view token, const std::vector<std::string>& audiences,
                                      std::int64_t now_s) const {
    const Reader* read = reader();
    if (read == nullptr) return make_error(Code::kUnavailable, "the server is starting");
    if (!is_ours(token)) return refused("the issuer is none of this cluster");
    SLUICE_TRY_ASSIGN(const Claims claims, read_token(token, keys_));
    Known out;
    const std::vector<std::string>& wanted = audiences.empty() ? options_.audiences : audiences;
    // Tokens in Secrets say nothing of audiences, and are for this API server.
    const std::vector<std::string>& has = claims.legacy ? options_.audiences : claims.audiences;
    for (const std::string& one : wanted) {
        if (std::find(has.begin(), has.end(), one) != has.end()) out.audiences.push_back(one);
    }
    if (out.audiences.empty()) {
        return refused(fmt::format("token audiences {} is invalid for the target audiences {}", shown(has),
                                   shown(wanted)));
    }
    if (claims.expires_s != 0 && now_s > claims.expires_s + kLeewaySeconds) {
        return refused("service account token has expired");
    }
    if (now_s + kLeewaySeconds < claims.not_before_s) return refused("service account token is not valid yet");
    if (claims.name_space.empty() || claims.account.empty() ||
        claims.subject != fmt::format("system:serviceaccount:{}:{}", claims.name_space, claims.account.name)) {
        return refused("sub claim is invalid");
    }
    if (claims.legacy) SLUICE_TRY(check_legacy(token, claims, *read));
    const auto account = (*read)(*codec::find_resource("", "v1", "serviceaccounts"), claims.name_space,
                                 claims.account.name);
    if (!account) {
        if (account.error().code != Code::kNotFound) return account.error();
        return refused(account.error().message);
    }
    if (is_going(**account, now_s)) return refused("service account token has been invalidated");
    if (codec::object_meta(**account).uid() != claims.account.uid) {
        return refused(fmt::format("service account UID ({}) does not match claim ({})",
                                   codec::object_meta(**account).uid(), claims.account.uid));
    }
    if (!claims.legacy) SLUICE_TRY(check_bound(claims, *read, now_s));
    if (claims.warn_after_s != 0 && now_s > claims.warn_after_s) {
        log::debug(kComponent, "{} uses a token that should have been renewed {} s ago", claims.subject,
                   now_s - claims.warn_after_s);
    }
    out.identity = identity_of(claims);
    return out;
}

std::string Authority::configuration_document() const {
    std::string algorithms;
    for (const std::string& one : keys_.algorithms()) {
        if (!algorithms.empty()) algorithms += ',';
        algorithms += http::json_quote(one);
    }
    return fmt::format(R"({{"issuer":{},"jwks_uri":{},"response_types_supported":["id_token"],)"
                       R"("subject_types_supported":["public"],"id_token_signing_alg_values_supported":[{}]}})",
                       http::json_quote(options_.issuers.front()), http::json_quote(options_.jwks_uri), algorithms);
}

std::optional<http::Response> Authority::answer(std::string_view path, const http::Request& request) const {
    const bool configuration = path == "/.well-known/openid-configuration";
    if (!configuration && path != "/openid/v1/jwks") return std::nullopt;
    if (request.method != "GET" && request.method != "HEAD") return std::nullopt;
    http::Response response;
    response.headers.emplace_back("Content-Type", configuration ? "application/json" : "application/jwk-set+json");
    response.headers.emplace_back("Cache-Control", "public, max-age=3600");
    response.body = configuration ? configuration_document() : key_document();
    return response;
}

}  // namespace sluice::service_accounts
