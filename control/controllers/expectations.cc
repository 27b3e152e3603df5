#include "control/controllers/expectations.h"

#include <algorithm>

namespace sluice::controllers {

void Expectations::expect(const std::string& key, int creations,
                          const std::vector<std::string>& deletions) {
    const std::scoped_lock lock(mutex_);
    open_[key] = Open{creations, {deletions.begin(), deletions.end()}, now_()};
}

void Expectations::expect_more(const std::string& key, int creations,
                               const std::vector<std::string>& deletions) {
    const std::scoped_lock lock(mutex_);
    Open& open = open_[key];
    open.creations += creations;
    open.deletions.insert(deletions.begin(), deletions.end());
    open.since = now_();
}

void Expectations::creation_observed(const std::string& key, int count) {
    const std::scoped_lock lock(mutex_);
    const auto found = open_.find(key);
    if (found == open_.end()) return;
    found->second.creations = std::max(0, found->second.creations - count);
}

void Expectations::deletion_observed(const std::string& key, const std::string& pod_key) {
    const std::scoped_lock lock(mutex_);
    const auto found = open_.find(key);
    if (found != open_.end()) found->second.deletions.erase(pod_key);
}

bool Expectations::satisfied(const std::string& key) {
    const std::scoped_lock lock(mutex_);
    const auto found = open_.find(key);
    if (found == open_.end()) return true;
    const Open& open = found->second;
    const bool fulfilled = open.creations <= 0 && open.deletions.empty();
    if (!fulfilled && now_() - open.since < kExpectationTimeout) return false;
    open_.erase(found);
    return true;
}

void Expectations::forget(const std::string& key) {
    const std::scoped_lock lock(mutex_);
    open_.erase(key);
}

}  // namespace sluice::controllers
