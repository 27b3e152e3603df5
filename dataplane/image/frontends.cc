#include "dataplane/image/frontends.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "api/base/result.h"
#include "bpf/lib/hash.h"

namespace sluice::image {
namespace {

bool owns_address(const sluice_frontend_key& key, std::uint32_t flags) {
    return key.scope == SLUICE_SCOPE_ADDRESS && (flags & SLUICE_FRONTEND_EXTERNAL) == 0;
}

sluice_frontend_key whole_address(const sluice_address& address) {
    return sluice_frontend_key{address, 0, 0, SLUICE_SCOPE_ADDRESS};
}

sluice_hash hash_in(const Tables& tables, const sluice_frontend_key& key) {
    return sluice_hash_key(tables.header->hash_seed, tables.header->bucket_count, &key);
}

std::uint64_t slot_value(const sluice_hash& hash, std::uint32_t record) {
    return static_cast<std::uint64_t>(record) << 32U | hash.tag;
}

// A bucket that can take the tag, the emptier of the two; none when both are full or hold the tag.
// `used` and `has_tag` tell of a bucket index, so that planned insertions can be counted in.
template <class Used, class HasTag>
std::optional<std::uint32_t> choose_bucket(const sluice_hash& hash, Used used, HasTag has_tag) {
    std::optional<std::uint32_t> best;
    std::uint32_t best_used = SLUICE_BUCKET_SLOTS;
    for (const std::uint32_t bucket : {hash.first, hash.second}) {
        const std::uint32_t count = used(bucket);
        if (count < best_used && !has_tag(bucket)) {
            best = bucket;
            best_used = count;
        }
    }
    return best;
}

std::uint32_t used_slots(const sluice_bucket& bucket) {
    return static_cast<std::uint32_t>(std::count_if(std::begin(bucket.slot), std::end(bucket.slot),
                                                    [](auto slot) { return slot != 0; }));
}

bool holds_tag(const sluice_bucket& bucket, std::uint32_t tag) {
    return std::any_of(std::begin(bucket.slot), std::end(bucket.slot),
                       [&](auto slot) { return static_cast<std::uint32_t>(slot) == tag; });
}

bool insert_slot(const Tables& tables, const sluice_frontend_key& key, std::uint32_t record) {
    if (key.scope == SLUICE_SCOPE_ADDRESS) {
        // Before the slot: whoever finds the bits missing need not look for the slot.
        const sluice_filter_bits bits = sluice_filter_of(tables.header->hash_seed, &key.address);
        __atomic_fetch_or(&tables.header->filter[bits.word], bits.mask, __ATOMIC_RELEASE);
    }
    const sluice_hash hash = hash_in(tables, key);
    const auto bucket = choose_bucket(
        hash, [&](std::uint32_t index) { return used_slots(tables.buckets[index]); },
        [&](std::uint32_t index) { return holds_tag(tables.buckets[index], hash.tag); });
    if (!bucket) {
        return false;
    }
    for (auto& slot : tables.buckets[*bucket].slot) {
        if (slot == 0) {
            __atomic_store_n(&slot, slot_value(hash, record), __ATOMIC_RELEASE);
            return true;
        }
    }
    return false;
}

// Replaces the slot that publishes `record` by one for `successor`, or empties it.
void change_slot(const Tables& tables, const sluice_frontend_key& key, std::uint32_t record,
                 std::optional<std::uint32_t> successor) {
    const sluice_hash hash = hash_in(tables, key);
    for (const std::uint32_t bucket : {hash.first, hash.second}) {
        for (auto& slot : tables.buckets[bucket].slot) {
            if (slot == slot_value(hash, record)) {
                __atomic_store_n(&slot, successor ? slot_value(hash, *successor) : 0,
                                 __ATOMIC_RELEASE);
                return;
            }
        }
    }
    SLUICE_ASSERT(false && "a published frontend has a slot");
}

}  // namespace

sluice_address image_address(const IpAddress& address) {
    sluice_address out;
    static_assert(sizeof(out) == sizeof(address.bytes));
    std::memcpy(&out, address.bytes.data(), sizeof(out));
    return out;
}

IpAddress address_of(const sluice_address& address) {
    IpAddress out;
    std::memcpy(out.bytes.data(), &address, sizeof(address));
    return out;
}

sluice_frontend_key frontend_key(const Frontend& frontend, Protocol protocol, IpFamily family) {
    sluice_frontend_key key{};
    key.port_be = htons(frontend.port);
    key.protocol = static_cast<std::uint8_t>(protocol);
    if (frontend.scope == Scope::kNodePort) {
        key.scope = SLUICE_SCOPE_NODEPORT;
        key.address =
            image_address(family == IpFamily::kIpv4 ? IpAddress::from_v4_be(0) : IpAddress{});
    } else {
        key.scope = SLUICE_SCOPE_ADDRESS;
        key.address = image_address(frontend.address);
    }
    return key;
}

std::size_t FrontendIndex::KeyHash::operator()(const sluice_frontend_key& key) const noexcept {
    // The unkeyed hash serves here: an unordered_map has no bucket that can be full.
    const sluice_hash hash = sluice_hash_key(0, 1U << 31U, &key);
    return static_cast<std::size_t>(hash.tag) << 31U ^ hash.first;
}

std::optional<Table> FrontendIndex::lacking(const Tables& tables, std::span<const Claim> claims,
                                            std::span<const IpAddress> node_addresses) const {
    std::size_t records = claims.size();
    std::set<std::array<std::uint32_t, 4>> new_addresses;
    std::map<std::uint32_t, std::vector<std::uint32_t>> planned;  // bucket -> tags
    bool crowded = false;

    const auto plan_slot = [&](const sluice_frontend_key& key) {
        const sluice_hash hash = hash_in(tables, key);
        const auto planned_in = [&](std::uint32_t index) -> const std::vector<std::uint32_t>* {
            const auto found = planned.find(index);
            return found == planned.end() ? nullptr : &found->second;
        };
        const auto bucket = choose_bucket(
            hash,
            [&](std::uint32_t index) {
                const auto* more = planned_in(index);
                return used_slots(tables.buckets[index]) +
                       (more ? static_cast<std::uint32_t>(more->size()) : 0);
            },
            [&](std::uint32_t index) {
                const auto* more = planned_in(index);
                return holds_tag(tables.buckets[index], hash.tag) ||
                       (more && std::find(more->begin(), more->end(), hash.tag) != more->end());
            });
        if (bucket) {
            planned[*bucket].push_back(hash.tag);
        } else {
            crowded = true;
        }
    };
    const auto plan_address = [&](const sluice_frontend_key& key) {
        std::array<std::uint32_t, 4> words;
        std::memcpy(words.data(), &key.address, sizeof(words));
        if (!addresses_.contains(key) && new_addresses.insert(words).second) {
            plan_slot(key);
        }
    };
    // In the order in which add() and set_node_addresses() will insert.
    for (const Claim& claim : claims) {
        if (!owners_.contains(claim.key)) {
            plan_slot(claim.key);
        }
    }
    for (const Claim& claim : claims) {
        if (owns_address(claim.key, claim.flags)) {
            plan_address(whole_address(claim.key.address));
        }
    }
    for (const IpAddress& address : node_addresses) {
        plan_address(whole_address(image_address(address)));
    }
    records += new_addresses.size();
    if (records > free_.available()) {
        return Table::kFrontends;
    }
    if (crowded) {
        return Table::kBuckets;
    }
    return std::nullopt;
}

std::uint32_t FrontendIndex::write_record(const Tables& tables, const sluice_frontend_key& key,
                                          std::uint32_t flags, std::uint32_t service) {
    const auto record = free_.take();
    SLUICE_ASSERT(record);
    tables.frontends[*record] = sluice_frontend{key, flags, service, 0};
    return *record;
}

void FrontendIndex::replace_owner(const Tables& tables, const sluice_frontend_key& key,
                                  Owner& owner, const Claim& claim, Retired& retired) {
    const std::uint32_t record = write_record(tables, key, claim.flags, claim.service);
    change_slot(tables, key, owner.record, record);
    retired.frontends.push_back(owner.record);
    owner = Owner{record, claim.service, claim.flags};
}

void FrontendIndex::publish_address(const Tables& tables, const sluice_frontend_key& key,
                                    Address& address, Retired& retired) {
    const std::uint32_t flags = (address.owned > 0 ? SLUICE_FRONTEND_OWNED : 0U) |
                                (address.node ? SLUICE_FRONTEND_NODE : 0U);
    if (flags != 0) {
        __atomic_store_n(&tables.frontends[address.record].flags, flags, __ATOMIC_RELEASE);
        return;
    }
    change_slot(tables, key, address.record, std::nullopt);
    retired.frontends.push_back(address.record);
    addresses_.erase(key);
}

void FrontendIndex::own_address(const Tables& tables, const sluice_frontend_key& key) {
    const auto [found, inserted] = addresses_.try_emplace(key);
    Address& address = found->second;
    ++address.owned;
    if (inserted) {
        address.record = write_record(tables, key, SLUICE_FRONTEND_OWNED, 0);
        SLUICE_ASSERT(insert_slot(tables, key, address.record));
    } else if (address.owned == 1) {
        __atomic_store_n(&tables.frontends[address.record].flags,
                         SLUICE_FRONTEND_OWNED | SLUICE_FRONTEND_NODE, __ATOMIC_RELEASE);
    }
}

void FrontendIndex::disown_address(const Tables& tables, const sluice_frontend_key& key,
                                   Retired& retired) {
    const auto found = addresses_.find(key);
    SLUICE_ASSERT(found != addresses_.end() && found->second.owned > 0);
    if (--found->second.owned == 0) {
        publish_address(tables, key, found->second, retired);
    }
}

void FrontendIndex::add(const Tables& tables, std::span<const Claim> claims, Retired& retired) {
    std::vector<Owns> owns;
    owns.reserve(claims.size());
    for (const Claim& claim : claims) {
        owns.push_back(add_claim(tables, claim, retired));
    }
    for (std::size_t i = 0; i < claims.size(); ++i) {
        if (owns[i] == Owns::kMore) {
            own_address(tables, whole_address(claims[i].key.address));
        }
    }
    for (std::size_t i = 0; i < claims.size(); ++i) {
        if (owns[i] == Owns::kLess) {
            disown_address(tables, whole_address(claims[i].key.address), retired);
        }
    }
}

FrontendIndex::Owns FrontendIndex::add_claim(const Tables& tables, const Claim& claim,
                                             Retired& retired) {
    const auto [found, inserted] = owners_.try_emplace(claim.key);
    Owner& owner = found->second;
    const bool owns = owns_address(claim.key, claim.flags);
    // The address is owned once per claim, won or lost, so that the loser's is still counted when
    // it wins.
    bool owned_before = false;

    if (inserted) {
        owner = Owner{write_record(tables, claim.key, claim.flags, claim.service), claim.service,
                      claim.flags};
        SLUICE_ASSERT(insert_slot(tables, claim.key, owner.record));
    } else if (owner.service == claim.service) {
        owned_before = owns_address(claim.key, owner.flags);
        replace_owner(tables, claim.key, owner, claim, retired);
    } else {
        auto& others = contested_[claim.key];
        const auto same = std::find_if(others.begin(), others.end(), [&](const Claim& other) {
            return other.service == claim.service;
        });
        if (same != others.end()) {
            owned_before = owns_address(claim.key, same->flags);
            *same = claim;
        } else if (precedes_(claim.service, owner.service)) {
            others.push_back(Claim{claim.key, owner.flags, owner.service});
            replace_owner(tables, claim.key, owner, claim, retired);
        } else {
            others.push_back(claim);
        }
    }
    return owns == owned_before ? Owns::kAsBefore : owns ? Owns::kMore : Owns::kLess;
}

std::uint32_t FrontendIndex::flags_of_claim(const sluice_frontend_key& key,
                                            std::uint32_t service) const {
    const Owner& owner = owners_.at(key);
    if (owner.service == service) {
        return owner.flags;
    }
    const auto& others = contested_.at(key);
    const auto same = std::find_if(others.begin(), others.end(),
                                   [&](const Claim& other) { return other.service == service; });
    SLUICE_ASSERT(same != others.end());
    return same->flags;
}

void FrontendIndex::withdraw(const Tables& tables, std::span<const sluice_frontend_key> keys,
                             std::uint32_t service, Retired& retired) {
    for (const sluice_frontend_key& key : keys) {
        if (owns_address(key, flags_of_claim(key, service))) {
            disown_address(tables, whole_address(key.address), retired);
        }
    }
    for (const sluice_frontend_key& key : keys) {
        withdraw_claim(tables, key, service, retired);
    }
}

void FrontendIndex::withdraw_claim(const Tables& tables, const sluice_frontend_key& key,
                                   std::uint32_t service, Retired& retired) {
    const auto found = owners_.find(key);
    SLUICE_ASSERT(found != owners_.end());
    Owner& owner = found->second;
    const auto contest = contested_.find(key);

    if (owner.service != service) {
        SLUICE_ASSERT(contest != contested_.end());
        auto& others = contest->second;
        const auto same = std::find_if(others.begin(), others.end(), [&](const Claim& other) {
            return other.service == service;
        });
        SLUICE_ASSERT(same != others.end());
        others.erase(same);
    } else if (contest != contested_.end()) {
        auto& others = contest->second;
        const auto next = std::min_element(
            others.begin(), others.end(),
            [&](const Claim& a, const Claim& b) { return precedes_(a.service, b.service); });
        const Claim successor = *next;
        others.erase(next);
        replace_owner(tables, key, owner, successor, retired);
    } else {
        change_slot(tables, key, owner.record, std::nullopt);
        retired.frontends.push_back(owner.record);
        owners_.erase(found);
    }
    if (contest != contested_.end() && contest->second.empty()) {
        contested_.erase(contest);
    }
}

void FrontendIndex::set_node_addresses(const Tables& tables, std::span<const IpAddress> addresses,
                                       Retired& retired) {
    for (const IpAddress& wanted : addresses) {
        const sluice_frontend_key key = whole_address(image_address(wanted));
        const auto [found, inserted] = addresses_.try_emplace(key);
        Address& address = found->second;
        if (inserted) {
            address.node = true;
            address.record = write_record(tables, key, SLUICE_FRONTEND_NODE, 0);
            SLUICE_ASSERT(insert_slot(tables, key, address.record));
        } else if (!address.node) {
            address.node = true;
            publish_address(tables, key, address, retired);
        }
    }
    std::vector<sluice_frontend_key> gone;
    for (const auto& [key, address] : addresses_) {
        const IpAddress here = address_of(key.address);
        if (address.node &&
            std::find(addresses.begin(), addresses.end(), here) == addresses.end()) {
            gone.push_back(key);
        }
    }
    for (const auto& key : gone) {
        Address& address = addresses_.at(key);
        address.node = false;
        publish_address(tables, key, address, retired);
    }
}

bool FrontendIndex::rebuild(const Tables& tables) const {
    for (const auto& [key, owner] : owners_) {
        if (!insert_slot(tables, key, owner.record)) {
            return false;
        }
    }
    for (const auto& [key, address] : addresses_) {
        if (!insert_slot(tables, key, address.record)) {
            return false;
        }
    }
    return true;
}

void FrontendIndex::release(std::span<const std::uint32_t> records) {
    for (const std::uint32_t record : records) {
        free_.give_back(record);
    }
}

}  // namespace sluice::image
