// Bootstrap tokens: Secrets bootstrap-token-ID of type bootstrap.kubernetes.io/token in
// kube-system, with which a machine that is no part of the cluster yet asks for its certificate.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "api/base/result.h"
#include "control/http/server.h"

namespace k8s::io::api::core::v1 {
class Secret;
}

namespace sluice::authentication {

inline constexpr char kTokenType[] = "bootstrap.kubernetes.io/token";
inline constexpr char kTokenNamespace[] = "kube-system";
inline constexpr char kBootstrappersGroup[] = "system:bootstrappers";

using SecretPtr = std::shared_ptr<const ::k8s::io::api::core::v1::Secret>;
// The Secret of that name in kube-system; null when there is none or it cannot be read. Thread-safe
// and quick.
using SecretReader = std::function<SecretPtr(const std::string& name)>;

// "system:bootstrap:ID" in system:bootstrappers and the Secret's auth-extra-groups (which all begin
// with "system:bootstrappers:"). nullopt: no such token, a wrong one, one that has expired or may
// not authenticate. now_s: Unix time. Thread-safe.
[[nodiscard]] std::optional<http::Identity> authenticate_bootstrap_token(
    std::string_view token, const SecretReader& secret, std::int64_t now_s);

}  // namespace sluice::authentication
