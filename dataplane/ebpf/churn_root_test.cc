// Many changes: memory of the process, kernel maps and descriptors must not grow with their number. SLUICE_CHANGES says
// how many; a million by scripts/soak-changes.
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "dataplane/ebpf/kernel_image.h"
#include "dataplane/ebpf/test_engine.h"

namespace sluice::dataplane {
namespace {

constexpr long kChanges = 40000;
constexpr std::size_t kBusyDescriptors = 64;

long resident_kb() {
    std::ifstream in("/proc/self/statm");
    long size = 0;
    long resident = 0;
    in >> size >> resident;
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

class ChurnTest : public EngineFixture {};

TEST_F(ChurnTest, ChangesLeaveNothingBehind) {
    const char* asked = std::getenv("SLUICE_CHANGES");
    const long changes = asked != nullptr ? std::atol(asked) : kChanges;
    const EchoServer one("127.0.0.1", 1);
    const EchoServer two("127.0.0.2", 2);
    const auto web = make_service("web", Protocol::kTcp, "10.96.0.1", 80, {one.backend()});
    start({web});
    long after_warm_up = 0;
    std::uint64_t kernel = 0;
    std::size_t descriptors = 0;
    std::string directory;
    for (long i = 0; i < changes; ++i) {
        // Both protocols, names and addresses of their own, one backend or two, and a removal for each.
        const auto number = static_cast<int>(i % 200);
        const auto service = make_service(
            fmt::format("s{}", i), i % 2 == 0 ? Protocol::kTcp : Protocol::kUdp,
            fmt::format("10.96.1.{}", 1 + number), static_cast<std::uint16_t>(1 + i % 60000),
            i % 3 == 0 ? std::vector{one.backend()} : std::vector{one.backend(), two.backend()});
        apply({{service}, {}});
        apply({{}, {service.key}});
        engine->reclaim();
        if (i == changes / 4) {
            after_warm_up = resident_kb();
            directory = *current_image(paths());
            kernel = pinned_map_bytes(directory) + pinned_map_bytes(paths().state);
            descriptors = list_directory("/proc/self/fd").size();
        }
    }
    EXPECT_LT(resident_kb(), after_warm_up + 4096) << "KiB";
    EXPECT_EQ(*current_image(paths()), directory) << "the image had no need to grow any more";
    EXPECT_EQ(pinned_map_bytes(directory) + pinned_map_bytes(paths().state), kernel);
    // The thread that looks for sockets of departed backends may be at it at either moment, in a namespace or two.
    EXPECT_LE(list_directory("/proc/self/fd").size(), descriptors + kBusyDescriptors);
    EXPECT_EQ(engine->status().services, 1U);
    EXPECT_EQ(tcp_reach(AF_INET, "10.96.0.1", 80).number, '1');
}

}  // namespace
}  // namespace sluice::dataplane
