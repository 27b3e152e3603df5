// A flood of new flows against live ones: DESIGN's "established flows outlive half-open ones", as
// a property.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "bpf/lib/test_flow_table.h"

namespace sluice {
namespace {

// An eighth of the default size, with as much of everything else. SLUICE_FLOOD=8 in the environment is the whole.
constexpr std::uint32_t kScaleOfAll = 8;

std::uint32_t scale() {
    const char* text = std::getenv("SLUICE_FLOOD");  // NOLINT(concurrency-mt-unsafe): one thread
    const long said = text == nullptr ? 1 : std::strtol(text, nullptr, 10);
    return said >= 1 && said <= static_cast<long>(kScaleOfAll) ? static_cast<std::uint32_t>(said) : 1;
}

sluice_flow_pair numbered(std::uint32_t base, std::uint32_t n, std::uint8_t protocol) {
    sluice_flow_pair pair = pair_of(false, static_cast<std::uint16_t>(1024 + n % 60000), protocol);
    pair.forward.src.word_be[3] = SLUICE_HTON32(base + n / 60000);
    pair.reverse.dst = pair.forward.src;
    pair.backend = n;
    return pair;
}

class Flood : public ::testing::TestWithParam<std::uint8_t> {};
INSTANTIATE_TEST_SUITE_P(FlowFlood, Flood, ::testing::Values(6, 17));

// Half-open connections, and datagrams that nobody answers. The live flows are idle all the while, which is worse than
// in life; ticks go by. As many live flows as two fifths of the table, a flood of twenty times its size.
TEST_P(Flood, HalfOpenFlowsLeaveLiveFlowsAlone) {
    const std::uint8_t protocol = GetParam();
    const std::uint32_t live_count = 25000 * scale();
    const std::uint32_t flood_count = 1250000 * scale();
    std::vector<sluice_flow_bucket4> buckets(SLUICE_FLOW_BUCKETS(SLUICE_FLOW_DEFAULT_FLOWS) / kScaleOfAll *
                                             scale());
    sluice_flow_view view{};
    view.seed = 0x5eed;
    view.bucket_count4 = static_cast<__u32>(buckets.size());
    view.buckets4 = buckets.data();
    view.now = 1000;
    std::vector<std::uint32_t> live;
    for (std::uint32_t n = 0; n < live_count; ++n) {
        sluice_flow_pair pair = numbered(0x0a000000U, n, protocol);
        sluice_flow_hit hit{};
        if (sluice_flow_insert4(&view, &pair) != SLUICE_FLOW_INSERTED ||
            !sluice_flow_find(&view, &pair.reverse, sluice_flow_hash(&view, &pair.reverse, 0), &hit, 0) ||
            sluice_flow_follow(&view, &hit, SLUICE_TCP_SYN | SLUICE_TCP_ACK, 0) == 0 ||
            !sluice_flow_find(&view, &pair.forward, sluice_flow_hash(&view, &pair.forward, 0), &hit, 0) ||
            sluice_flow_follow(&view, &hit, SLUICE_TCP_ACK, 0) == 0) {
            continue;
        }
        live.push_back(n);
    }
    ASSERT_EQ(live.size(), live_count) << "there is room for each, in its bucket or in its second";
    std::uint64_t admitted = 0;
    for (std::uint32_t n = 0; n < flood_count; ++n) {
        view.now = static_cast<__u16>(1000 + n / (flood_count / 50));
        sluice_flow_pair pair = numbered(0xc0000000U, n, protocol);
        admitted += sluice_flow_insert4(&view, &pair) == SLUICE_FLOW_INSERTED ? 1 : 0;
    }
    std::uint32_t kept = 0;
    for (const std::uint32_t n : live) {
        const sluice_flow_pair pair = numbered(0x0a000000U, n, protocol);
        sluice_flow_hit hit{};
        kept += sluice_flow_find(&view, &pair.forward, sluice_flow_hash(&view, &pair.forward, 0), &hit, 0) != 0 &&
                        sluice_flow_peer_lives(&view, &hit.meta, 0) != 0
                    ? 1
                    : 0;
    }
    std::printf("kept %u of %zu; %llu of the flood were admitted\n", kept, live.size(),
                static_cast<unsigned long long>(admitted));
    EXPECT_GE(kept, live.size() / 1000 * 999);
    EXPECT_GT(admitted, flood_count / 2U) << "who comes new is served all the same";
}

// A table of the default size that fills with connections, all of them in use: nobody is turned away while three tenths
// of it are taken.
TEST(FlowFlood, ConnectionsInUseFindRoom) {
    constexpr std::uint32_t kBuckets = SLUICE_FLOW_BUCKETS(SLUICE_FLOW_DEFAULT_FLOWS);
    constexpr std::uint32_t kStep = SLUICE_FLOW_DEFAULT_FLOWS / 10;
    Table table(kBuckets);
    std::uint32_t n = 0;
    for (std::uint32_t tenth = 1; tenth <= 5; ++tenth) {
        std::uint32_t refused = 0;
        for (std::uint32_t in = 0; in < kStep; ++n) {
            sluice_flow_pair pair = numbered(0x0a000000U, n, 6);
            pair.state = SLUICE_FLOW_ESTABLISHED;
            pair.fixed_port = 1;
            const bool inserted = table.insert(pair, false) == SLUICE_FLOW_INSERTED;
            in += inserted ? 1 : 0;
            refused += inserted ? 0 : 1;
        }
        std::printf("until %u tenths are taken: %u refused of %u\n", tenth, refused, kStep + refused);
        EXPECT_TRUE(tenth > 3 || refused == 0) << refused;
        EXPECT_LE(refused, kStep / 100);
    }
}

}  // namespace
}  // namespace sluice
