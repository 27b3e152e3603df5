// Longest prefix match against the plainest one: a scan of all routes. Families, lengths, nesting
// and holes are drawn.
#include "dataplane/dpdk/routing/prefixes.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <map>
#include <optional>
#include <random>
#include <set>

#include "dataplane/dpdk/routing/test_routing.h"

namespace sluice::dpdk {
namespace {

template <class Key>
std::uint32_t scan(const std::vector<typename Prefixes<Key>::Item>& items, const Key& key) {
    std::optional<typename Prefixes<Key>::Item> best;
    for (const auto& item : items) {
        if (first_bits(key, item.bits) == item.key && (!best || item.bits > best->bits))
            best = item;
    }
    return best ? best->value : Prefixes<Key>::kNothing;
}

template <class Key>
void expect_same(const std::vector<typename Prefixes<Key>::Item>& items,
                 const std::vector<Key>& keys) {
    const Prefixes<Key> prefixes(items);
    for (const Key& key : keys) RC_ASSERT(prefixes.find(key) == scan<Key>(items, key));
}

// Prefixes of a few stems, so that they nest; keys that lie within, beside and beyond them.
RC_GTEST_PROP(PrefixesProperty, Ipv4AsAScanOfAllRoutes, ()) {
    const auto stems =
        *rc::gen::container<std::vector<std::uint32_t>>(3, rc::gen::arbitrary<std::uint32_t>());
    const auto lengths =
        *rc::gen::nonEmpty(rc::gen::container<std::vector<int>>(rc::gen::inRange(0, 33)));
    std::set<std::pair<std::uint32_t, int>> seen;
    std::vector<Prefixes<std::uint32_t>::Item> items;
    std::vector<std::uint32_t> keys = {0, 0xffffffff};
    for (const int bits : lengths) {
        const std::uint32_t flip = *rc::gen::arbitrary<std::uint32_t>();
        const std::uint32_t near =
            *rc::gen::elementOf(stems) ^
            (flip & *rc::gen::elementOf(std::vector<std::uint32_t>{0, 1, 0xff, 0xffff}));
        const std::uint32_t key = first_bits(near, static_cast<unsigned>(bits));
        if (seen.emplace(key, bits).second) {
            items.push_back(
                {key, static_cast<std::uint8_t>(bits), static_cast<std::uint32_t>(items.size())});
        }
        keys.push_back(near);
        keys.push_back(key);
        keys.push_back(key - 1);
        keys.push_back(near ^ (1U << (flip % 32)));
    }
    expect_same<std::uint32_t>(items, keys);
}

RC_GTEST_PROP(PrefixesProperty, Ipv6AsAScanOfAllRoutes, ()) {
    const auto stems = *rc::gen::container<std::vector<std::pair<std::uint64_t, std::uint64_t>>>(
        3, rc::gen::pair(rc::gen::arbitrary<std::uint64_t>(), rc::gen::arbitrary<std::uint64_t>()));
    const auto lengths =
        *rc::gen::nonEmpty(rc::gen::container<std::vector<int>>(rc::gen::inRange(0, 129)));
    std::set<std::tuple<std::uint64_t, std::uint64_t, int>> seen;
    std::vector<Prefixes<Wide>::Item> items;
    std::vector<Wide> keys = {{0, 0}, {~0ULL, ~0ULL}};
    for (const int bits : lengths) {
        const auto stem = *rc::gen::elementOf(stems);
        const int flip = *rc::gen::inRange(0, 128);
        Wide near{stem.first, stem.second};
        (flip < 64 ? near.high : near.low) ^= 1ULL << (flip % 64);
        const Wide key = first_bits(near, static_cast<unsigned>(bits));
        if (seen.emplace(key.high, key.low, bits).second) {
            items.push_back(
                {key, static_cast<std::uint8_t>(bits), static_cast<std::uint32_t>(items.size())});
        }
        keys.push_back(near);
        keys.push_back(key);
        keys.push_back({near.high ^ 1, near.low});
        keys.push_back({near.high, near.low ^ 1});
    }
    expect_same<Wide>(items, keys);
}

TEST(Prefixes, EveryLengthAtOnce) {
    std::vector<Prefixes<std::uint32_t>::Item> v4;
    std::vector<Prefixes<Wide>::Item> v6;
    for (unsigned bits = 0; bits <= 32; ++bits)
        v4.push_back({first_bits(0xaaaaaaaaU, bits), static_cast<std::uint8_t>(bits), bits});
    const Wide stem{0x5555555555555555ULL, 0x5555555555555555ULL};
    for (unsigned bits = 0; bits <= 128; ++bits)
        v6.push_back({first_bits(stem, bits), static_cast<std::uint8_t>(bits), bits});
    const Prefixes<std::uint32_t> four(v4);
    const Prefixes<Wide> six(v6);
    // A key that leaves the stem at bit n matches n bits of it.
    for (unsigned n = 0; n < 32; ++n) EXPECT_EQ(four.find(0xaaaaaaaaU ^ (1U << (31 - n))), n);
    EXPECT_EQ(four.find(0xaaaaaaaaU), 32U);
    for (unsigned n = 0; n < 128; ++n) {
        Wide key = stem;
        (n < 64 ? key.high : key.low) ^= 1ULL << (63 - n % 64);
        EXPECT_EQ(six.find(key), n);
    }
    EXPECT_EQ(six.find(stem), 128U);
}

TEST(Prefixes, MemoryFollowsTheRoutes) {
    std::vector<Prefixes<std::uint32_t>::Item> few = {
        {0, 0, 1}, {0x0a000000, 8, 2}, {0x0a010203, 32, 3}};
    EXPECT_LT(Prefixes<std::uint32_t>(few).bytes(), 200U);
    std::mt19937 random(1);
    std::map<std::uint32_t, std::uint32_t> hosts;
    while (hosts.size() < 100'000)
        hosts.emplace(random(), static_cast<std::uint32_t>(hosts.size()));
    std::vector<Prefixes<std::uint32_t>::Item> many;
    for (const auto& [key, value] : hosts) many.push_back({key, 32, value});
    EXPECT_LT(Prefixes<std::uint32_t>(many).bytes(), 100'000U * 8 * 4);
}

TEST(HashTable, LikeAMap) {
    std::mt19937 random(7);
    HashTable<std::uint32_t> table;
    std::map<std::uint32_t, std::uint32_t> model;
    for (int step = 0; step < 200'000; ++step) {
        // Few keys, so that they are removed and put again, and lie in each other's way.
        const auto key = static_cast<std::uint32_t>(random() % 97);
        if (random() % 2 == 0) {
            table.put(key, static_cast<std::uint32_t>(step));
            model[key] = static_cast<std::uint32_t>(step);
        } else {
            table.remove(key);
            model.erase(key);
        }
        ASSERT_EQ(table.size(), model.size());
        const auto asked = static_cast<std::uint32_t>(random() % 97);
        const auto found = model.find(asked);
        ASSERT_EQ(table.find(asked),
                  found == model.end() ? HashTable<std::uint32_t>::kNothing : found->second)
            << step;
    }
}

// Neighbours and routes together, through Forwarding: each address leads where a plain reading of
// the routes says.
TEST(ForwardingModel, RandomRoutesAndNeighbours) {
    std::mt19937 random(11);
    const auto draw = [&](unsigned below) { return static_cast<unsigned>(random() % below); };
    for (int round = 0; round < 200; ++round) {
        std::vector<Interface> interfaces = {
            make_interface("a", 0, 0, "02:00:00:00:00:01", {"10.0.0.1/16"}),
            make_interface("b", 1, 0, "02:00:00:00:00:02", {"10.1.0.1/20"})};
        std::vector<Route> routes;
        for (unsigned i = draw(30); i > 0; --i) {
            const auto bits = static_cast<std::uint8_t>(8 + draw(25));
            const IpAddress within =
                IpAddress::from_v4_be(htonl(0x0a000000U | random() % (4U << 16U)));
            const auto via = static_cast<std::uint16_t>(draw(2));
            const Route made{
                prefix_of({within, bits}),
                draw(2) == 0 ? IpAddress{} : address(via == 0 ? "10.0.0.9" : "10.1.0.9"), via,
                draw(3)};
            routes.push_back(made);
        }
        std::vector<Neighbour> neighbours = {neighbour(0, "10.0.0.9", "02:00:00:00:00:09"),
                                             neighbour(1, "10.1.0.9", "")};
        const auto made = Forwarding::make(interfaces, routes, neighbours, 1);
        ASSERT_TRUE(made) << made.error().to_string();
        for (int i = 0; i < 200; ++i) {
            const IpAddress to = IpAddress::from_v4_be(htonl(0x0a000000U | random() % (4U << 16U)));
            // The longest; of these the interface's own, then the lowest metric, then the order of
            // Route.
            std::optional<std::tuple<int, std::uint64_t, Route>> best;
            const auto offer = [&](const Route& r, std::uint64_t rank) {
                if (!r.prefix.contains(to)) return;
                const std::tuple offered{-static_cast<int>(r.prefix.bits), rank, r};
                if (!best || offered < *best) best = offered;
            };
            offer(route("10.0.0.0/16", "", 0), 0);
            offer(route("10.1.0.0/20", "", 1), 0);
            for (const Route& r : routes) offer(r, 1 + r.metric);
            const Hop& hop = (*made)->lookup(words(to), false);
            const std::string text = to.to_string();
            if (text == "10.0.0.1" || text == "10.1.0.1" || text == "10.0.255.255" ||
                text == "10.1.15.255") {
                ASSERT_EQ(hop.kind, HopKind::kLocal) << text;
            } else if (!best) {
                ASSERT_EQ(hop.kind, HopKind::kNone) << text;
            } else {
                const Route& chosen = std::get<2>(*best);
                const IpAddress next = chosen.gateway.is_unspecified() ? to : chosen.gateway;
                ASSERT_EQ(hop.out, chosen.interface) << text;
                const bool resolved = chosen.interface == 0 && next == address("10.0.0.9");
                ASSERT_EQ(hop.kind, resolved ? HopKind::kForward : HopKind::kUnresolved) << text;
            }
        }
    }
}

}  // namespace
}  // namespace sluice::dpdk
