// ClientIP affinity natively: who keeps what for how long, who gives way, and two CPUs at once.
// clang-format off: the views must come before what uses them.
#include "bpf/lib/view_memory.h"
#include "bpf/lib/affinity_memory.h"

// The image that the tests look at.
static const sluice_view* opened_view = nullptr;
static inline int sluice_view_open(sluice_view* view) {
    *view = *opened_view;
    return 1;
}

#include "bpf/lib/affinity.h"
// clang-format on

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <barrier>
#include <cstring>
#include <memory>
#include <set>
#include <thread>
#include <vector>

namespace sluice {
namespace {

constexpr std::uint32_t kUnitsPerHour = 13411;  // 3600 s of 2^28 ns, rounded up

// Three services of eight backends each; service s has backends 8s to 8s+7.
class AffinityTest : public ::testing::Test {
protected:
    static constexpr std::uint32_t kBackends = 8;
    void SetUp() override {
        header_ = std::make_unique<sluice_header>();
        header_->set_slot_capacity = header_->backend_capacity = 3 * kBackends;
        for (std::uint32_t i = 0; i < 3 * kBackends; ++i) {
            slots_[i] = {i, 1};
            backends_[i].incarnation = 1;
            backends_[i].service = i / kBackends;
            backends_[i].address.word_be[3] = SLUICE_HTON32(i);
        }
        view_.header = header_.get();
        view_.set_slots = slots_.data();
        view_.backends = backends_.data();
        view_.services = services_.data();
        header_->service_capacity = static_cast<std::uint32_t>(services_.size());
        for (std::uint32_t s = 0; s < 3; ++s) {
            for (auto& word : services_[s].word) {
                word = set_of(s * kBackends, kBackends);
            }
        }
        opened_view = &view_;
        resize(1024);
    }
    void resize(std::uint32_t buckets) {
        buckets_.assign(buckets, {});
        config_ = {};
        open(1000);
    }
    // The calling thread's clock.
    void open(std::uint32_t now) {
        sluice_affinity_table = {};
        sluice_affinity_table.seed = 0x5eed;
        sluice_affinity_table.bucket_count = static_cast<std::uint32_t>(buckets_.size());
        sluice_affinity_table.now = now;
        sluice_affinity_table.buckets = buckets_.data();
        sluice_affinity_table.config = &config_;
    }
    static sluice_address client(std::uint32_t number) {
        return {{0, 0, SLUICE_HTON32(0xffff), SLUICE_HTON32(0x0a000000U + number)}};
    }
    static std::uint64_t set_of(std::uint32_t first, std::uint32_t count) {
        return std::uint64_t{count} << SLUICE_WORD_COUNT_SHIFT | first;
    }
    // The backend that a new connection gets; -1: none.
    int connect(std::uint32_t number, std::uint32_t service, std::uint32_t timeout_s,
                std::uint32_t point) {
        return connect_among(set_of(service * kBackends, kBackends), number, service, timeout_s, point);
    }
    int connect_among(std::uint64_t word, std::uint32_t number, std::uint32_t service,
                      std::uint32_t timeout_s, std::uint32_t point) {
        sluice_match match{};
        match.service = service;
        match.affinity_timeout_s = timeout_s;
        match.word = word;
        sluice_selection selection{};
        const sluice_address from = client(number);
        return sluice_select_affine(&view_, &match, &from, point, &selection)
                   ? static_cast<int>(selection.backend)
                   : -1;
    }
    std::size_t live_of(std::uint32_t number, std::uint32_t service) const {
        std::size_t count = 0;
        for (const auto& bucket : buckets_) {
            for (std::size_t i = 0; i < SLUICE_AFFINITY_WAYS; ++i) {
                const sluice_address from = client(number);
                EXPECT_NE(bucket.word[i] & SLUICE_AFFINITY_STATE_MASK, SLUICE_AFFINITY_BUSY);
                count += (bucket.word[i] & SLUICE_AFFINITY_STATE_MASK) == SLUICE_AFFINITY_LIVE &&
                                 bucket.entry[i].service == service &&
                                 std::memcmp(&bucket.entry[i].client, &from, sizeof from) == 0
                             ? 1
                             : 0;
            }
        }
        return count;
    }

