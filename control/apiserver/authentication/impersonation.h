// Acting as somebody else: the headers Impersonate-User, -Group, -Uid and -Extra-KEY, each permitted by a rule with the
// verb impersonate (users, groups, serviceaccounts, uids, userextras).
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "control/apiserver/authorization/attributes.h"
#include "control/http/server.h"

namespace sluice::authentication {

// Values of extra keys and groups in one request beyond this are refused: each costs an authorization.
inline constexpr std::size_t kMaxImpersonatedValues = 256;

struct ImpersonationRefused {
    // A request that makes no sense: 500 in plain text, as kube-apiserver answers it. Empty: 403 about `asked`.
    std::string senseless;
    authorization::Attributes asked;
    std::string reason;
};

// Whether it is permitted, and if not why.
using Ask = std::function<bool(const authorization::Attributes& asked, std::string* reason)>;

// Puts the impersonated identity in place of the client's when the request asks for one and every part of it is
// permitted; the headers go. Without such headers nothing happens. nullopt: go on.
// REQUIRES: the request's own identity is settled.
[[nodiscard]] std::optional<ImpersonationRefused> impersonate(http::Request* request, const Ask& ask);

// "system:authenticated" for whoever has a name and does not have it yet.
void settle_groups(http::Identity* identity);

}  // namespace sluice::authentication
