// Tokens of service accounts: given out, and believed.
//
//   TokenRequest --issue--> claims --KeyRing--> token        (../../kubelet mounts it, kubectl create token shows it)
//   token --authenticate--> signature, issuer, audience, times, then the objects it names, as they are now
//
// Nothing about tokens is stored: a token ends when the Pod, Secret or Node that it is bound to goes, or its account.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "api/base/result.h"
#include "api/codec/scheme.h"
#include "control/apiserver/service_accounts/claims.h"
#include "control/http/server.h"

namespace google::protobuf {
class Message;
}

namespace sluice::service_accounts {

inline constexpr std::int64_t kMinTokenSeconds = 600;
inline constexpr std::int64_t kMaxTokenSeconds = std::int64_t{1} << 32;
inline constexpr std::int64_t kDefaultTokenSeconds = 3'600;
// What a Pod's automatic volume asks for. Clients that never read their file again are borne for a year, and noted.
inline constexpr std::int64_t kAutomaticTokenSeconds = 3'607;
inline constexpr std::int64_t kExtendedTokenSeconds = 365LL * 24 * 3'600;
// Clocks differ, and a Pod that is deleted has its last words.
inline constexpr std::int64_t kLeewaySeconds = 60;

inline constexpr char kDefaultIssuer[] = "https://kubernetes.default.svc.cluster.local";
inline constexpr char kSecretType[] = "kubernetes.io/service-account-token";
inline constexpr char kAccountNameAnnotation[] = "kubernetes.io/service-account.name";
inline constexpr char kAccountUidAnnotation[] = "kubernetes.io/service-account.uid";

// One object as it now is; kNotFound when there is none. Thread-safe and quick.
using Reader = std::function<Result<std::shared_ptr<const google::protobuf::Message>>(
    const codec::KindInfo& kind, const std::string& name_space, const std::string& name)>;

struct Options {
    std::vector<std::string> issuers = {kDefaultIssuer};  // the first one issues, all are believed
    std::vector<std::string> audiences;                   // of this API server; empty: the issuers
    std::string jwks_uri;
    std::int64_t max_token_s = 0;  // 0: as upstream's bound
    bool extend_expiration = true;
};

// What somebody who shows a token is.
struct Known {
    http::Identity identity;
    std::vector<std::string> audiences;  // those of the asked ones that the token is for
};

class Authority {
public:
    Authority(Options options, KeyRing keys);
    [[nodiscard]] const Options& options() const { return options_; }
    // Where objects are read from now on; before, no token is believed. The reader outlives all calls.
    void set_reader(const Reader* reader) { reader_.store(reader, std::memory_order_release); }
    [[nodiscard]] const Reader* reader() const { return reader_.load(std::memory_order_acquire); }

    // The token for these claims; the issuer, the subject, the times and the id are filled in. Thread-safe.
    Result<std::string> issue(Claims claims, std::int64_t now_s, std::int64_t lifetime_s) const;
    // The token of a Secret of kSecretType, which does not end.
    Result<std::string> issue_legacy(const std::string& name_space, const std::string& secret,
                                     const Reference& account) const;

    // True for tokens that claim one of the issuers, so that nobody else needs to be asked about them.
    [[nodiscard]] bool is_ours(std::string_view token) const;
    // kUnauthenticated says why not. audiences: empty for those of this API server. Thread-safe.
    Result<Known> authenticate(std::string_view token, const std::vector<std::string>& audiences,
                               std::int64_t now_s) const;

    // Documents for who believes these tokens elsewhere: OpenID Connect discovery.
    [[nodiscard]] std::string configuration_document() const;
    [[nodiscard]] std::string key_document() const { return keys_.jwks(); }
    // nullopt: not a path of these.
    [[nodiscard]] std::optional<http::Response> answer(std::string_view path, const http::Request& request) const;

private:
    Result<void> check_legacy(std::string_view token, const Claims& claims, const Reader& read) const;
    Result<void> check_bound(const Claims& claims, const Reader& read, std::int64_t now_s) const;

    Options options_;
    KeyRing keys_;
    std::atomic<const Reader*> reader_{nullptr};
};

}  // namespace sluice::service_accounts
