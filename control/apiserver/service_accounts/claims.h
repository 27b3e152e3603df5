// What a service account token says, and how it is written: a JSON Web Token (RFC 7519) in compact form, signed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "api/base/result.h"
#include "control/apiserver/service_accounts/keys.h"

namespace sluice::service_accounts {

inline constexpr std::size_t kMaxTokenBytes = 16U << 10U;
inline constexpr std::size_t kMaxAudiences = 256;
// Issuer of the tokens in Secrets of type kubernetes.io/service-account-token, which never end.
inline constexpr char kLegacyIssuer[] = "kubernetes/serviceaccount";

struct Reference {
    std::string name;
    std::string uid;
    [[nodiscard]] bool empty() const { return name.empty(); }
};

struct Claims {
    std::string issuer;
    std::string subject;
    std::string id;  // jti
    std::vector<std::string> audiences;
    std::int64_t issued_s = 0;
    std::int64_t not_before_s = 0;
    std::int64_t expires_s = 0;  // 0: never
    // From then on its use is noted: the client should have asked for another one. 0: never.
    std::int64_t warn_after_s = 0;
    std::string name_space;
    Reference account;
    Reference pod;
    Reference node;
    Reference secret;
    bool legacy = false;
};

Result<std::string> write_token(const Claims& claims, const KeyRing& keys);

// The issuer a token claims, unchecked; empty for what is no token of this form. Cheap.
[[nodiscard]] std::string claimed_issuer(std::string_view token);

// kUnauthenticated: malformed, or signed by nobody who is believed. Says nothing about times, audiences and objects.
Result<Claims> read_token(std::string_view token, const KeyRing& keys);

}  // namespace sluice::service_accounts