    std::unique_ptr<sluice_header> header_;
    std::array<sluice_set_slot, 3 * kBackends> slots_{};
    std::array<sluice_backend, 3 * kBackends> backends_{};
    std::array<sluice_service, 3> services_{};
    sluice_view view_{};
    std::vector<sluice_affinity_bucket> buckets_;
    sluice_affinity_config config_{};
};

constexpr std::uint32_t kFirst = 0;            // chooses a set's first backend
constexpr std::uint32_t kLast = 0xffffffffU;   // its last

TEST_F(AffinityTest, ClientKeepsItsBackendOfEachService) {
    EXPECT_EQ(connect(1, 0, 10800, kFirst), 0);
    EXPECT_EQ(connect(1, 0, 10800, kLast), 0);
    EXPECT_EQ(connect(1, 1, 10800, kLast), 15) << "another service is another choice";
    EXPECT_EQ(connect(2, 0, 10800, kLast), 7) << "another client is another choice";
    EXPECT_EQ(connect(1, 0, 10800, kLast), 0);
    EXPECT_EQ(live_of(1, 0), 1U);
}

// SERVICE-SEMANTICS: timeoutSeconds, 1 to 86400, exact to a unit of a quarter of a second.
TEST_F(AffinityTest, TimeoutHoldsFromTheLastConnection) {
    EXPECT_EQ(connect(1, 0, 3600, kFirst), 0);
    open(1000 + kUnitsPerHour - 2);
    EXPECT_EQ(connect(1, 0, 3600, kLast), 0) << "within the hour";
    open(1000 + 2 * kUnitsPerHour - 4);
    EXPECT_EQ(connect(1, 0, 3600, kLast), 0) << "renewed by the second connection";
    open(1000 + 3 * kUnitsPerHour - 1);
    EXPECT_EQ(connect(1, 0, 3600, kLast), 7) << "an hour after the third";
    EXPECT_EQ(live_of(1, 0), 1U);
}

TEST_F(AffinityTest, LongestTimeoutIsExactAndClockMayBeAnywhere) {
    for (const std::uint32_t start : {1U, 0xfffffff0U}) {
        resize(16);
        open(start);
        EXPECT_EQ(connect(1, 0, 86400, kFirst), 0);
        open(start + 24 * kUnitsPerHour - 30);
        EXPECT_EQ(connect(1, 0, 86400, kLast), 0) << start;
        open(start + 48 * kUnitsPerHour - 20);
        EXPECT_EQ(connect(1, 0, 86400, kLast), 7) << start;
    }
    resize(16);
    EXPECT_EQ(connect(1, 0, 1, kFirst), 0);
    open(1000 + 3);
    EXPECT_EQ(connect(1, 0, 1, kLast), 0);
    open(1000 + 7);
    EXPECT_EQ(connect(1, 0, 1, kLast), 7) << "one second";
}

TEST_F(AffinityTest, AnotherCpuThatIsAMomentAheadDoesNotEndIt) {
    EXPECT_EQ(connect(1, 0, 1, kFirst), 0);
    open(999);
    EXPECT_EQ(connect(1, 0, 1, kLast), 0);
}

TEST_F(AffinityTest, UnusableBackendIsAbandonedForANewOneThatIsKept) {
    EXPECT_EQ(connect(1, 0, 10800, kFirst), 0);
    backends_[0].incarnation = 2;
    EXPECT_EQ(connect(1, 0, 10800, kLast), 7);
    EXPECT_EQ(connect(1, 0, 10800, 0x40000000U), 7);
    EXPECT_EQ(live_of(1, 0), 1U);
    // Its index given to another service's backend, with a higher incarnation.
    backends_[7].service = 2;
    backends_[7].incarnation = 1;
    EXPECT_EQ(connect(1, 0, 10800, 0x40000000U), 2);
}

// SERVICE-SEMANTICS: an endpoint that the traffic may not use is abandoned, as policy Local has it.
TEST_F(AffinityTest, BackendOutsideOfTheTrafficsSetIsAbandonedForOneInside) {
    const std::uint64_t all = set_of(0, 8);
    const std::uint64_t local = set_of(2, 3);  // backends 2, 3, 4
    services_[0].word[SLUICE_TRAFFIC_EXTERNAL] = local;
    for (std::uint32_t remembered = 0; remembered < kBackends; ++remembered) {
        resize(16);
        const std::uint32_t point = remembered << 29U;
        ASSERT_EQ(connect_among(all, 1, 0, 10800, point), static_cast<int>(remembered));
        const int inside = remembered >= 2 && remembered <= 4 ? static_cast<int>(remembered) : 4;
        EXPECT_EQ(connect_among(local, 1, 0, 10800, kLast), inside) << remembered;
        EXPECT_EQ(connect_among(local, 1, 0, 10800, kFirst), inside) << "and that is kept";
        EXPECT_EQ(connect_among(all, 1, 0, 10800, kFirst), inside) << "by all that may use it";
        EXPECT_EQ(live_of(1, 0), 1U);
    }
}

// Two backends of one address are told apart by their ports, in the order of ports and not of their bytes.
TEST_F(AffinityTest, BackendsOfOneAddressAreFoundInTheirSetByPort) {
    for (std::uint32_t i = 0; i < kBackends; ++i) {
        backends_[i].address = backends_[0].address;
        backends_[i].port_be = SLUICE_HTON16(250 + i);  // 250 to 257: the low byte turns over
    }
    services_[0].word[SLUICE_TRAFFIC_EXTERNAL] = set_of(1, 7);
    for (std::uint32_t remembered = 1; remembered < kBackends; ++remembered) {
        resize(16);
        ASSERT_EQ(connect_among(set_of(0, 8), 1, 0, 10800, remembered << 29U),
                  static_cast<int>(remembered));
        EXPECT_EQ(connect_among(set_of(1, 7), 1, 0, 10800, kFirst), static_cast<int>(remembered));
    }
}

TEST_F(AffinityTest, FullBucketForgetsTheOldestAndCountsIt) {
    resize(1);
    for (std::uint32_t i = 0; i < SLUICE_AFFINITY_WAYS; ++i) {
        open(1000 + i);
        EXPECT_EQ(connect(i, 0, 10800, kFirst), 0);
    }
    open(1010);
    EXPECT_EQ(connect(0, 0, 10800, kLast), 0) << "renewed: client 1 is the oldest now";
    EXPECT_EQ(config_.displaced, 0U);
    EXPECT_EQ(connect(100, 0, 10800, kLast), 7);
    EXPECT_EQ(config_.displaced, 1U);
    EXPECT_EQ(live_of(1, 0), 0U);
    for (const std::uint32_t kept : {0U, 2U, 3U, 4U, 5U, 6U, 7U}) {
        EXPECT_EQ(live_of(kept, 0), 1U) << kept;
    }
}

TEST_F(AffinityTest, ThoseWhoseTimeIsOverGiveWayFirstAndUncounted) {
    resize(1);
    for (std::uint32_t i = 0; i < SLUICE_AFFINITY_WAYS; ++i) {
        EXPECT_EQ(connect(i, 0, i == 5 ? 1 : 10800, kFirst), 0);
    }
    open(1000 + 8);
    EXPECT_EQ(connect(100, 0, 10800, kLast), 7);
    EXPECT_EQ(live_of(5, 0), 0U);
    EXPECT_EQ(config_.displaced, 0U);
}

TEST_F(AffinityTest, SlotOfADeadWriterIsTakenAfterAWhile) {
    resize(1);
    for (auto& word : buckets_[0].word) {
        word = std::uint64_t{1000} << SLUICE_AFFINITY_USED_SHIFT | SLUICE_AFFINITY_BUSY;
    }
    EXPECT_EQ(connect(1, 0, 10800, kFirst), 0) << "served, though not remembered";
    EXPECT_EQ(connect(1, 0, 10800, kLast), 7);
    open(1000 + SLUICE_AFFINITY_BUSY_UNITS + 1);
    EXPECT_EQ(connect(1, 0, 10800, kFirst), 0);
    EXPECT_EQ(connect(1, 0, 10800, kLast), 0) << "remembered";
}

TEST_F(AffinityTest, EmptySetGivesNoneAndRemembersNothing) {
    sluice_match match{};
    match.affinity_timeout_s = 100;
    sluice_selection selection{};
    const sluice_address from = client(1);
    EXPECT_EQ(sluice_select_affine(&view_, &match, &from, 0, &selection), 0);
    EXPECT_EQ(live_of(1, 0), 0U);
}

// Two CPUs connect for the same clients at once, in a table that has room and in one that has not.
TEST_F(AffinityTest, RacingConnectionsOfAClientGoToOneBackend) {
    constexpr int kThreads = 2;
    constexpr std::uint32_t kClients = 20000;
    resize(16384);
    std::vector<std::array<int, kThreads>> got(kClients);
    std::barrier start(kThreads);
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
        threads.emplace_back([&, t] {
            open(1000);
            for (std::uint32_t i = 0; i < kClients; ++i) {
                if (i % 256 == 0) {
                    start.arrive_and_wait();
                }
                got[i][static_cast<std::size_t>(t)] =
                    connect(i, 0, 10800, t == 0 ? kFirst : kLast);
            }
        });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    std::uint32_t differ = 0;
    for (std::uint32_t i = 0; i < kClients; ++i) {
        differ += got[i][0] != got[i][1] ? 1 : 0;
    }
    // A thread may lose its CPU between marking a slot and writing it; a softirq does not.
    EXPECT_LT(differ, kClients / 500);
    for (std::uint32_t i = 0; i < kClients; i += 397) {
        ASSERT_EQ(live_of(i, 0), 1U) << i;
        EXPECT_EQ(connect(i, 0, 10800, kFirst), connect(i, 0, 10800, kLast));
    }
}

TEST_F(AffinityTest, RacesForOneBucketNeverMixRecords) {
    resize(2);
    std::atomic<bool> mixed{false};
    std::vector<std::thread> threads;
    for (int t = 0; t < 2; ++t) {
        threads.emplace_back([&, t] {
            open(1000);
            std::uint32_t random = static_cast<std::uint32_t>(t) + 1;
            for (int i = 0; i < 200000; ++i) {
                random = random * 1664525U + 1013904223U;
                const std::uint32_t number = (random >> 8U) % 40;
                // Client n only ever chooses backend n modulo 8 of service n modulo 3.
                const int want = static_cast<int>(number % 3 * kBackends + number % 8);
                if (connect(number, number % 3, 10800, number % 8 << 29U) != want) {
                    mixed = true;
                }
            }
        });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    EXPECT_FALSE(mixed.load());
    std::set<std::pair<std::uint32_t, std::uint32_t>> seen;
    for (const auto& bucket : buckets_) {
        for (std::size_t i = 0; i < SLUICE_AFFINITY_WAYS; ++i) {
            EXPECT_EQ(bucket.word[i] & SLUICE_AFFINITY_STATE_MASK, SLUICE_AFFINITY_LIVE);
            EXPECT_TRUE(
                seen.insert({bucket.entry[i].client.word_be[3], bucket.entry[i].service}).second)
                << "twice in the table";
        }
    }
}

}  // namespace
}  // namespace sluice
