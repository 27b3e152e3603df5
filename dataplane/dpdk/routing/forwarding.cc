// See forwarding.h.
#include "dataplane/dpdk/routing/forwarding.h"

#include <endian.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>
#include <tuple>
#include <utility>

#include "dataplane/dpdk/routing/check.h"
#include "dataplane/dpdk/routing/hash_table.h"
#include "dataplane/dpdk/routing/prefixes.h"

namespace sluice::dpdk {
namespace {

// What a prefix leads to: a fixed hop by number, or a link.
constexpr std::uint32_t kNowhere = 0;
constexpr std::uint32_t kHere = 1;
constexpr std::uint32_t kFirstGateway = 2;
constexpr std::uint32_t kOnLink = 0x8000'0000;

constexpr std::size_t kBlock = 256;
constexpr std::uint16_t kEtherTypeIpv4 = 0x0800;
constexpr std::uint16_t kEtherTypeIpv6 = 0x86dd;
constexpr std::uint16_t kEtherTypeVlan = 0x8100;
constexpr std::uint32_t kUnknown = 0xffffffff;

std::uint32_t narrow(const sluice_address& address) {
    return be32toh(address.word_be[3]);
}
Wide wide(const sluice_address& address) {
    return {static_cast<std::uint64_t>(be32toh(address.word_be[0])) << 32U |
                be32toh(address.word_be[1]),
            static_cast<std::uint64_t>(be32toh(address.word_be[2])) << 32U |
                be32toh(address.word_be[3])};
}
sluice_address words(const IpAddress& address) {
    sluice_address out{};
    std::memcpy(out.word_be, address.bytes.data(), sizeof out.word_be);
    return out;
}
std::uint32_t narrow(const IpAddress& address) {
    return narrow(words(address));
}
Wide wide(const IpAddress& address) {
    return wide(words(address));
}

void put16(std::uint8_t* at, std::uint16_t value) {
    at[0] = static_cast<std::uint8_t>(value >> 8U);
    at[1] = static_cast<std::uint8_t>(value & 0xffU);
}

Hop hop_of(const Interface& interface, const Neighbour& neighbour, std::uint32_t place) {
    Hop hop;
    hop.kind = neighbour.resolved ? HopKind::kForward : HopKind::kUnresolved;
    hop.out = neighbour.interface;
    hop.mtu = interface.mtu;
    hop.neighbour = place;
    if (!neighbour.resolved) return hop;
    std::copy(neighbour.mac.begin(), neighbour.mac.end(), hop.l2);
    std::copy(interface.mac.begin(), interface.mac.end(), hop.l2 + 6);
    hop.l2_length = 14;
    if (interface.vlan != 0) {
        put16(hop.l2 + 12, kEtherTypeVlan);
        put16(hop.l2 + 14, interface.vlan);
        hop.l2_length = 18;
    }
    put16(hop.l2 + hop.l2_length - 2, neighbour.address.is_v4() ? kEtherTypeIpv4 : kEtherTypeIpv6);
    return hop;
}

// Addresses on links, by family, to numbers.
class Links {
public:
    [[nodiscard]] std::uint32_t find(std::uint16_t interface, const IpAddress& address) const {
        return address.is_v4() ? v4_.find({narrow(address), interface})
                               : v6_.find({wide(address), interface});
    }
    [[nodiscard]] std::uint32_t find4(std::uint32_t interface, std::uint32_t address) const {
        return v4_.find({address, interface});
    }
    [[nodiscard]] std::uint32_t find6(std::uint32_t interface, const Wide& address) const {
        return v6_.find({address, interface});
    }
    void put(std::uint16_t interface, const IpAddress& address, std::uint32_t value) {
        address.is_v4() ? v4_.put({narrow(address), interface}, value)
                        : v6_.put({wide(address), interface}, value);
    }
    void remove(std::uint16_t interface, const IpAddress& address) {
        address.is_v4() ? v4_.remove({narrow(address), interface})
                        : v6_.remove({wide(address), interface});
    }
    // Room for all of them at once.
    void reserve(std::span<const NeighbourChange> changes) {
        const auto v4 = static_cast<std::size_t>(
            std::count_if(changes.begin(), changes.end(),
                          [](const NeighbourChange& c) { return c.neighbour.address.is_v4(); }));
        v4_.reserve(std::min(v4_.size() + v4, kMaxNeighbours));
        v6_.reserve(std::min(v6_.size() + changes.size() - v4, kMaxNeighbours));
    }
    [[nodiscard]] std::size_t bytes() const { return v4_.bytes() + v6_.bytes(); }

private:
    HashTable<LinkKey4> v4_;
    HashTable<LinkKey6> v6_;
};

// What neighbours do not change.
struct Routes {
    std::vector<Interface> interfaces;
    std::vector<std::uint16_t> untagged;  // [port]
    std::vector<std::unique_ptr<std::array<std::uint16_t, 4096>>>
        tagged;  // [port][vlan]; null: the port has no VLAN
    Prefixes<std::uint32_t> v4;
    Prefixes<Wide> v6;
    std::vector<std::pair<std::uint16_t, IpAddress>> gateways;
    Links gateway_numbers;
    std::vector<Hop> links;  // [interface]: for who is on it and no known neighbour
};

struct Block {
    std::array<Hop, kBlock> hops;
    std::array<Neighbour, kBlock> neighbours;
};

class Snapshot final : public Forwarding {
public:
    Snapshot(std::shared_ptr<const Routes> routes, std::uint64_t generation)
        : routes_(std::move(routes)), links_(std::make_shared<Links>()), generation_(generation) {
        fixed_.resize(kFirstGateway + routes_->gateways.size());
        fixed_[kHere].kind = HopKind::kLocal;
        for (std::size_t i = 0; i < routes_->gateways.size(); ++i) {
            fixed_[kFirstGateway + i] = routes_->links[routes_->gateways[i].first];
        }
    }

