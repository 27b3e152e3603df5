// State walks: whatever objects came and went in whatever order, the image is what a fresh compile
// of the present objects into a fresh image gives: frontends, sets in order, rings place for place,
// source ranges, what empty sets say.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <set>

#include "dataplane/image/test_image.h"
#include "tests/walks/objects.h"

namespace sluice::walks {
namespace {

using image::Image;
using image::Tables;

constexpr int kSequences = 1000;
// So many sequences share one state and one image, whose tables then have a past.
constexpr int kSequencesInAWorld = 25;

std::string address(const sluice_address& from) {
    return image::address_of(from).to_string();
}

// A word: the set in order with its ring, or what its emptiness means.
std::string word_text(const Tables& tables, std::uint64_t word, std::set<std::uint32_t>& rings) {
    const sluice_view view = image::view_of(tables);
    if (sluice_word_count(word) == 0) {
        return sluice_word_first(word) == SLUICE_EMPTY_DROP ? "drop" : "refuse";
    }
    std::string out;
    for (const sluice_backend& member : image::read_set(tables, word)) {
        EXPECT_EQ(member.incarnation % 2, 1U) << "a set names a backend that is free";
        out += fmt::format(" {}:{}/{:x}/{}", address(member.address), ntohs(member.port_be),
                           member.flags, image::read_name(tables, member.name));
    }
    if (word & SLUICE_WORD_RING) {
        const sluice_ring* ring = sluice_ring_of(&view, word);
        EXPECT_NE(ring, nullptr);
        if (ring == nullptr) return out;
        rings.insert(ring->line);
        std::uint64_t digest = 0;
        constexpr std::uint64_t kPoints = 1024;
        for (std::uint64_t point = 0; point < kPoints; ++point) {
            const std::uint32_t at =
                sluice_ring_at(&view, ring, static_cast<std::uint32_t>(point << 22U));
            EXPECT_LT(at, sluice_word_count(word)) << "a place of a ring outside of its set";
            digest = (digest ^ at) * 0x100000001b3ULL;
        }
        out += fmt::format(" ring {:x} {:x}", ring->size, digest);
    }
    return out;
}

// All that an image says, but for indices, generations and seeds. Sorted.
std::vector<std::string> read_back(const Tables& tables) {
    const sluice_view view = image::view_of(tables);
    std::vector<std::string> out;
    std::set<std::uint32_t> rings;
    for (std::uint32_t i = 0; i < tables.header->bucket_count; ++i) {
        for (const auto slot : tables.buckets[i].slot) {
            if (slot == 0) continue;
            const sluice_frontend* frontend =
                sluice_view_frontend(&view, static_cast<std::uint32_t>(slot >> 32U));
            EXPECT_NE(frontend, nullptr);
            if (frontend == nullptr) continue;
            const sluice_frontend_key& key = frontend->key;
            std::string line =
                fmt::format("front {} {}/{} scope {} flags {:x}", address(key.address),
                            ntohs(key.port_be), key.protocol, key.scope, frontend->flags);
            if (key.port_be != 0) {
                const sluice_service* service = sluice_view_service(&view, frontend->service);
                EXPECT_TRUE(service != nullptr && service->flags & SLUICE_SERVICE_IN_USE);
                if (service == nullptr) continue;
                line += " -> " + image::read_name(tables, service->name) +
                        fmt::format("/{}/{}", service->protocol, service->family);
            }
            out.push_back(std::move(line));
        }
    }
    for (std::uint32_t i = 0; i < tables.header->service_capacity; ++i) {
        const sluice_service& service = tables.services[i];
        if (!(service.flags & SLUICE_SERVICE_IN_USE)) continue;
        std::string line = fmt::format(
            "service {}/{}/{} port {} affinity {}", image::read_name(tables, service.name),
            service.protocol, service.family, ntohs(service.port_be), service.affinity_timeout_s);
        for (const auto word : service.word) line += " |" + word_text(tables, word, rings);
        line += " | sources";
        for (std::uint32_t range = 0; range < sluice_word_count(service.sources); ++range) {
            const sluice_range* each =
                sluice_view_range(&view, sluice_word_first(service.sources) + range);
            EXPECT_NE(each, nullptr);
            if (each == nullptr) break;
            line += fmt::format(" {}-{}", address(each->first), address(each->last));
        }
        out.push_back(std::move(line));
    }
    out.push_back(fmt::format("rings {}", rings.size()));
    std::sort(out.begin(), out.end());
    return out;
}

// What is held must be equal too, or something leaks.
std::string usage_text(const image::Usage& usage) {
    return fmt::format("services {} frontends {} backends {} slots {} names {} lines {} ranges {}",
                       usage.services, usage.frontends, usage.backends, usage.set_slots,
                       usage.name_bytes, usage.ring_lines, usage.ranges);
}

void apply(const image::Change& change, Image& image) {
    for (const image::Service& each : change.upserts) image.upsert(each);
    for (const image::ServiceKey& key : change.removals) image.remove(key);
}

std::vector<IpAddress> node_addresses(Maker& maker) {
    std::vector<IpAddress> out;
    for (int i = 1; i <= 3; ++i) {
        if (maker.one_in(2)) out.push_back(image::ip(fmt::format("192.0.2.{}", i)));
    }
    // Also one that services use as an external address.
    if (maker.one_in(3)) out.push_back(image::ip("198.51.100.2"));
    return out;
}

TEST(Walks, EverySequenceOfChangesEndsAsAFreshCompile) {
    const char* given = std::getenv("SLUICE_SEED");
    const std::uint64_t seed = given ? std::strtoull(given, nullptr, 10) : std::random_device{}();
    std::printf("SLUICE_SEED=%llu\n", static_cast<unsigned long long>(seed));
    Maker maker(seed);
    std::size_t upserts = 0;
    std::size_t hashed = 0;
    std::size_t restricted = 0;
    int growths = 0;
    for (int world = 0; world < kSequences / kSequencesInAWorld; ++world) {
        Objects objects;
        compile::State state("n1");
        Image walked;
        std::vector<IpAddress> addresses;
        for (int sequence = 0; sequence < kSequencesInAWorld; ++sequence) {
            SCOPED_TRACE(fmt::format("seed {}, world {}, sequence {}", seed, world, sequence));
            for (int step = 1 + maker.below(25); step > 0; --step) {
                maker.change(objects, state);
                if (maker.one_in(3)) {
                    const auto progress = state.take();
                    upserts += progress.change.upserts.size();
                    apply(progress.change, walked);
                }
                if (maker.one_in(6)) walked.reclaim();
                if (maker.one_in(10)) {
                    addresses = node_addresses(maker);
                    walked.must([&] { return walked.publisher().set_node_addresses(addresses); });
                }
            }
            apply(state.take().change, walked);
            walked.reclaim();

            compile::State present("n1");
            maker.tell_all(objects, present);
            Image fresh({}, image::Capacities{});
            apply(present.take().change, fresh);
            fresh.must([&] { return fresh.publisher().set_node_addresses(addresses); });
            for (const image::Service& each : present.all()) {
                hashed += each.choice != image::Choice::kRandom ? 1 : 0;
                restricted += each.sources.empty() ? 0 : 1;
            }
            ASSERT_EQ(read_back(walked.tables()), read_back(fresh.tables()));
            ASSERT_EQ(usage_text(walked.publisher().usage()),
                      usage_text(fresh.publisher().usage()));
        }
        growths += walked.growths;
    }
    std::printf("%zu upserts, %d growths, %zu hashed and %zu restricted services seen\n", upserts,
                growths, hashed, restricted);
    EXPECT_GT(growths, kSequences / kSequencesInAWorld);
}

}  // namespace
}  // namespace sluice::walks
