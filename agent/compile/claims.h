// Who owns an address and port when several services name it. Nearly every place has one claimant, which costs one
// small node; only the others keep an ordered set.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>

#include "api/base/ip_address.h"
#include "dataplane/image/desired.h"

namespace sluice::compile {

// One frontend as packets see it.
struct Place {
    IpAddress address;
    std::uint16_t port = 0;
    image::Scope scope = image::Scope::kAddress;
    IpFamily family = IpFamily::kIpv4;
    Protocol protocol = Protocol::kTcp;
    auto operator<=>(const Place&) const = default;
};

// Lower is better: a cluster IP before an external address, then the older service, then by name, so that nobody takes
// an address over by claiming it later. The strings outlive the claim and do not change.
struct Claim {
    bool external = false;
    std::int64_t created_s = 0;
    const std::string* service = nullptr;
    const std::string* port = nullptr;  // its name
};
struct BetterClaim {
    bool operator()(const Claim& a, const Claim& b) const;
};

// One thread.
class Claims {
public:
    void add(const Place& place, const Claim& claim);
    // REQUIRES: it was added.
    void remove(const Place& place, const Claim& claim);
    // REQUIRES: somebody claims it.
    [[nodiscard]] const Claim& winner(const Place& place) const;
    // Calls visit(claim) for every claim to the place.
    template <class Visit>
    void for_each(const Place& place, const Visit& visit) const {
        const auto found = holders_.find(place);
        if (found == holders_.end()) return;
        visit(found->second.best);
        if (!found->second.others) return;
        for (const auto& claim : *found->second.others) visit(claim);
    }

private:
    struct Holder {
        Claim best;
        std::unique_ptr<std::set<Claim, BetterClaim>> others;  // null: none
    };
    struct PlaceHash {
        std::size_t operator()(const Place& place) const noexcept;
    };
    std::unordered_map<Place, Holder, PlaceHash> holders_;
};

}  // namespace sluice::compile
