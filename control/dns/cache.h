// Answers of other servers, kept for as long as their TTLs say, within fixed bounds. Any thread;
// one short mutex.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "control/dns/message.h"

namespace sluice::dns {

inline constexpr std::size_t kMaxCacheEntries = 10'000;
inline constexpr std::size_t kMaxCacheBytes = 16U << 20U;
// Whatever the TTLs say. A wrong "no such name" hurts sooner than a wrong address.
inline constexpr std::uint32_t kMaxCacheSeconds = 1'800;
inline constexpr std::uint32_t kMaxNegativeCacheSeconds = 30;

// What an upstream server said, reduced to what a client may be told.
struct UpstreamAnswer {
    std::uint16_t rcode = 0;
    bool authentic = false;
    std::vector<Record> answers, authority;
    std::uint64_t received_s = 0;  // steady clock

    // How long it may be kept; 0: not at all.
    [[nodiscard]] std::uint32_t lifetime_s() const;
    [[nodiscard]] std::size_t bytes() const;
};

// What makes two questions to an upstream server the same.
[[nodiscard]] std::string upstream_key(const Question& question, bool dnssec_ok,
                                       bool checking_disabled);

class Cache {
public:
    explicit Cache(std::size_t max_entries = kMaxCacheEntries,
                   std::size_t max_bytes = kMaxCacheBytes)
        : max_entries_(max_entries), max_bytes_(max_bytes) {}
    // Null if there is none that is still good.
    std::shared_ptr<const UpstreamAnswer> find(const std::string& key, std::uint64_t now_s);
    // The least recently used go when there is no room.
    void put(const std::string& key, std::shared_ptr<const UpstreamAnswer> answer);
    [[nodiscard]] std::size_t size() const;

private:
    struct Entry {
        std::string key;
        std::shared_ptr<const UpstreamAnswer> answer;
        std::uint64_t expires_s = 0;
        std::size_t bytes = 0;
    };
    void drop(std::list<Entry>::iterator entry);

    const std::size_t max_entries_, max_bytes_;
    mutable std::mutex mutex_;
    std::list<Entry> entries_;  // most recently used first
    std::unordered_map<std::string, std::list<Entry>::iterator> by_key_;
    std::size_t bytes_ = 0;
};

}  // namespace sluice::dns