    Result<std::unique_ptr<Forwarding>> change(std::span<const NeighbourChange> changes,
                                               std::uint64_t generation) const override {
        auto out = std::make_unique<Snapshot>(*this);
        out->generation_ = generation;
        SLUICE_TRY(out->apply(changes));
        return std::unique_ptr<Forwarding>(std::move(out));
    }

    // REQUIRES: not published. A failure leaves it half changed; its caller drops it.
    Result<void> apply(std::span<const NeighbourChange> changes);

    const Hop& lookup(const sluice_address& destination, bool v6) const override {
        if (v6) {
            const Wide key = wide(destination);
            const std::uint32_t leads = routes_->v6.find(key);
            if ((leads & kOnLink) == 0) return fixed_[leads];
            return on_link(leads & ~kOnLink, links_->find6(leads & ~kOnLink, key));
        }
        const std::uint32_t key = narrow(destination);
        const std::uint32_t leads = routes_->v4.find(key);
        if ((leads & kOnLink) == 0) return fixed_[leads];
        return on_link(leads & ~kOnLink, links_->find4(leads & ~kOnLink, key));
    }

    bool next_hop(const sluice_address& destination, bool v6, std::uint16_t* interface,
                  IpAddress* address) const override {
        const std::uint32_t leads =
            v6 ? routes_->v6.find(wide(destination)) : routes_->v4.find(narrow(destination));
        if ((leads & kOnLink) != 0) {
            *interface = static_cast<std::uint16_t>(leads & ~kOnLink);
            std::memcpy(address->bytes.data(), destination.word_be, sizeof destination.word_be);
            if (!v6) *address = IpAddress::from_v4_be(destination.word_be[3]);
            return true;
        }
        if (leads < kFirstGateway) return false;
        std::tie(*interface, *address) = routes_->gateways[leads - kFirstGateway];
        return true;
    }

