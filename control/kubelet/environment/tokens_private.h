// The tokens of the service accounts that this node's pods run as: asked for at the API server, kept while they are
// good, and known to be due for renewal.
//
// A token is renewed when four fifths of its life are over, and after a day at the latest, some seconds earlier at
// random, as kubelet does it. While that fails, the old one serves until it ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "api/base/result.h"

namespace k8s::io::api::core::v1 {
class Pod;
}

namespace sluice::kubelet {

namespace corev1 = ::k8s::io::api::core::v1;

inline constexpr std::int64_t kMaxTokenAgeSeconds = 24 * 3'600;
inline constexpr std::int64_t kTokenJitterSeconds = 10;
// Between two attempts at renewing one token.
inline constexpr std::int64_t kTokenRetrySeconds = 10;
// Tokens held at a time, over all pods; a pod beyond that does not start (kResourceExhausted).
inline constexpr std::size_t kMaxTokens = 16'384;

// What is asked for, always bound to the pod.
struct TokenWish {
    std::string namespace_name;
    std::string account;
    std::string pod_name;
    std::string pod_uid;
    std::string audience;  // empty: the API server's
    std::int64_t expiration_seconds = 0;
};
struct GrantedToken {
    std::string token;
    std::int64_t expires_s = 0;  // unix time
};

// Thread-safe; one pod's tokens are asked for by one thread at a time.
class Tokens {
public:
    using Request = std::function<Result<GrantedToken>(const TokenWish& wish)>;
    using Clock = std::function<std::int64_t()>;  // unix seconds
    // jitter_s: up to kTokenJitterSeconds, asked for each new token.
    Tokens(Request request, Clock now_s, std::function<std::int64_t()> jitter_s)
        : request_(std::move(request)), now_s_(std::move(now_s)), jitter_s_(std::move(jitter_s)) {}

    Result<std::string> get(const corev1::Pod& pod, const std::string& audience, std::int64_t expiration_seconds);
    void forget_pod(const std::string& uid);
    // The pods with tokens to be renewed now; each is named again after kTokenRetrySeconds, unless it got new ones.
    std::vector<std::string> due_pods();
    // Until due_pods() may have something; nullopt: not before a token comes.
    [[nodiscard]] std::optional<std::int64_t> seconds_until_due() const;
    [[nodiscard]] std::size_t size() const;
    [[nodiscard]] std::uint64_t failures() const;

private:
    using Key = std::tuple<std::string, std::string, std::int64_t, std::string>;  // uid, audience, seconds, account
    struct Held {
        GrantedToken granted;
        std::int64_t renew_s = 0;
        std::int64_t told_s = 0;  // when due_pods() may name it
    };

    const Request request_;
    const Clock now_s_;
    const std::function<std::int64_t()> jitter_s_;
    mutable std::mutex mutex_;
    std::map<Key, Held> held_;
    std::uint64_t failures_ = 0;
};

}  // namespace sluice::kubelet
