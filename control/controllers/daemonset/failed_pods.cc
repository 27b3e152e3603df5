#include "control/controllers/daemonset/failed_pods.h"

#include <algorithm>

namespace sluice::controllers {
namespace {

bool forgotten(std::int64_t last_ns, std::int64_t now_ns) {
    return now_ns - last_ns > 2 * kLongestFailureWaitNs;
}

}  // namespace

std::int64_t FailedPods::take(const std::string& key, std::int64_t now_ns) {
    const std::scoped_lock lock(mutex_);
    const auto found = failures_.find(key);
    if (found == failures_.end() || forgotten(found->second.last_ns, now_ns)) {
        make_room(now_ns);
        failures_[key] = {kFirstFailureWaitNs, now_ns};
        return 0;
    }
    auto& failure = found->second;
    const std::int64_t left = failure.last_ns + failure.wait_ns - now_ns;
    if (left > 0) return left;
    failure = {std::min(2 * failure.wait_ns, kLongestFailureWaitNs), now_ns};
    return 0;
}

std::size_t FailedPods::size() const {
    const std::scoped_lock lock(mutex_);
    return failures_.size();
}

void FailedPods::make_room(std::int64_t now_ns) {
    if (failures_.size() < kMaxFailures) return;
    std::erase_if(failures_,
                  [&](const auto& entry) { return forgotten(entry.second.last_ns, now_ns); });
    if (failures_.size() < kMaxFailures) return;
    failures_.erase(std::ranges::min_element(
        failures_, {}, [](const auto& entry) { return entry.second.last_ns; }));
}

}  // namespace sluice::controllers
