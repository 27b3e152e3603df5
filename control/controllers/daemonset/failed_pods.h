// How long a DaemonSet waits before it deletes a pod that failed, so that one that fails at once is
// not made and deleted in a loop: 1 s, doubled with each failure on the node up to 15 min,
// forgotten after twice that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>

namespace sluice::controllers {

inline constexpr std::int64_t kFirstFailureWaitNs = 1'000'000'000;
inline constexpr std::int64_t kLongestFailureWaitNs = 900'000'000'000;
// Nodes times DaemonSets that are remembered; beyond it what is forgotten soonest goes.
inline constexpr std::size_t kMaxFailures = 65'536;

// Thread-safe.
class FailedPods {
public:
    // Nanoseconds to wait still; 0 when the pod may go now, which counts as one more failure.
    std::int64_t take(const std::string& key, std::int64_t now_ns);
    [[nodiscard]] std::size_t size() const;

private:
    struct Failure {
        std::int64_t wait_ns = 0;
        std::int64_t last_ns = 0;
    };
    void make_room(std::int64_t now_ns);

    mutable std::mutex mutex_;
    std::unordered_map<std::string, Failure> failures_;
};

}  // namespace sluice::controllers
