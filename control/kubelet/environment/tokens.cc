#include "control/kubelet/environment/tokens_private.h"

#include <algorithm>

#include "api/base/log.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::kubelet {

Result<std::string> Tokens::get(const corev1::Pod& pod, const std::string& audience,
                                std::int64_t expiration_seconds) {
    const auto& meta = pod.metadata();
    const std::string& account = pod.spec().serviceaccountname();
    const Key key{meta.uid(), audience, expiration_seconds, account};
    const std::int64_t now_s = now_s_();
    std::optional<Held> old;
    {
        const std::lock_guard lock(mutex_);
        const auto found = held_.find(key);
        if (found != held_.end()) {
            if (now_s < found->second.renew_s) return found->second.granted.token;
            old = found->second;
        } else if (held_.size() >= kMaxTokens) {
            return make_error(Code::kResourceExhausted,
                              "failed to fetch token: pods of this node have {} tokens, more than are kept",
                              held_.size());
        }
    }
    auto granted =
        request_({meta.namespace_(), account, meta.name(), meta.uid(), audience, expiration_seconds});
    const std::lock_guard lock(mutex_);
    if (!granted) {
        ++failures_;
        if (old && now_s < old->granted.expires_s) {
            log::warn("kubelet", "pod {}/{}: the token of service account {} is not renewed: {}", meta.namespace_(),
                      meta.name(), account, granted.error().message);
            return old->granted.token;
        }
        return granted.error().with_context("failed to fetch token");
    }
    Held held;
    held.granted = std::move(*granted);
    const std::int64_t life = std::max<std::int64_t>(held.granted.expires_s - now_s, 0);
    held.renew_s = now_s + std::min(life - life / 5, kMaxTokenAgeSeconds) - jitter_s_();
    held.told_s = held.renew_s;
    std::string token = held.granted.token;
    held_.insert_or_assign(key, std::move(held));
    return token;
}

void Tokens::forget_pod(const std::string& uid) {
    const std::lock_guard lock(mutex_);
    const auto begin = held_.lower_bound(Key{uid, "", 0, ""});
    auto end = begin;
    while (end != held_.end() && std::get<0>(end->first) == uid) ++end;
    held_.erase(begin, end);
}

std::vector<std::string> Tokens::due_pods() {
    const std::int64_t now_s = now_s_();
    const std::lock_guard lock(mutex_);
    std::vector<std::string> out;
    for (auto& [key, held] : held_) {
        if (now_s < held.told_s) continue;
        held.told_s = now_s + kTokenRetrySeconds;
        if (out.empty() || out.back() != std::get<0>(key)) out.push_back(std::get<0>(key));
    }
    return out;
}

std::optional<std::int64_t> Tokens::seconds_until_due() const {
    const std::int64_t now_s = now_s_();
    const std::lock_guard lock(mutex_);
    std::optional<std::int64_t> out;
    for (const auto& [key, held] : held_) {
        const std::int64_t left = std::max<std::int64_t>(held.told_s - now_s, 0);
        if (!out || left < *out) out = left;
    }
    return out;
}

std::size_t Tokens::size() const {
    const std::lock_guard lock(mutex_);
    return held_.size();
}

std::uint64_t Tokens::failures() const {
    const std::lock_guard lock(mutex_);
    return failures_;
}

}  // namespace sluice::kubelet
