// See cache.h.
#include "control/dns/cache.h"

#include <algorithm>

namespace sluice::dns {
namespace {
// Of an entry beside its bytes: list and map nodes, pointers.
constexpr std::size_t kEntryOverhead = 256;
}  // namespace

std::uint32_t UpstreamAnswer::lifetime_s() const {
    const bool negative = rcode == rcode::kNxDomain || answers.empty();
    if (rcode != rcode::kNoError && rcode != rcode::kNxDomain) return 0;
    std::uint32_t lifetime = negative ? kMaxNegativeCacheSeconds : kMaxCacheSeconds;
    bool has_soa = false;
    for (const auto* section : {&answers, &authority}) {
        for (const auto& record : *section) {
            lifetime = std::min(lifetime, record.ttl);
            if (const auto minimum = soa_minimum(record); minimum && section == &authority) {
                has_soa = true;
                lifetime = std::min(lifetime, *minimum);
            }
        }
    }
    // RFC 2308, 5: a negative answer without an SOA record is not to be kept.
    return negative && !has_soa ? 0 : lifetime;
}

std::size_t UpstreamAnswer::bytes() const {
    std::size_t total = sizeof(*this);
    for (const auto* section : {&answers, &authority}) {
        for (const auto& record : *section) {
            total += sizeof(record) + record.name.wire().capacity() + record.rdata.capacity();
        }
    }
    return total;
}

std::string upstream_key(const Question& question, bool dnssec_ok, bool checking_disabled) {
    std::string key = to_lower(question.name.wire());
    key.push_back(static_cast<char>(question.type >> 8U));
    key.push_back(static_cast<char>(question.type & 0xffU));
    key.push_back(static_cast<char>((dnssec_ok ? 1 : 0) | (checking_disabled ? 2 : 0)));
    return key;
}

std::shared_ptr<const UpstreamAnswer> Cache::find(const std::string& key, std::uint64_t now_s) {
    const std::lock_guard lock(mutex_);
    const auto at = by_key_.find(key);
    if (at == by_key_.end()) return nullptr;
    if (at->second->expires_s <= now_s) {
        drop(at->second);
        return nullptr;
    }
    entries_.splice(entries_.begin(), entries_, at->second);
    return at->second->answer;
}

void Cache::put(const std::string& key, std::shared_ptr<const UpstreamAnswer> answer) {
    const std::uint32_t lifetime = answer->lifetime_s();
    const std::size_t bytes = answer->bytes() + 2 * key.size() + kEntryOverhead;
    // One answer does not push out a good part of the others.
    if (lifetime == 0 || bytes > max_bytes_ / 16) return;
    const std::lock_guard lock(mutex_);
    if (const auto at = by_key_.find(key); at != by_key_.end()) drop(at->second);
    while (!entries_.empty() && (entries_.size() >= max_entries_ || bytes_ + bytes > max_bytes_)) {
        drop(std::prev(entries_.end()));
    }
    const std::uint64_t expires = answer->received_s + lifetime;
    entries_.push_front({key, std::move(answer), expires, bytes});
    by_key_[key] = entries_.begin();
    bytes_ += bytes;
}

std::size_t Cache::size() const {
    const std::lock_guard lock(mutex_);
    return entries_.size();
}

void Cache::drop(std::list<Entry>::iterator entry) {
    bytes_ -= entry->bytes;
    by_key_.erase(entry->key);
    entries_.erase(entry);
}

}  // namespace sluice::dns