    std::span<const Interface> interfaces() const override { return routes_->interfaces; }
    std::uint64_t generation() const override { return generation_; }
    std::size_t interface_of(std::uint16_t port, std::uint16_t vlan) const override {
        if (port >= routes_->untagged.size()) return kMaxInterfaces;
        if (vlan == 0) return routes_->untagged[port];
        const auto& table = routes_->tagged[port];
        return table && vlan < table->size() ? (*table)[vlan] : kMaxInterfaces;
    }
    std::size_t bytes() const override {
        return routes_->v4.bytes() + routes_->v6.bytes() + links_->bytes() +
               fixed_.size() * sizeof(Hop) + blocks_.size() * sizeof(Block);
    }

private:
    const Hop& on_link(std::uint32_t interface, std::uint32_t place) const {
        if (place == kUnknown) return routes_->links[interface];
        return blocks_[place / kBlock]->hops[place % kBlock];
    }

    std::shared_ptr<const Routes> routes_;
    std::shared_ptr<const Links> links_;  // to places
    std::vector<std::shared_ptr<const Block>> blocks_;
    std::vector<Hop> fixed_;
    std::uint64_t generation_ = 0;
};

Result<void> Snapshot::apply(std::span<const NeighbourChange> changes) {
    // Copies of what former snapshots share, made once for all changes.
    std::vector<Block*> owned(blocks_.size());
    Links* links = nullptr;
    const auto own_links = [&] {
        if (links != nullptr) return;
        auto copy = std::make_shared<Links>(*links_);
        links = copy.get();
        links_ = std::move(copy);
    };
    if (changes.size() >= kBlock) {
        own_links();
        links->reserve(changes);
    }
    for (const NeighbourChange& change : changes) {
        if (change.place >= kMaxNeighbours) {
            return make_error(Code::kInvalidArgument, "neighbour {}: place {} is not below {}",
                              change.neighbour.address.to_string(), change.place, kMaxNeighbours);
        }
        SLUICE_TRY(check_neighbour(change.neighbour, routes_->interfaces));
        const std::size_t number = change.place / kBlock;
        if (number >= blocks_.size()) {
            owned.resize(number + 1);
            while (blocks_.size() <= number) blocks_.push_back(std::make_shared<Block>());
        }
        if (owned[number] == nullptr) {
            auto copy = std::make_shared<Block>(*blocks_[number]);
            owned[number] = copy.get();
            blocks_[number] = std::move(copy);
        }
        Neighbour& former = owned[number]->neighbours[change.place % kBlock];
        const Neighbour& now = change.neighbour;
        const bool free = now.address.is_unspecified();
        const bool was_free = former.address.is_unspecified();
        const bool same = !free && !was_free && former.address == now.address &&
                          former.interface == now.interface;
        if (!same && !was_free) {
            own_links();
            links->remove(former.interface, former.address);
            const std::uint32_t gateway =
                routes_->gateway_numbers.find(former.interface, former.address);
            if (gateway != kUnknown)
                fixed_[kFirstGateway + gateway] = routes_->links[former.interface];
        }
        former = now;
        if (free) continue;
        const Hop hop = hop_of(routes_->interfaces[now.interface], now, change.place);
        if (!same) {
            const std::uint32_t other = links_->find(now.interface, now.address);
            if (other != kUnknown) {
                return make_error(Code::kInvalidArgument,
                                  "neighbour {}: places {} and {} of interface {} both have it",
                                  now.address.to_string(), other, change.place,
                                  routes_->interfaces[now.interface].name);
            }
            own_links();
            links->put(now.interface, now.address, change.place);
        }
        owned[number]->hops[change.place % kBlock] = hop;
        const std::uint32_t gateway = routes_->gateway_numbers.find(now.interface, now.address);
        if (gateway != kUnknown) fixed_[kFirstGateway + gateway] = hop;
    }
    return {};
}

struct Candidate {
    IpPrefix prefix;
    std::uint64_t preference = 0;  // the lowest wins
    std::uint32_t leads = kNowhere;
};

bool goes_before(const Candidate& a, const Candidate& b) {
    return std::tie(a.prefix, a.preference) < std::tie(b.prefix, b.preference);
}

// Before all routes, whatever their metric.
constexpr std::uint64_t kImplied = 0;
constexpr std::uint64_t kByMetric = 1;

IpAddress broadcast_of(const InterfaceAddress& own) {
    const std::uint32_t host = own.prefix_length == 0 ? ~0U : ~0U >> own.prefix_length;
    return IpAddress::from_v4_be(htobe32(narrow(own.address) | host));
}

// Own addresses, broadcasts, the prefixes of interfaces, and what is never forwarded.
void add_implied(const Routes& routes, std::vector<Candidate>& out) {
    for (const char* text : {"0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32",
                             "::/128", "::1/128", "fe80::/10", "ff00::/8"}) {
        out.push_back({IpPrefix::parse(text).value(), kImplied, kHere});
    }
    for (std::size_t i = 0; i < routes.interfaces.size(); ++i) {
        for (const InterfaceAddress& own : routes.interfaces[i].addresses) {
            const bool v4 = own.address.is_v4();
            const auto all_bits = static_cast<std::uint8_t>(v4 ? 32 : 128);
            out.push_back({{own.address, all_bits}, kImplied, kHere});
            if (v4 && own.prefix_length < 31)
                out.push_back({{broadcast_of(own), 32}, kImplied, kHere});
            const bool link_local = !v4 && own.address.is_link_local();
            if (own.prefix_length < all_bits && !link_local) {
                out.push_back({prefix_of(own), kByMetric, kOnLink | static_cast<std::uint32_t>(i)});
            }
        }
    }
}

void index_ports(Routes& routes) {
    for (std::size_t i = 0; i < routes.interfaces.size(); ++i) {
        const Interface& interface = routes.interfaces[i];
        if (interface.port >= routes.untagged.size()) {
            routes.untagged.resize(interface.port + 1U, kMaxInterfaces);
            routes.tagged.resize(interface.port + 1U);
        }
        if (interface.vlan == 0) {
            routes.untagged[interface.port] = static_cast<std::uint16_t>(i);
            continue;
        }
        auto& table = routes.tagged[interface.port];
        if (!table) {
            table = std::make_unique<std::array<std::uint16_t, 4096>>();
            table->fill(kMaxInterfaces);
        }
        (*table)[interface.vlan] = static_cast<std::uint16_t>(i);
    }
}

Result<std::uint32_t> leads_to(const Route& route, Routes& routes) {
    if (route.interface == kToKernel) return kHere;
    if (route.gateway.is_unspecified()) return kOnLink | route.interface;
    std::uint32_t number = routes.gateway_numbers.find(route.interface, route.gateway);
    if (number == kUnknown) {
        if (routes.gateways.size() >= kMaxGateways) {
            return make_error(Code::kResourceExhausted,
                              "route {}: its gateway {} is one more than {}",
                              route.prefix.to_string(), route.gateway.to_string(), kMaxGateways);
        }
        number = static_cast<std::uint32_t>(routes.gateways.size());
        routes.gateways.emplace_back(route.interface, route.gateway);
        routes.gateway_numbers.put(route.interface, route.gateway, number);
    }
    return kFirstGateway + number;
}

// candidates: as goes_before() has them.
void build_prefixes(std::vector<Candidate>& candidates, Routes& routes) {
    candidates.erase(
        std::unique(candidates.begin(), candidates.end(),
                    [](const Candidate& a, const Candidate& b) { return a.prefix == b.prefix; }),
        candidates.end());
    std::vector<Prefixes<std::uint32_t>::Item> v4 = {{0, 0, kNowhere}};
    // IPv4 addresses in IPv6 packets (RFC 4038, section 4.2) lead nowhere.
    std::vector<Prefixes<Wide>::Item> v6 = {{{}, 0, kNowhere},
                                            {{0, 0xffff'0000'0000}, 96, kNowhere}};
    for (const Candidate& candidate : candidates) {
        const IpPrefix& prefix = candidate.prefix;
        if (prefix.address.is_v4()) {
            if (prefix.bits == 0) {
                v4.front().value = candidate.leads;
            } else {
                v4.push_back({narrow(prefix.address), prefix.bits, candidate.leads});
            }
        } else if (prefix.bits == 0) {
            v6.front().value = candidate.leads;
        } else {
            v6.push_back({wide(prefix.address), prefix.bits, candidate.leads});
        }
    }
    routes.v4 = Prefixes<std::uint32_t>(v4);
    routes.v6 = Prefixes<Wide>(v6);
}

}  // namespace

Result<std::unique_ptr<Forwarding>> Forwarding::make(std::vector<Interface> interfaces,
                                                     std::span<const Route> given,
                                                     std::span<const Neighbour> neighbours,
                                                     std::uint64_t generation) {
    SLUICE_TRY(check_interfaces(interfaces));
    if (given.size() > kMaxRoutes) {
        return make_error(Code::kResourceExhausted, "{} routes are more than {}", given.size(),
                          kMaxRoutes);
    }
    if (neighbours.size() > kMaxNeighbours) {
        return make_error(Code::kResourceExhausted, "{} neighbours are more than {}",
                          neighbours.size(), kMaxNeighbours);
    }
    auto routes = std::make_shared<Routes>();
    routes->interfaces = std::move(interfaces);
    index_ports(*routes);
    for (std::size_t i = 0; i < routes->interfaces.size(); ++i) {
        Hop hop;
        hop.kind = HopKind::kUnresolved;
        hop.out = static_cast<std::uint16_t>(i);
        hop.mtu = routes->interfaces[i].mtu;
        routes->links.push_back(hop);
    }
    // In an order of their own, so that of two routes of one prefix and metric the same one wins
    // whichever came first.
    std::vector<Route> sorted(given.begin(), given.end());
    std::sort(sorted.begin(), sorted.end(), [](const Route& a, const Route& b) {
        return std::tie(a.prefix, a.metric, a.gateway, a.interface) <
               std::tie(b.prefix, b.metric, b.gateway, b.interface);
    });
    std::vector<Candidate> explicit_ones;
    explicit_ones.reserve(sorted.size());
    for (const Route& route : sorted) {
        SLUICE_TRY(check_route(route, routes->interfaces));
        SLUICE_TRY_ASSIGN(const std::uint32_t leads, leads_to(route, *routes));
        explicit_ones.push_back({route.prefix, kByMetric + route.metric, leads});
    }
    sorted = {};
    std::vector<Candidate> implied;
    add_implied(*routes, implied);
    std::stable_sort(implied.begin(), implied.end(), goes_before);
    // Of equal ones the implied ones come first.
    std::vector<Candidate> candidates;
    candidates.reserve(implied.size() + explicit_ones.size());
    std::merge(implied.begin(), implied.end(), explicit_ones.begin(), explicit_ones.end(),
               std::back_inserter(candidates), goes_before);
    build_prefixes(candidates, *routes);

    auto out = std::make_unique<Snapshot>(std::move(routes), generation);
    std::vector<NeighbourChange> all;
    all.reserve(neighbours.size());
    for (std::size_t i = 0; i < neighbours.size(); ++i) {
        all.push_back({static_cast<std::uint32_t>(i), neighbours[i]});
    }
    SLUICE_TRY(out->apply(all));
    return std::unique_ptr<Forwarding>(std::move(out));
}

}  // namespace sluice::dpdk
