// What a controller has asked the API server for and its cache does not show yet. A controller that
// counts its pods while this is open would count wrongly and make or delete a second set.
//
// As in client-go: creations are counted, deletions are remembered by pod; both are lowered by what
// the informer tells, and an expectation that nothing fulfils is given up after five minutes.
// Thread-safe.
#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace sluice::controllers {

inline constexpr std::chrono::minutes kExpectationTimeout{5};

class Expectations {
public:
    using Clock = std::chrono::steady_clock;
    explicit Expectations(std::function<Clock::time_point()> now = Clock::now)
        : now_(std::move(now)) {}

    // Opens an expectation, in place of an older one of the key. Deletions: keys of pods.
    void expect(const std::string& key, int creations, const std::vector<std::string>& deletions);
    // Adds to what is open.
    void expect_more(const std::string& key, int creations,
                     const std::vector<std::string>& deletions);
    void creation_observed(const std::string& key, int count = 1);
    void deletion_observed(const std::string& key, const std::string& pod_key);
    // Nothing is open, or it has waited too long.
    [[nodiscard]] bool satisfied(const std::string& key);
    void forget(const std::string& key);

private:
    struct Open {
        int creations = 0;
        std::unordered_set<std::string> deletions;
        Clock::time_point since;
    };
    const std::function<Clock::time_point()> now_;
    std::mutex mutex_;
    std::unordered_map<std::string, Open> open_;
};

}  // namespace sluice::controllers
