// The source ports of flows natively: unique towards a backend, all of them usable, each CPU its
// own share first.
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "bpf/lib/test_flow_table.h"

namespace sluice {
namespace {

class BothFamilies : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(FlowPort, BothFamilies, ::testing::Bool());

// Client number n, hidden behind the node's address, towards the one backend.
sluice_flow_pair hidden(bool v6, std::uint32_t client, std::uint32_t random) {
    sluice_flow_pair pair = pair_of(v6, 40000);
    pair.forward.src.word_be[3] = SLUICE_HTON32(0xc0000000U + client);
    pair.reverse.dst = to_abi(v6 ? "fd02::1" : "192.0.2.1");
    pair.snat = 1;
    pair.random = random;
    return pair;
}

// Kubernetes 76699: many clients with the same port behind one node address get different source
// ports.
TEST_P(BothFamilies, SourcePortsTowardsABackendAreUnique) {
    const bool v6 = GetParam();
    Table table(4096);
    std::set<std::uint16_t> ports;
    for (std::uint32_t client = 0; client < 2000; ++client) {
        sluice_flow_pair pair = pair_of(v6, 40000);
        pair.forward.src.word_be[3] = SLUICE_HTON32(0xc0000000U + client);
        pair.reverse.dst = to_abi(v6 ? "fd02::1" : "192.0.2.1");
        pair.snat = 1;
        pair.random = client * 2654435761U;
        ASSERT_EQ(table.insert(pair, v6), SLUICE_FLOW_INSERTED) << client;
        const std::uint16_t port = SLUICE_NTOH16(pair.reverse.ports.port_be[1]);
        EXPECT_GE(port, 1024);
        EXPECT_LE(port, 29999);
        EXPECT_TRUE(ports.insert(port).second) << port;
        sluice_flow_hit hit{};
        ASSERT_TRUE(table.find(pair.reverse, hit, v6));
        EXPECT_TRUE(same(hit.new_dst, pair.forward.src));
        ASSERT_TRUE(table.find(pair.forward, hit, v6));
        EXPECT_EQ(hit.new_ports.port_be[0], SLUICE_HTON16(port));
        EXPECT_NE(hit.meta.flags & SLUICE_FLOW_SNAT, 0);
    }
}

TEST(FlowPort, OwnPortIsKeptInsideTheRangeOnly) {
    Table table(64);
    for (const std::uint16_t port : std::initializer_list<std::uint16_t>{1024, 5000, 29999}) {
        sluice_flow_pair pair = pair_of(false, port);
        pair.snat = 1;
        ASSERT_EQ(table.insert(pair, false), SLUICE_FLOW_INSERTED);
        EXPECT_EQ(pair.reverse.ports.port_be[1], SLUICE_HTON16(port));
    }
}

TEST(FlowPort, NoFreePortIsSaidAndNothingIsLeft) {
    Table table(64);
    sluice_flow_pair first = pair_of(false, 7);
    first.port_min = first.port_max = 2000;
    first.snat = 1;
    ASSERT_EQ(table.insert(first, false), SLUICE_FLOW_INSERTED);
    sluice_flow_pair second = first;
    second.forward.src = to_abi("10.244.1.6");
    EXPECT_EQ(table.insert(second, false), SLUICE_FLOW_NO_PORT);
    EXPECT_EQ(table.occupied(), 2U);
    sluice_flow_pair sctp = pair_of(false, 9, 132);
    sctp.fixed_port = 1;
    ASSERT_EQ(table.insert(sctp, false), SLUICE_FLOW_INSERTED);
    sctp.forward.dst = to_abi("10.96.0.11");
    EXPECT_EQ(table.insert(sctp, false), SLUICE_FLOW_NO_PORT);
}


// NodePort traffic of two CPUs to one backend: nearly the whole range 1024 to 29999 is in use in
// the end.
TEST_P(BothFamilies, NearlyAllPortsTowardsABackendCanBeUsedFromTwoThreads) {
    const bool v6 = GetParam();
    constexpr std::uint32_t kEach = 14000;
    auto table = std::make_unique<Table>(1U << 16U);
    std::array<std::vector<std::uint16_t>, 2> got;
    std::array<std::map<int, int>, 2> failed;
    std::vector<std::thread> threads;
    for (std::uint32_t t = 0; t < 2; ++t) {
        threads.emplace_back([&, t] {
            sluice_flow_view view = table->view();
            for (std::uint32_t i = 0; i < kEach; ++i) {
                sluice_flow_pair pair = hidden(v6, t * kEach + i, (t * kEach + i) * 2654435761U);
                int result = SLUICE_FLOW_CLAIMED;
                // A thread that lost its CPU may hold a claim for long; softirqs do not.
                for (int attempt = 0; attempt < 100000 && result == SLUICE_FLOW_CLAIMED; ++attempt) {
                    if (attempt != 0) {
                        std::this_thread::yield();
                    }
                    result = v6 ? sluice_flow_insert6(&view, &pair) : sluice_flow_insert4(&view, &pair);
                }
                if (result == SLUICE_FLOW_INSERTED) {
                    got[t].push_back(pair.reverse.ports.port_be[1]);
                } else {
                    ++failed[t][result];
                }
            }
        });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    std::set<std::uint16_t> all;
    for (const auto& ports : got) {
        all.insert(ports.begin(), ports.end());
    }
    EXPECT_EQ(got[0].size() + got[1].size(), 2U * kEach);
    EXPECT_EQ(all.size(), 2U * kEach) << "a port was given twice";
    for (const auto& reasons : failed) {
        for (const auto& [result, count] : reasons) {
            ADD_FAILURE() << count << " times result " << result;
        }
    }
}

TEST(FlowPort, NoPortIsSaidOnlyWhenTheLastHundredthIsTaken) {
    Table table(1U << 16U);
    constexpr std::uint32_t kSpan = 29999 - 1024 + 1;
    std::uint32_t given = 0;
    for (std::uint32_t client = 0; client < kSpan; ++client) {
        sluice_flow_pair pair = hidden(false, client, client * 2654435761U);
        if (table.insert(pair, false) != SLUICE_FLOW_INSERTED) {
            break;
        }
        ++given;
    }
    EXPECT_GE(given, kSpan / 100 * 99);
    sluice_flow_pair other = hidden(false, 1U << 20U, 1);
    other.reverse.src = to_abi("10.244.2.10");
    EXPECT_EQ(table.insert(other, false), SLUICE_FLOW_INSERTED) << "towards another backend";
}

TEST(FlowPort, EveryPortOfASmallRangeIsFoundAndThenNoneIsSaid) {
    Table table(4096);
    std::set<std::uint16_t> ports;
    for (std::uint32_t client = 0; client < 1000; ++client) {
        sluice_flow_pair pair = hidden(false, client, client * 2654435761U);
        pair.port_min = 2000;
        pair.port_max = 2999;
        ASSERT_EQ(table.insert(pair, false), SLUICE_FLOW_INSERTED) << client;
        const std::uint16_t port = SLUICE_NTOH16(pair.reverse.ports.port_be[1]);
        EXPECT_TRUE(port >= 2000 && port <= 2999) << port;
        EXPECT_TRUE(ports.insert(port).second) << port;
    }
    sluice_flow_pair late = hidden(false, 5000, 7);
    late.port_min = 2000;
    late.port_max = 2999;
    EXPECT_EQ(table.insert(late, false), SLUICE_FLOW_NO_PORT);
    EXPECT_EQ(table.occupied(), 2000U);
}

// A search that began in a part of the range would be slow once that part is full.
TEST(FlowPort, PortsAreTakenFromTheWholeRangeFromTheStart) {
    Table table(4096);
    constexpr std::uint32_t kParts = 16;
    constexpr std::uint32_t kPart = (29999 - 1024 + 1) / kParts;
    std::set<std::uint32_t> parts;
    for (std::uint32_t client = 0; client < 200; ++client) {
        sluice_flow_pair pair = hidden(false, client, client * 2654435761U);
        ASSERT_EQ(table.insert(pair, false), SLUICE_FLOW_INSERTED);
        parts.insert((SLUICE_NTOH16(pair.reverse.ports.port_be[1]) - 1024U) / kPart);
    }
    EXPECT_EQ(parts.size(), kParts);
}

// All 64 ports of a small range, one client each from `client` on; returns how many got one.
std::size_t fill(Table& table, bool v6, std::uint32_t client, std::uint8_t protocol,
                 std::vector<sluice_flow_pair>* pairs = nullptr) {
    std::size_t given = 0;
    for (std::uint32_t i = 0; i < 64; ++i) {
        sluice_flow_pair pair = hidden(v6, client + i, (client + i) * 2654435761U);
        pair.forward.protocol = pair.reverse.protocol = protocol;
        pair.port_min = 2000;
        pair.port_max = 2063;
        if (table.insert(pair, v6) == SLUICE_FLOW_INSERTED) {
            ++given;
            if (pairs != nullptr) {
                pairs->push_back(pair);
            }
        }
    }
    return given;
}

TEST_P(BothFamilies, PortsOfForgottenFlowsAreGivenAgain) {
    Table table(4096);
    for (std::uint32_t round = 0; round < 5; ++round) {
        std::vector<sluice_flow_pair> pairs;
        ASSERT_EQ(fill(table, GetParam(), 1000 * round, 6, &pairs), 64U) << "round " << round;
        EXPECT_EQ(fill(table, GetParam(), 1000 * round + 500, 6), 0U) << "all are taken";
        for (const sluice_flow_pair& pair : pairs) {
            sluice_flow_hit hit{};
            ASSERT_TRUE(table.find(pair.forward, hit, GetParam()));
            sluice_flow_forget(&table.view(), &hit, GetParam() ? 1 : 0);
        }
    }
}

TEST_P(BothFamilies, PortsOfExpiredFlowsAreGivenAgainAndNotBefore) {
    for (const std::uint8_t protocol : std::initializer_list<std::uint8_t>{6, 17}) {
        const std::uint16_t timeout = protocol == 6 ? SLUICE_FLOW_TIMEOUT_NEW : SLUICE_FLOW_TIMEOUT_NEW_UDP;
        Table table(4096);
        ASSERT_EQ(fill(table, GetParam(), 0, protocol), 64U);
        table.set_now(static_cast<std::uint16_t>(1000 + timeout));
        EXPECT_EQ(fill(table, GetParam(), 1000, protocol), 0U) << "protocol " << int{protocol};
        table.set_now(static_cast<std::uint16_t>(1001 + timeout));
        EXPECT_EQ(fill(table, GetParam(), 2000, protocol), 64U) << "protocol " << int{protocol};
    }
}

TEST_P(BothFamilies, PortsOfClosedFlowsAreGivenAgainAndNotBefore) {
    Table table(4096);
    std::vector<sluice_flow_pair> pairs;
    ASSERT_EQ(fill(table, GetParam(), 0, 6, &pairs), 64U);
    for (const sluice_flow_pair& pair : pairs) {
        sluice_flow_hit hit{};
        ASSERT_TRUE(table.find(pair.forward, hit, GetParam()));
        ASSERT_EQ(table.follow(hit, SLUICE_TCP_RST, GetParam()), 1);
    }
    table.set_now(1000 + SLUICE_FLOW_TIMEOUT_CLOSED);
    EXPECT_EQ(fill(table, GetParam(), 1000, 6), 0U);
    table.set_now(1001 + SLUICE_FLOW_TIMEOUT_CLOSED);
    EXPECT_EQ(fill(table, GetParam(), 2000, 6), 64U);
}

}  // namespace
}  // namespace sluice
