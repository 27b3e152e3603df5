// Which lcore any frame belongs to, and what it does there: nothing outside of the frame is read, the same frame is the
// same lcore's, and where a packet was translated the answer comes to the lcore that has its flow. The input: a byte
// that says by which interface and how many lcores there are, two the length of a frame, then the frame; again
// until the end. Pods, other nodes and the world outside reach services of three protocols and both families.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>

#include "dataplane/dpdk/pipeline/dispatch.h"
#include "dataplane/dpdk/pipeline/test_world.h"

namespace {

using namespace sluice;
using namespace sluice::dpdk;

constexpr std::size_t kMostLcores = 8;
constexpr std::size_t kMostFrames = 32;
constexpr std::size_t kMostBytes = 2048;

void check(bool condition) {
    if (!condition) std::abort();
}

image::Service service_of(bool v6, Protocol protocol) {
    image::Service out;
    out.key = {"default/web", "", protocol, v6 ? IpFamily::kIpv6 : IpFamily::kIpv4};
    out.port = 80;
    const IpAddress any = v6 ? IpAddress{} : IpAddress::from_v4_be(0);
    out.frontends = {{ip_of(v6 ? "fd00::10" : "10.96.0.10"), 80, image::Scope::kAddress, false, false, false,
                      image::Forwarding::kNat},
                     {any, 30080, image::Scope::kNodePort, true, true, false, image::Forwarding::kNat}};
    std::sort(out.frontends.begin(), out.frontends.end());
    for (const char* backend : {v6 ? "fd02::9" : "10.244.2.9", v6 ? "fd03::9" : "10.244.3.9"}) {
        out.internal.backends.push_back({ip_of(backend), 8080, false, false, ""});
    }
    out.external = out.internal;
    out.inside = out.internal;
    return out;
}

std::uint32_t lcore_for(World& world, std::span<const FlowMemory> tables, std::span<const std::uint8_t> bytes) {
    // Of the exact size, so that the sanitizer sees a byte too far.
    const std::unique_ptr<std::uint8_t[]> memory(new std::uint8_t[bytes.size()]);
    std::copy(bytes.begin(), bytes.end(), memory.get());
    Frame frame;
    frame.data = memory.get();
    frame.length = static_cast<std::uint32_t>(bytes.size());
    const auto lcores = static_cast<std::uint32_t>(tables.size());
    const std::uint32_t lcore = lcore_of(frame, world.tables(), world.shared(), lcores, {tables, world.now});
    check(lcore < lcores);
    check(lcore == lcore_of(frame, world.tables(), world.shared(), lcores, {tables, world.now}));
    return lcore;
}

// The tuple turned round, in a frame without tags; empty if it is no whole packet with ports.
Bytes answer_to(const Bytes& frame) {
    Bytes out = frame;
    const bool v4 = frame.size() >= 34 && frame[12] == 0x08 && frame[13] == 0x00;
    const bool v6 = frame.size() >= 54 && frame[12] == 0x86 && frame[13] == 0xdd;
    if (!v4 && !v6) return {};
    const std::size_t l3 = 14;
    const std::size_t l4 = l3 + (v4 ? (frame[l3] & 15U) * 4U : 40U);
    const std::uint8_t protocol = frame[v4 ? l3 + 9 : l3 + 6];
    const bool ports = protocol == 6 || protocol == 17 || protocol == 132;
    const bool fragment = v4 && ((frame[l3 + 6] & 0x3fU) != 0 || frame[l3 + 7] != 0);
    if (!ports || fragment || frame.size() < l4 + 4) return {};
    const std::size_t source = v4 ? l3 + 12 : l3 + 8;
    const auto at = [&](std::size_t offset) { return out.begin() + static_cast<std::ptrdiff_t>(offset); };
    const std::size_t width = v4 ? 4 : 16;
    std::swap_ranges(at(source), at(source + width), at(source + width));
    std::swap_ranges(at(l4), at(l4 + 2), at(l4 + 2));
    return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::span<const std::uint8_t> rest(data, size);
    if (rest.empty()) return 0;
    const std::uint32_t lcores = 1 + rest[0] % kMostLcores;
    rest = rest.subspan(1);
    World world(lcores, world_node(), 64);
    for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp, Protocol::kSctp}) {
        world.upsert(service_of(false, protocol));
        world.upsert(service_of(true, protocol));
    }
    std::vector<FlowMemory> tables;
    for (std::uint32_t i = 0; i < lcores; ++i) tables.push_back(world.memory(i));
    for (std::size_t frames = 0; frames < kMostFrames && rest.size() >= 3; ++frames) {
        const std::uint8_t how = rest[0];
        const std::size_t wanted = rest[1] | std::size_t{rest[2]} << 8U;
        const auto bytes = rest.subspan(3, std::min({wanted, rest.size() - 3, kMostBytes}));
        rest = rest.subspan(3 + bytes.size());
        const std::uint32_t lcore = lcore_for(world, tables, bytes);
        const bool pod = (how & 1U) != 0;
        const Bytes frame(bytes.begin(), bytes.end());
        const dpdk::Outcome out = world.run(frame, pod ? kPods : kUplink, (how & 2U) != 0, lcore);
        check(out.verdict == Verdict::kDrop || !out.frame.empty() || frame.empty());
        if (out.verdict != Verdict::kForward || out.out == kTagged) continue;
        if (const Bytes answer = answer_to(out.frame); !answer.empty()) {
            check(lcore_for(world, tables, answer) == lcore);
        }
        if ((how & 4U) != 0) ++world.now.tick;
    }
    return 0;
}
