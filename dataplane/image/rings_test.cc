// Rings and source ranges as packets see them: what is published with what, what is shared, and
// what is freed.
#include "dataplane/image/rings.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "dataplane/image/test_image.h"

namespace sluice::image {
namespace {

Service hashed(int number, std::vector<Backend> backends, Choice choice = Choice::kTuple) {
    Service out = service(number, std::move(backends),
                          {cluster_ip(fmt::format("10.96.0.{}", number)),
                           external_ip(fmt::format("198.51.100.{}", number))});
    out.choice = choice;
    return out;
}

std::vector<Backend> some(int first, int count) {
    std::vector<Backend> out;
    for (int i = 0; i < count; ++i) {
        out.push_back(backend(first + i));
    }
    return out;
}

// Address of the backend for each of many points; empty if a point gives none.
std::vector<IpAddress> choices(const Image& image, std::uint64_t word) {
    const sluice_view view = view_of(image.tables());
    std::vector<IpAddress> out;
    for (std::uint32_t i = 0; i < 4096; ++i) {
        sluice_selection selection{};
        if (!sluice_select(&view, word, i << 20U, &selection)) {
            return {};
        }
        out.push_back(address_of(selection.address));
    }
    return out;
}

const sluice_ring* ring_in(const Image& image, std::uint64_t word) {
    const sluice_view view = view_of(image.tables());
    return word & SLUICE_WORD_RING ? sluice_ring_of(&view, word) : nullptr;
}

TEST(RingsTest, ChoiceAndWeightsDecideWhetherAndHowASetIsHashed) {
    Image image;
    const auto kind = [&](const Service& published) {
        image.upsert(published);
        const sluice_view view = view_of(image.tables());
        const sluice_match match = image.ask("10.96.0.1", 80);
        EXPECT_EQ(match.verdict, SLUICE_VERDICT_TRANSLATE);
        return std::pair((match.word & SLUICE_WORD_RING) != 0, sluice_hash_kind(&view, match.word));
    };
    using Kind = std::pair<bool, std::uint32_t>;
    EXPECT_EQ(kind(hashed(1, some(1, 3), Choice::kRandom)), Kind(false, SLUICE_RING_RANDOM));
    EXPECT_EQ(kind(hashed(1, some(1, 3), Choice::kTuple)), Kind(true, 0));
    EXPECT_EQ(kind(hashed(1, some(1, 3), Choice::kClient)), Kind(true, SLUICE_RING_CLIENT));
    auto weighted = some(1, 3);
    for (Backend& each : weighted) each.weight = 7;
    EXPECT_EQ(kind(hashed(1, weighted, Choice::kRandom)), Kind(false, SLUICE_RING_RANDOM));
    weighted[1].weight = 8;
    EXPECT_EQ(kind(hashed(1, weighted, Choice::kRandom)), Kind(true, SLUICE_RING_RANDOM));
}

TEST(RingsTest, WeightsShareOutTheFlows) {
    Image image;
    auto members = some(1, 3);
    members[0].weight = 1;
    members[1].weight = 2;
    members[2].weight = 5;
    image.upsert(hashed(1, members, Choice::kRandom));
    std::map<IpAddress, int> seen;
    for (const IpAddress& address : choices(image, image.ask("10.96.0.1", 80).word)) {
        ++seen[address];
    }
    ASSERT_EQ(seen.size(), 3U);
    EXPECT_NEAR(seen[members[0].address], 512, 60);
    EXPECT_NEAR(seen[members[1].address], 1024, 80);
    EXPECT_NEAR(seen[members[2].address], 2560, 100);
}

TEST(RingsTest, EqualSetsShareARingAcrossServicesAndKindsOfHash) {
    Image image;
    image.upsert(hashed(1, some(1, 5)));
    const auto lines = image.publisher().usage().ring_lines;
    EXPECT_GT(lines, 0U);
    image.upsert(hashed(2, some(1, 5)));
    image.upsert(hashed(3, some(1, 5), Choice::kClient));
    EXPECT_EQ(image.publisher().usage().ring_lines, lines);
    const auto first = image.ask("10.96.0.1", 80).word;
    const auto second = image.ask("10.96.0.2", 80).word;
    EXPECT_EQ(choices(image, first), choices(image, second));
    EXPECT_EQ(ring_in(image, first)->line, ring_in(image, second)->line);
    auto heavier = some(1, 5);
    heavier[0].weight = 2;
    image.upsert(hashed(4, heavier));
    EXPECT_GT(image.publisher().usage().ring_lines, lines) << "other weights are another ring";
    image.upsert(hashed(4, some(1, 5)));
    image.remove(hashed(1, {}).key);
    image.remove(hashed(2, {}).key);
    image.remove(hashed(4, {}).key);
    image.reclaim();
    EXPECT_EQ(image.publisher().usage().ring_lines, lines) << "one user is left";
    EXPECT_FALSE(choices(image, image.ask("10.96.0.3", 80).word).empty());
    image.remove(hashed(3, {}).key);
    image.reclaim();
    EXPECT_EQ(image.publisher().usage().ring_lines, 0U);
}

TEST(RingsTest, ARetiredRingIsNotOverwrittenBeforeTheGracePeriodEnds) {
    Image image;
    image.upsert(hashed(1, some(1, 5)));
    const auto before = image.ask("10.96.0.1", 80).word;
    const int growths = image.growths;
    const auto old = choices(image, before);
    // What a program holds that read the word just before.
    image.upsert(hashed(1, some(20, 5)));
    image.upsert(hashed(2, some(40, 5)));
    ASSERT_GE(image.growths, growths);
    EXPECT_EQ(choices(image, before), old);
}

// An engine waits for a grace period when enough is retired to be worth it: one large ring is.
TEST(RingsTest, ALargeRetiredRingCountsAsMuch) {
    Image image;
    image.upsert(hashed(1, some(1, 500)));
    image.reclaim();
    image.upsert(hashed(1, some(2, 500)));
    EXPECT_GE(image.publisher().retired_count(), 100U);
}

TEST(RingsTest, TheSameRingWhateverTheHistory) {
    Image straight;
    straight.upsert(hashed(1, some(1, 9)));
    Image winding;
    for (int count : {3, 12, 1, 7, 0, 9}) {
        winding.upsert(hashed(2, some(100, count)));
        winding.upsert(hashed(1, some(1, count)));
        if (count == 7) winding.reclaim();
    }
    EXPECT_EQ(choices(straight, straight.ask("10.96.0.1", 80).word),
              choices(winding, winding.ask("10.96.0.1", 80).word));
}

TEST(RingsTest, AChangeElsewhereInTheServiceKeepsTheWord) {
    Image image;
    Service one = hashed(1, some(1, 5));
    image.upsert(one);
    const auto word = image.ask("10.96.0.1", 80).word;
    one.affinity_timeout_s = 9;
    one.frontends.push_back(external_ip("198.51.100.99"));
    image.upsert(one);
    EXPECT_EQ(image.ask("10.96.0.1", 80).word, word);
}

TEST(SourcesTest, OnlyRestrictedFrontendsFollowTheRanges) {
    Image image;
    Service one = hashed(1, some(1, 2), Choice::kRandom);
    one.sources = {{ip("192.0.2.0"), ip("192.0.2.255")}, {ip("203.0.113.7"), ip("203.0.113.7")}};
    for (Frontend& frontend : one.frontends) frontend.restricted = frontend.external;
    image.upsert(one);
    const auto allowed = [&](const std::string& client) {
        const sluice_view view = view_of(image.tables());
        const sluice_match match = image.ask("198.51.100.1", 80);
        const sluice_address address = image_address(ip(client));
        EXPECT_TRUE(match.frontend_flags & SLUICE_FRONTEND_SOURCES);
        return sluice_source_allowed(&view, match.sources, &address) != 0;
    };
    EXPECT_EQ(image.ask("10.96.0.1", 80).sources, 0U);
    EXPECT_TRUE(allowed("192.0.2.0"));
    EXPECT_TRUE(allowed("192.0.2.255"));
    EXPECT_FALSE(allowed("192.0.3.0"));
    EXPECT_TRUE(allowed("203.0.113.7"));
    EXPECT_FALSE(allowed("203.0.113.8"));
    const auto held = image.ask("198.51.100.1", 80).sources;
    one.sources = {{ip("192.0.3.0"), ip("192.0.3.0")}};
    image.upsert(one);
    EXPECT_TRUE(allowed("192.0.3.0"));
    EXPECT_FALSE(allowed("192.0.2.0"));
    const sluice_view view = view_of(image.tables());
    const sluice_address client = image_address(ip("192.0.2.9"));
    EXPECT_TRUE(sluice_source_allowed(&view, held, &client)) << "who read the word before";
    one.sources.clear();
    for (Frontend& frontend : one.frontends) frontend.restricted = false;
    image.upsert(one);
    EXPECT_EQ(image.ask("198.51.100.1", 80).sources, 0U);
    EXPECT_FALSE(image.ask("198.51.100.1", 80).frontend_flags & SLUICE_FRONTEND_SOURCES);
    image.reclaim();
    EXPECT_EQ(image.publisher().usage().ranges, 0U);
}

TEST(SourcesTest, OfTwoEqualFrontendsTheRestrictedOneStands) {
    Image image;
    Service one = hashed(1, some(1, 2), Choice::kRandom);
    one.sources = {{ip("192.0.2.0"), ip("192.0.2.255")}};
    auto twin = external_ip("198.51.100.1");
    twin.restricted = true;
    one.frontends.push_back(twin);
    image.upsert(one);
    EXPECT_TRUE(image.ask("198.51.100.1", 80).frontend_flags & SLUICE_FRONTEND_SOURCES);
}

TEST(SourcesTest, BadRangesAndWeightsAreRefusedByName) {
    Image image;
    const auto message = [&](const Service& bad) {
        const auto result = image.publisher().upsert(bad);
        EXPECT_FALSE(result);
        EXPECT_EQ(result.error().code, Code::kInvalidArgument);
        EXPECT_NE(result.error().message.find("default/s1:http"), std::string::npos);
        return result.error().message;
    };
    const Service good = hashed(1, some(1, 2), Choice::kRandom);
    Service bad = good;
    bad.frontends[1].restricted = true;
    EXPECT_NE(message(bad).find("source ranges"), std::string::npos) << "no ranges at all";
    bad = good;
    bad.sources = {{ip("192.0.2.9"), ip("192.0.2.1")}};
    EXPECT_NE(message(bad).find("192.0.2.9"), std::string::npos);
    bad.sources = {{ip("fd00::1"), ip("fd00::2")}};
    EXPECT_NE(message(bad).find("family"), std::string::npos);
    bad.sources = {{ip("192.0.2.1"), ip("192.0.2.9")}, {ip("192.0.2.9"), ip("192.0.2.11")}};
    EXPECT_NE(message(bad).find("overlaps"), std::string::npos);
    bad = good;
    bad.internal.backends[0].weight = 0;
    EXPECT_NE(message(bad).find("weight 0"), std::string::npos);
    bad.internal.backends[0].weight = kMaxWeight + 1;
    EXPECT_NE(message(bad).find("weight 1001"), std::string::npos);
    EXPECT_EQ(image.publisher().usage().services, 0U);
}

TEST(SourcesTest, ForwardingIsInTheFrontendsFlags) {
    Image image;
    Service one = hashed(1, some(1, 2), Choice::kRandom);
    const auto flags = [&](Forwarding forwarding) {
        for (Frontend& frontend : one.frontends) {
            frontend.forwarding = frontend.external ? forwarding : Forwarding::kNat;
        }
        image.upsert(one);
        return image.ask("198.51.100.1", 80).frontend_flags & SLUICE_FRONTEND_DSR;
    };
    EXPECT_EQ(flags(Forwarding::kTunnel), std::uint32_t{SLUICE_FRONTEND_DSR_TUNNEL});
    EXPECT_EQ(flags(Forwarding::kOption), std::uint32_t{SLUICE_FRONTEND_DSR_OPTION});
    EXPECT_EQ(flags(Forwarding::kLink), std::uint32_t{SLUICE_FRONTEND_DSR_LINK});
    EXPECT_EQ(flags(Forwarding::kNat), 0U);
}

// One step of growth is enough for whatever did not fit.
TEST(SourcesTest, AFullTableOfRangesOrLinesSaysHowMuchIsNeeded) {
    Image image({}, Capacities{});
    Service one = hashed(1, some(1, 2), Choice::kRandom);
    for (unsigned i = 0; i < 200; ++i) {
        const auto address = IpAddress::from_v4_be(htonl(0x0a000000U + 2 * i));
        one.sources.push_back({address, address});
    }
    const auto before = image.publisher().usage();
    ASSERT_EQ(image.publisher().upsert(one).error().code, Code::kResourceExhausted);
    EXPECT_GE(image.publisher().wanted().ranges, 2 * 200U);
    EXPECT_EQ(image.answer("10.96.0.1", 80), kPass) << "nothing was published";
    EXPECT_EQ(image.publisher().usage().backends, before.backends);
    image.upsert(one);
    EXPECT_EQ(image.growths, 1);
    image.upsert(hashed(2, some(1, 500)));
    EXPECT_EQ(image.growths, 2) << "a ring of 65537 places in a table of 64 lines";
}

}  // namespace
}  // namespace sluice::image
