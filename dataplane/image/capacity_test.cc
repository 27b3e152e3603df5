// What 50,000 services with 250,000 endpoints cost: the tables' bytes in the kernel, and the
// publisher's in the agent.
#include <gtest/gtest.h>
#include <malloc.h>

#include <cstdio>

#include "dataplane/image/test_image.h"

namespace sluice::image {
namespace {

constexpr int kServices = 50'000;
constexpr int kEndpoints = 5;

// Names, addresses and ports as clusters have them: a quarter with NodePorts, a tenth with a second
// port.
std::vector<Service> large_cluster() {
    std::vector<Service> out;
    for (int i = 0; i < kServices; ++i) {
        const int ports = i % 10 == 0 ? 2 : 1;
        for (int port = 0; port < ports; ++port) {
            Service each;
            each.key = {fmt::format("team-{}/service-{}", i % 100, i),
                        port == 0 ? "http" : "metrics", Protocol::kTcp, IpFamily::kIpv4};
            each.port = port == 0 ? 80 : 9090;
            std::vector<Backend> backends;
            for (int k = 0; k < kEndpoints; ++k) {
                const auto number = static_cast<std::uint32_t>(i * kEndpoints + k);
                backends.push_back(
                    {IpAddress::from_v4_be(htonl(0x0a000000U + number)),
                     static_cast<std::uint16_t>(port == 0 ? 8080 : 9090), k == 0, false,
                     fmt::format("team-{}/service-{}-7d9c6b5f4-x{}z9k", i % 100, i, k), 1});
            }
            each.frontends.push_back(
                {IpAddress::from_v4_be(htonl(0x0b000000U + static_cast<std::uint32_t>(i))),
                 each.port, Scope::kAddress, false, false, false, Forwarding::kNat});
            each.internal.backends = backends;
            if (i % 4 == 0 && port == 0) {
                each.frontends.push_back({IpAddress{}, static_cast<std::uint16_t>(20000 + i / 4),
                                          Scope::kNodePort, true, true, false, Forwarding::kNat});
                each.external.backends = backends;
                each.inside.backends = backends;
            }
            std::sort(each.frontends.begin(), each.frontends.end());
            out.push_back(std::move(each));
        }
    }
    return out;
}

std::size_t bytes_of(const Capacities& capacities) {
    std::size_t sum = 0;
    for (const TableSpec& spec : table_specs(capacities)) {
        const std::size_t bytes = std::size_t{spec.value_size} * spec.entries;
        std::printf("%-16s %8u x %3u %9zu KB\n", spec.name, spec.entries, spec.value_size,
                    bytes / 1024);
        sum += bytes;
    }
    return sum;
}

TEST(CapacityTest, FiftyThousandServicesFitInNinetyMegabytesOfTables) {
    const auto services = large_cluster();
    Capacities least;
    least.counter_rows = 2;
    const Capacities capacities = capacities_for(usage_of({}, services), least);
    const std::size_t bytes = bytes_of(capacities);
    std::printf("tables: %zu MB\n", bytes >> 20U);
    EXPECT_LE(bytes, 90U << 20U);
    MemoryImage image(capacities);
    ASSERT_TRUE(write_header(image.tables(), capacities, HeaderFacts{{}, 1024, 29999, 77}, 2));
    const std::size_t before = mallinfo2().uordblks;
    Publisher publisher(image.tables(), Carried{});
    for (const Service& each : services) {
        const auto done = publisher.upsert(each);
        ASSERT_TRUE(done) << done.error().to_string();
    }
    const std::size_t held = mallinfo2().uordblks - before;
    std::printf("publisher: %zu MB\n", held >> 20U);
    // A seventh of what the agent may take as a whole.
    if (held != 0) {
        EXPECT_LE(held, 64U << 20U);
    }
    const Usage usage = publisher.usage();
    EXPECT_EQ(usage.services, services.size());
    EXPECT_GE(usage.backends, std::size_t{kServices} * kEndpoints);
    // A rolling restart of a tenth needs no growth.
    int restarted = 0;
    for (Service each : services) {
        if (++restarted % 10 != 0) continue;
        for (BackendSet* set : {&each.internal, &each.external, &each.inside}) {
            if (!set->backends.empty()) set->backends.back().port = 8099;
        }
        const auto done = publisher.upsert(each);
        ASSERT_TRUE(done) << done.error().to_string();
    }
}

TEST(CapacityTest, RoomIsForHalfOrAQuarterMoreAndNeverLess) {
    for (const std::size_t used :
         {0U, 1U, 7U, 100U, 1000U, 10'000U, 65'537U, 250'000U, 1'000'000U}) {
        Usage usage;
        usage.backends = used;
        usage.name_bytes = used * 8;
        Capacities least;
        least.backends = 8;
        const Capacities out = capacities_for(usage, least);
        EXPECT_TRUE(out.within_limits()) << used;
        EXPECT_GE(out.backends, used + used / 4);
        EXPECT_LE(out.backends, std::max<std::size_t>(2 * used + used, 8)) << used;
    }
    Usage usage;
    usage.backends = 250'000;
    EXPECT_LE(capacities_for(usage, Capacities{}).backends, 360'000U);
}

}  // namespace
}  // namespace sluice::image
