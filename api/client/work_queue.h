// The queue between informers and the workers of a controller: keys, each at most once, never worked on by two
// workers at a time, and put back later and later when work on them fails.
//
// Thread-safe. A key that is added while it is being worked on is worked on again afterwards.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <unordered_map>
#include <unordered_set>

namespace sluice::client {

// A failed key waits 5 ms, doubled with each failure in a row, up to 1,000 s: client-go's defaults.
inline constexpr std::chrono::milliseconds kMinRetry{5};
inline constexpr std::chrono::milliseconds kMaxRetry{1'000'000};

class WorkQueue {
public:
    using Clock = std::chrono::steady_clock;

    explicit WorkQueue(std::chrono::milliseconds min_retry = kMinRetry,
                       std::chrono::milliseconds max_retry = kMaxRetry)
        : min_retry_(min_retry), max_retry_(max_retry) {}

    void add(const std::string& key);
    // Not before the delay is over; of several delays of one key the shortest counts.
    void add_after(const std::string& key, std::chrono::milliseconds delay);
    // After a delay that grows with the failures in a row.
    void add_rate_limited(const std::string& key);
    // Work on the key succeeded: its failures are forgotten.
    void forget(const std::string& key);
    [[nodiscard]] int failures(const std::string& key) const;

    // Waits for a key; nullopt when stopped. done() must follow.
    std::optional<std::string> get(const std::stop_token& stop);
    void done(const std::string& key);

    // Keys that wait to be worked on now; those that are delayed do not count.
    [[nodiscard]] std::size_t size() const;

private:
    void add_locked(const std::string& key);
    // Moves what is due; the time of the next one that is not.
    std::optional<Clock::time_point> move_due_locked(Clock::time_point now);
    // Something is due earlier than what a waiter waits for.
    [[nodiscard]] bool changed_since(const std::optional<Clock::time_point>& next) const;

    const std::chrono::milliseconds min_retry_;
    const std::chrono::milliseconds max_retry_;
    mutable std::mutex mutex_;
    std::condition_variable_any changed_;
    std::deque<std::string> ready_;
    std::unordered_set<std::string> dirty_;       // to be worked on; in ready_ unless in processing_
    std::unordered_set<std::string> processing_;
    std::multimap<Clock::time_point, std::string> delayed_;
    std::unordered_map<std::string, Clock::time_point> due_;  // of each key in delayed_
    std::unordered_map<std::string, int> failures_;
};

}  // namespace sluice::client
