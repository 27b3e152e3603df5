// Whatever a station sends as ARP or ND: nothing is read or written beyond the frame, an answer is
// well-formed, and the resolver stays within its limits. The input: one byte says by which
// interface and with how much room behind, two the length of a frame, then the frame; again until
// the end. Between two frames time passes.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "dataplane/dpdk/routing/announced.h"
#include "dataplane/dpdk/routing/discovery.h"
#include "dataplane/dpdk/routing/resolver.h"
#include "dataplane/dpdk/routing/responder.h"
#include "dataplane/dpdk/routing/test_routing.h"

namespace {

using namespace sluice::dpdk;

void must(bool condition) {
    if (!condition) std::abort();
}

void one_frame(std::span<const std::uint8_t> bytes, std::uint8_t how,
               const std::vector<Interface>& interfaces, Responder& responder, Resolver& resolver,
               Milliseconds now) {
    // Of the exact size, so that the sanitizer sees a byte too far.
    const std::size_t tailroom = how >> 4U;
    const std::unique_ptr<std::uint8_t[]> memory(new std::uint8_t[bytes.size() + tailroom]);
    std::copy(bytes.begin(), bytes.end(), memory.get());
    Frame frame;
    frame.data = memory.get();
    frame.length = static_cast<std::uint32_t>(bytes.size());
    frame.tailroom = static_cast<std::uint16_t>(tailroom);
    frame.interface = how & 1U;
    const Interface& interface = interfaces[frame.interface];
    Discovery said;
    if (read_discovery(frame, &said) == Read::kDiscovery) {
        (void)responder.defend(said, frame.interface, interface, now);
        resolver.learn(frame.interface, said,
                       responder.answers_for(frame.interface, interface, said.target), now);
        const std::size_t room = bytes.size() + tailroom;
        if (responder.answer(frame, said, frame.interface, interface)) {
            must(frame.data == memory.get() && frame.length <= room);
            must(frame.length + frame.tailroom == room);
            // An answer is itself in order, says that the target is here, and goes to the asker
            // alone or to all nodes.
            Discovery answer;
            must(read_discovery(frame, &answer) == Read::kDiscovery);
            must(answer.source == interface.mac && answer.mac == interface.mac);
            must((answer.is_arp() ? answer.sender : answer.target) == said.target);
        } else {
            must(frame.length == bytes.size());
            must(bytes.empty() || std::memcmp(frame.data, bytes.data(), bytes.size()) == 0);
        }
    }
    // The same bytes as an unresolved packet.
    resolver.wait(frame.interface, said.target, bytes, now);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const std::vector<Interface> interfaces = {
        make_interface("up0", 0, 0, "02:00:00:00:00:01",
                       {"192.0.2.2/24", "2001:db8::2/64", "fe80::1/64"}),
        make_interface("up1", 1, 7, "02:00:00:00:00:02", {"10.0.0.1/8"})};
    RoutingCounters counters;
    Announced announced(counters);
    Responder responder(announced, counters);
    Resolver resolver(counters);
    Milliseconds now{0};
    const std::pair<std::uint16_t, sluice::IpAddress> gateway{0, address("192.0.2.1")};
    resolver.use(interfaces, {&gateway, 1}, now);
    std::vector<Neighbour> mirrored;
    while (size >= 3) {
        const std::uint8_t how = data[0];
        const std::size_t length = std::min<std::size_t>((data[1] & 7U) << 8U | data[2], size - 3);
        one_frame({data + 3, length}, how, interfaces, responder, resolver, now);
        data += 3 + length;
        size -= 3 + length;
        now += Milliseconds((how & 0x0eU) * 500);
        resolver.tick(now);
        for (const auto& frame : resolver.take_frames())
            must(frame.bytes.size() >= 60 && frame.interface < 2);
        for (const auto& change : resolver.take_changes()) {
            if (mirrored.size() <= change.place) mirrored.resize(change.place + 1);
            mirrored[change.place] = change.neighbour;
            must(change.neighbour.address.is_unspecified() ||
                 (change.neighbour.resolved && is_station(change.neighbour.mac)));
        }
        must(resolver.waiting_bytes() <= kMaxWaitingBytes);
    }
    auto all = resolver.all();
    mirrored.resize(std::max(mirrored.size(), all.size()));
    all.resize(mirrored.size());
    must(all == mirrored);
    return 0;
}
