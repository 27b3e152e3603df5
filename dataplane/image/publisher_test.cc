// The publisher against a plain model: whatever the order of changes, what bpf/lib finds in the
// image is what the present services say, and nothing leaks.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "dataplane/image/test_image.h"

namespace sluice::image {
namespace {

TEST(PublisherTest, FindsTranslatesRefusesAndDropsInOrder) {
    Node node;
    node.nodeport_addresses = {ip("127.0.0.1"), ip("192.0.2.1"), ip("2001:db8::1")};
    node.service_cidrs = {IpPrefix::parse("10.96.0.0/16").value()};
    Image image(node);
    image.upsert(service(1, {backend(1)}, {cluster_ip("10.96.0.1"), node_port(30080)}));
    auto local = service(2, {}, {cluster_ip("10.96.0.2")});
    local.internal.when_empty_drop = true;
    image.upsert(local);
    image.upsert(service(3, {}, {cluster_ip("10.96.0.3")}));
    EXPECT_EQ(image.answer("10.96.0.1", 80), "default/s1:http: 10.0.0.2:8080");
    EXPECT_EQ(image.answer("10.96.0.1", 81), refused(SLUICE_DROP_PORT_NOT_SERVED));
    EXPECT_EQ(image.answer("10.96.0.1", 80, Protocol::kUdp), refused(SLUICE_DROP_PORT_NOT_SERVED));
    EXPECT_EQ(image.answer("10.96.0.2", 80), dropped(SLUICE_DROP_NO_LOCAL_ENDPOINT));
    EXPECT_EQ(image.answer("10.96.0.3", 80), refused(SLUICE_DROP_NO_ENDPOINT));
    EXPECT_EQ(image.answer("10.96.9.9", 80), dropped(SLUICE_DROP_UNALLOCATED));
    EXPECT_EQ(image.answer("192.0.2.1", 30080), "default/s1:http: 10.0.0.2:8080");
    EXPECT_EQ(image.answer("192.0.2.1", 22), kPass) << "the host's own port";
    EXPECT_EQ(image.answer("2001:db8::1", 30080), kPass) << "the NodePort is IPv4's";
    EXPECT_EQ(image.answer("127.0.0.1", 30080), kPass) << "never on loopback";
    EXPECT_EQ(image.answer("198.51.100.1", 80), kPass);
    EXPECT_EQ(image.answer("10.97.0.1", 80), kPass);
}

TEST(PublisherTest, ExternalAddressesAreNotOwnedAsAWhole) {
    Image image;
    image.upsert(service(1, {backend(1)}, {cluster_ip("10.96.0.1"), external_ip("198.51.100.7")}));
    EXPECT_EQ(image.answer("198.51.100.7", 80), "default/s1:http: 10.0.0.2:8080");
    EXPECT_EQ(image.answer("198.51.100.7", 22), kPass);
    const sluice_match match = image.ask("198.51.100.7", 80);
    EXPECT_EQ(match.frontend_flags,
              std::uint32_t{SLUICE_FRONTEND_EXTERNAL | SLUICE_FRONTEND_MASQUERADE});
}

// The filter may err in one direction only (every ask() checks the other), and not often.
TEST(PublisherTest, FilterKnowsMostStrangers) {
    Node node;
    node.service_cidrs = {IpPrefix::parse("10.96.0.0/16").value()};
    Image image(node);
    constexpr int kServices = 2000;
    for (int i = 0; i < kServices; ++i) {
        const std::string tail = fmt::format("{}.{}", i / 250, 1 + i % 250);
        image.upsert(service(i, {backend(1)},
                             {cluster_ip("172.16." + tail), external_ip("198.18." + tail)}));
    }
    EXPECT_GT(image.growths, 0) << "successors must carry the filter";
    const sluice_view view = view_of(image.tables());
    int taken = 0;
    for (int i = 0; i < kServices; ++i) {
        const std::string tail = fmt::format("{}.{}", i / 250, 1 + i % 250);
        EXPECT_NE(image.answer("172.16." + tail, 80), kPass);
        EXPECT_NE(image.answer("198.18." + tail, 80), kPass);
        const sluice_address stranger = image_address(ip("203.0." + tail));
        taken += sluice_may_be_ours(&view, &stranger);
    }
    EXPECT_LT(taken, kServices / 100);
    const sluice_address unallocated = image_address(ip("10.96.77.77"));
    EXPECT_EQ(sluice_may_be_ours(&view, &unallocated), 1);
}

// XDP looks at nothing else before it leaves a frame alone, and answers come to this address.
TEST(PublisherTest, FilterKnowsWhereMasqueradedClientsAreAnswered) {
    Node node;
    node.masquerade_v4 = ip("192.0.2.1");
    node.masquerade_v6 = ip("2001:db8::1");
    Image image(node);
    const auto known = [&](const char* address) {
        const sluice_view view = view_of(image.tables());
        const sluice_address at = image_address(ip(address));
        return sluice_may_be_ours(&view, &at);
    };
    EXPECT_EQ(known("192.0.2.1"), 1);
    EXPECT_EQ(known("2001:db8::1"), 1);
    EXPECT_EQ(known("192.0.2.2"), 0);
    for (int i = 0; i < 2000; ++i) {
        image.upsert(service(i, {backend(1)}, {cluster_ip(fmt::format("172.16.{}.{}", i / 250, i % 250))}));
    }
    EXPECT_GT(image.growths, 0);
    EXPECT_EQ(known("192.0.2.1"), 1);
}

TEST(PublisherTest, InternalAndExternalSetsAreSeparateAndSharedWhenEqual) {
    Image image;
    auto split = service(1, {backend(1), backend(2)},
                         {cluster_ip("10.96.0.1"), external_ip("198.51.100.7")});
    image.upsert(split);
    EXPECT_EQ(image.publisher().usage().set_slots, 2U) << "equal sets share one run";
    split.external.backends = {backend(2), backend(3)};
    image.upsert(split);
    EXPECT_EQ(image.answer("10.96.0.1", 80), "default/s1:http: 10.0.0.2:8080 10.0.0.3:8080");
    EXPECT_EQ(image.answer("198.51.100.7", 80), "default/s1:http: 10.0.0.3:8080 10.0.0.4:8080");
    EXPECT_EQ(image.publisher().usage().backends, 3U);
}

TEST(PublisherTest, BackendKeepsIndexAndIncarnationWhileItServes) {
    Image image;
    const auto both = service(1, {backend(1), backend(2)}, {cluster_ip("10.96.0.1")});
    image.upsert(both);
    const auto find = [&](const char* address) -> std::pair<std::uint32_t, std::uint32_t> {
        for (std::uint32_t i = 0; i < image.tables().header->backend_capacity; ++i) {
            const auto& record = image.tables().backends[i];
            if (address_of(record.address) == ip(address)) return {i, record.incarnation};
        }
        return {~0U, 0};
    };
    const auto one = find("10.0.0.2");
    const auto two = find("10.0.0.3");
    image.upsert(service(1, {backend(1), backend(3)}, {cluster_ip("10.96.0.1")}));
    EXPECT_EQ(find("10.0.0.2"), one);
    const sluice_view view = view_of(image.tables());
    EXPECT_TRUE(sluice_backend_serves(&view, one.first, one.second));
    EXPECT_FALSE(sluice_backend_serves(&view, two.first, two.second));
    image.reclaim();
    image.upsert(both);
    const auto again = find("10.0.0.3");
    EXPECT_TRUE(again.first != two.first || again.second != two.second)
        << "a flow must not take the new life for the old";
}

TEST(PublisherTest, ContestedFrontendGoesToTheFirstByNameWhateverTheOrder) {
    for (const bool first_first : {true, false}) {
        Image image;
        const auto one = service(1, {backend(1)}, {external_ip("198.51.100.7")});
        const auto two = service(2, {backend(2)}, {external_ip("198.51.100.7")});
        image.upsert(first_first ? one : two);
        image.upsert(first_first ? two : one);
        EXPECT_EQ(image.answer("198.51.100.7", 80), "default/s1:http: 10.0.0.2:8080");
        image.remove(one.key);
        EXPECT_EQ(image.answer("198.51.100.7", 80), "default/s2:http: 10.0.0.3:8080");
        image.remove(two.key);
        EXPECT_EQ(image.answer("198.51.100.7", 80), kPass);
    }
}

TEST(PublisherTest, RefusesBadServicesWithTheFieldNamed) {
    Image image;
    auto bad = service(1, {backend(1)}, {cluster_ip("10.96.0.1", 0)});
    auto result = image.publisher().upsert(bad);
    ASSERT_FALSE(result);
    EXPECT_NE(result.error().message.find("default/s1:http"), std::string::npos);
    EXPECT_NE(result.error().message.find("port 0"), std::string::npos);
    bad = service(1, {backend(1), backend(1)}, {cluster_ip("10.96.0.1")});
    EXPECT_FALSE(image.publisher().upsert(bad)) << "a backend twice";
    bad = service(1, {backend(1)}, {cluster_ip("fd00::1")});
    EXPECT_FALSE(image.publisher().upsert(bad)) << "another family";
    EXPECT_EQ(image.publisher().usage().services, 0U);
    EXPECT_EQ(image.answer("10.96.0.1", 80), kPass);
}

TEST(PublisherTest, AFullTableChangesNothing) {
    Image image;
    std::vector<Backend> many;
    for (int i = 0; i < 9; ++i) many.push_back(backend(i));
    image.upsert(service(1, {backend(1)}, {cluster_ip("10.96.0.1")}));
    image.reclaim();
    const auto before = image.publisher().usage();
    const auto done = image.publisher().upsert(service(1, many, {cluster_ip("10.96.0.1")}));
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, Code::kResourceExhausted);
    EXPECT_EQ(image.publisher().wanted().backends, 16U);
    EXPECT_EQ(image.answer("10.96.0.1", 80), "default/s1:http: 10.0.0.2:8080");
    EXPECT_EQ(image.publisher().usage().set_slots, before.set_slots);
    EXPECT_EQ(image.publisher().usage().name_bytes, before.name_bytes);
}

TEST(PublisherTest, SuccessorKeepsIndicesOfWhatStays) {
    Image former;
    former.upsert(service(1, {backend(1), backend(2)}, {cluster_ip("10.96.0.1")}));
    former.upsert(service(2, {backend(3)}, {cluster_ip("10.96.0.2")}));
    const Carried carried = Carried::from(former.tables());
    MemoryImage next(capacities_of(*former.tables().header));
    ASSERT_TRUE(write_header(next.tables(), capacities_of(*former.tables().header),
                             HeaderFacts{{}, 1, 2, 77}, 4));
    Publisher publisher(next.tables(), carried);
    ASSERT_TRUE(publisher.upsert(service(2, {backend(3), backend(4)}, {cluster_ip("10.96.0.2")})));
    publisher.finish_carrying();
    const sluice_view view = view_of(next.tables());
    for (std::uint32_t i = 0; i < former.tables().header->backend_capacity; ++i) {
        const sluice_backend& old = former.tables().backends[i];
        if (old.incarnation % 2 == 0) continue;
        const bool stays = address_of(old.address) == ip("10.0.0.4");
        EXPECT_EQ(sluice_backend_serves(&view, i, old.incarnation) != 0, stays);
    }
    EXPECT_TRUE(publisher.carried_services()[1]);
    EXPECT_FALSE(publisher.carried_services()[0]);
}

TEST(PublisherTest, ChoiceIsUniform) {
    Image image;
    image.upsert(service(1, {backend(1), backend(2), backend(3)}, {cluster_ip("10.96.0.1")}));
    const sluice_view view = view_of(image.tables());
    const sluice_match match = image.ask("10.96.0.1", 80);
    std::map<std::uint32_t, int> seen;
    std::mt19937 random(7);
    constexpr int kDraws = 30000;
    for (int i = 0; i < kDraws; ++i) {
        sluice_selection selection{};
        ASSERT_TRUE(
            sluice_select(&view, match.word, static_cast<std::uint32_t>(random()), &selection));
        ++seen[selection.backend];
    }
    ASSERT_EQ(seen.size(), 3U);
    for (const auto& [index, count] : seen) {
        EXPECT_NEAR(count, kDraws / 3, 500);
    }
}

// Any walk: the state after each step depends on the services present, not on how they came to be.
TEST(PublisherTest, RandomWalksEndWhereTheModelSays) {
    for (unsigned seed = 1; seed <= 12; ++seed) {
        SCOPED_TRACE(fmt::format("seed {}", seed));
        std::mt19937 random(seed);
        const auto below = [&](int bound) {
            return static_cast<int>(random() % static_cast<unsigned>(bound));
        };
        Image image;
        std::map<int, Service> model;
        constexpr int kServices = 40;
        constexpr int kShared = 6;
        for (int step = 0; step < 600; ++step) {
            const int number = below(kServices);
            if (below(4) == 0) {
                image.remove(service(number, {}, {}).key);
                model.erase(number);
            } else {
                std::set<int> members;
                for (int i = below(9); i > 0; --i) members.insert(below(60));
                std::vector<Backend> backends;
                for (const int member : members) backends.push_back(backend(member));
                std::vector<Frontend> frontends = {
                    cluster_ip(fmt::format("10.96.0.{}", 1 + number))};
                if (below(2))
                    frontends.push_back(cluster_ip(fmt::format("10.96.0.{}", 1 + number), 443));
                if (below(2)) {
                    frontends.push_back(
                        external_ip(fmt::format("198.51.100.{}", 1 + below(kShared))));
                }
                Service next = service(number, backends, frontends);
                if (below(3) == 0) next.external.backends.resize(next.external.backends.size() / 2);
                next.internal.when_empty_drop = below(2) == 0;
                next.choice = static_cast<Choice>(below(3));
                if (below(3) == 0) {
                    next.sources = {{ip("192.0.2.0"), ip("192.0.2.9")}};
                    for (Frontend& frontend : next.frontends) {
                        frontend.restricted = frontend.external;
                    }
                }
                image.upsert(next);
                model[number] = next;
            }
            if (below(5) == 0) image.reclaim();
        }
        image.reclaim();
        const auto expected_set = [](const Service& from, const BackendSet& set) {
            if (set.backends.empty()) {
                return set.when_empty_drop ? dropped(SLUICE_DROP_NO_LOCAL_ENDPOINT)
                                           : refused(SLUICE_DROP_NO_ENDPOINT);
            }
            std::string out = from.key.display() + ":";
            for (const Backend& member : set.backends) {
                out += fmt::format(" {}:{}", member.address.to_string(), member.port);
            }
            return out;
        };
        std::size_t backends = 0;
        for (int number = 0; number < kServices; ++number) {
            const std::string address = fmt::format("10.96.0.{}", 1 + number);
            const auto found = model.find(number);
            if (found == model.end()) {
                EXPECT_EQ(image.answer(address, 80), kPass);
                continue;
            }
            const Service& present = found->second;
            EXPECT_EQ(image.answer(address, 80), expected_set(present, present.internal));
            const bool second = std::any_of(present.frontends.begin(), present.frontends.end(),
                                            [](const Frontend& f) { return f.port == 443; });
            EXPECT_EQ(image.answer(address, 443), second ? expected_set(present, present.internal)
                                                         : refused(SLUICE_DROP_PORT_NOT_SERVED));
            backends += present.internal.backends.size();
        }
        for (int i = 1; i <= kShared; ++i) {
            const IpAddress address = ip(fmt::format("198.51.100.{}", i));
            const Service* owner = nullptr;
            for (const auto& [number, present] : model) {
                const bool claims = std::any_of(
                    present.frontends.begin(), present.frontends.end(),
                    [&](const Frontend& frontend) { return frontend.address == address; });
                if (claims && (owner == nullptr || present.key < owner->key)) owner = &present;
            }
            EXPECT_EQ(image.answer(address.to_string(), 80),
                      owner == nullptr ? kPass : expected_set(*owner, owner->external));
        }
        EXPECT_EQ(image.publisher().usage().backends, backends);
        EXPECT_GT(image.growths, 3);
        // Nothing leaks: without services every table is empty again but for the empty name.
        for (const auto& [number, present] : model) image.remove(present.key);
        image.reclaim();
        const Usage usage = image.publisher().usage();
        EXPECT_EQ(usage.services + usage.frontends + usage.backends + usage.set_slots +
                      usage.ring_lines + usage.ranges,
                  0U);
        EXPECT_EQ(usage.name_bytes, 8U);
        for (std::uint32_t i = 0; i < image.tables().header->bucket_count; ++i) {
            for (const auto slot : image.tables().buckets[i].slot) EXPECT_EQ(slot, 0U);
        }
    }
}

}  // namespace
}  // namespace sluice::image
