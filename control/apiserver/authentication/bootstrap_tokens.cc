#include "control/apiserver/authentication/bootstrap_tokens.h"

#include <algorithm>

#include "api/base/log.h"
#include "api/client/bootstrap.h"
#include "api/codec/time.h"
#include "api/kubernetes/core/v1/secret.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::authentication {
namespace {

constexpr std::string_view kComponent = "authentication";
constexpr std::string_view kExtraPrefix = "system:bootstrappers:";

std::string value_of(const ::k8s::io::api::core::v1::Secret& secret, const char* key) {
    const auto found = secret.data().find(key);
    return found == secret.data().end() ? std::string() : found->second;
}

}  // namespace

std::optional<http::Identity> authenticate_bootstrap_token(std::string_view token,
                                                           const SecretReader& secret,
                                                           std::int64_t now_s) {
    const auto parsed = client::parse_bootstrap_token(token);
    if (!parsed) return std::nullopt;
    const auto found = secret("bootstrap-token-" + parsed->id);
    if (found == nullptr || found->type() != kTokenType ||
        found->metadata().has_deletiontimestamp()) {
        return std::nullopt;
    }
    const auto refuse = [&](std::string_view why) {
        log::info(kComponent, "bootstrap token {} is refused: {}", parsed->id, why);
        return std::optional<http::Identity>();
    };
    if (!client::equal_in_constant_time(value_of(*found, "token-secret"), parsed->secret)) {
        return refuse("wrong secret");
    }
    if (value_of(*found, "token-id") != parsed->id) return refuse("its Secret names another id");
    const std::string expiration = value_of(*found, "expiration");
    if (!expiration.empty()) {
        const auto end = codec::parse_time(expiration);
        if (!end) return refuse("its expiration is no time");
        if (end->seconds <= now_s) return refuse("it has expired");
    }
    if (value_of(*found, "usage-bootstrap-authentication") != "true") {
        return refuse("it may not be used for authentication");
    }
    http::Identity identity;
    identity.user = "system:bootstrap:" + parsed->id;
    identity.groups.emplace_back(kBootstrappersGroup);
    std::string extra = value_of(*found, "auth-extra-groups");
    for (std::size_t begin = 0; begin < extra.size();) {
        const std::size_t end = std::min(extra.find(',', begin), extra.size());
        const std::string group = extra.substr(begin, end - begin);
        begin = end + 1;
        // Any other group would make a bootstrap token a key to the cluster.
        if (!group.starts_with(kExtraPrefix) || group.size() == kExtraPrefix.size()) {
            return refuse("a group of auth-extra-groups does not begin with system:bootstrappers:");
        }
        identity.groups.push_back(group);
    }
    return identity;
}

}  // namespace sluice::authentication
