// Which service a destination belongs to: claims on frontend keys, whole addresses, and the buckets
// that publish them.
//
// Two services may claim one key (say, one external address and port). The service that precedes
// wins, so that the outcome depends on the present claims alone; the next one takes over in one
// store when it leaves.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "dataplane/image/allocator.h"
#include "dataplane/image/desired.h"
#include "dataplane/image/layout.h"

namespace sluice::image {

// Unpublished pieces of tables: free again after a grace period.
struct Retired {
    std::vector<std::uint32_t> frontends;
    std::vector<std::uint32_t> services;
    std::vector<std::uint32_t> backends;
    struct Run {
        std::uint32_t first;
        std::uint32_t count;
    };
    std::vector<Run> sets;
    std::vector<Run> names;  // in units of 8 bytes
    std::vector<Run> rings;  // lines
    std::vector<Run> ranges;

    // How much waits: entries, and rings by the kilobyte, since a few large ones can be all that
    // the table has.
    [[nodiscard]] std::size_t pieces() const {
        std::size_t kilobytes = 0;
        for (const Run& ring : rings) {
            kilobytes += ring.count / 16;
        }
        return frontends.size() + services.size() + backends.size() + sets.size() + rings.size() +
               ranges.size() + kilobytes;
    }
    [[nodiscard]] bool empty() const {
        return frontends.empty() && services.empty() && backends.empty() && sets.empty() &&
               names.empty() && rings.empty() && ranges.empty();
    }
};

struct Claim {
    sluice_frontend_key key{};
    std::uint32_t flags = 0;  // SLUICE_FRONTEND_*
    std::uint32_t service = 0;
};

// A frontend's key in the image; kNodePort takes the family's unspecified address.
sluice_frontend_key frontend_key(const Frontend& frontend, Protocol protocol, IpFamily family);
sluice_address image_address(const IpAddress& address);
IpAddress address_of(const sluice_address& address);

class FrontendIndex {
public:
    // precedes(a, b): service a's claim wins over b's. A strict order over service indices in use.
    using Precedes = std::function<bool(std::uint32_t, std::uint32_t)>;

    FrontendIndex(std::uint32_t capacity, Precedes precedes)
        : free_(capacity), precedes_(std::move(precedes)) {}

    // The table that is too full for all these claims (and node addresses) together; nothing is
    // changed.
    [[nodiscard]] std::optional<Table> lacking(const Tables& tables, std::span<const Claim> claims,
                                               std::span<const IpAddress> node_addresses) const;
    // Publishes claims, or replaces the same service's claims on those keys; then the addresses
    // that they own as a whole, since an address that is owned refuses every port that is not there
    // yet. REQUIRES: lacking() said no.
    void add(const Tables& tables, std::span<const Claim> claims, Retired& retired);
    // Whether withdraw needs a frontend record for the claim that takes over.
    [[nodiscard]] bool contested(const sluice_frontend_key& key) const {
        return contested_.contains(key);
    }
    [[nodiscard]] std::size_t records_available() const { return free_.available(); }
    // Withdraws claims of a service; before them the addresses that nobody owns then, for the same
    // reason. REQUIRES: a record available for each that is contested.
    void withdraw(const Tables& tables, std::span<const sluice_frontend_key> keys,
                  std::uint32_t service, Retired& retired);
    // Node addresses answer NodePorts. REQUIRES: lacking() said no.
    void set_node_addresses(const Tables& tables, std::span<const IpAddress> addresses,
                            Retired& retired);

    // Publishes everything into another image's empty buckets, whose frontend records are already
    // copied. False: a key finds both its buckets full.
    [[nodiscard]] bool rebuild(const Tables& tables) const;
    void release(std::span<const std::uint32_t> records);
    void extend(std::uint32_t capacity) { free_.extend(capacity); }
    [[nodiscard]] std::size_t size() const { return owners_.size() + addresses_.size(); }

private:
    struct KeyHash {
        std::size_t operator()(const sluice_frontend_key& key) const noexcept;
    };
    struct KeyEqual {
        bool operator()(const sluice_frontend_key& a, const sluice_frontend_key& b) const noexcept {
            return std::memcmp(&a, &b, sizeof(a)) == 0;
        }
    };
    struct Owner {
        std::uint32_t record = 0;
        std::uint32_t service = 0;
        std::uint32_t flags = 0;
    };
    struct Address {
        std::uint32_t record = 0;
        std::uint32_t owned = 0;  // claims that own the address as a whole
        bool node = false;
    };

    enum class Owns : std::uint8_t { kAsBefore, kMore, kLess };
    // What becomes of the whole address with the claim.
    Owns add_claim(const Tables& tables, const Claim& claim, Retired& retired);
    void withdraw_claim(const Tables& tables, const sluice_frontend_key& key, std::uint32_t service,
                        Retired& retired);
    [[nodiscard]] std::uint32_t flags_of_claim(const sluice_frontend_key& key,
                                               std::uint32_t service) const;
    std::uint32_t write_record(const Tables& tables, const sluice_frontend_key& key,
                               std::uint32_t flags, std::uint32_t service);
    void replace_owner(const Tables& tables, const sluice_frontend_key& key, Owner& owner,
                       const Claim& claim, Retired& retired);
    void own_address(const Tables& tables, const sluice_frontend_key& key);
    void disown_address(const Tables& tables, const sluice_frontend_key& key, Retired& retired);
    void publish_address(const Tables& tables, const sluice_frontend_key& key, Address& address,
                         Retired& retired);

    IndexAllocator free_;
    Precedes precedes_;
    std::unordered_map<sluice_frontend_key, Owner, KeyHash, KeyEqual> owners_;
    std::unordered_map<sluice_frontend_key, std::vector<Claim>, KeyHash, KeyEqual> contested_;
    std::unordered_map<sluice_frontend_key, Address, KeyHash, KeyEqual> addresses_;
};

}  // namespace sluice::image
