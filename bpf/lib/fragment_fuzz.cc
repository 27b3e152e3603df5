// Any sequence of fragments and ticks: a later fragment gets the ports of the first one of its own datagram, or none;
// and it gets them, unless its set was too full or it came too late.
// clang-format off: the view must come before what uses it.
#include "bpf/lib/view_memory.h"
#include "bpf/lib/flow_memory.h"
struct sluice_datagram_set;
static struct sluice_datagram_set* sluice_datagrams_at(const struct sluice_flow_view* view, __u32 index);
#include "bpf/lib/fragment.h"
// clang-format on

#include <cstdint>
#include <cstdlib>
#include <map>
#include <tuple>
#include <vector>

namespace {

// Enough for sets to overflow.
constexpr std::size_t kMostSteps = 4096;
constexpr std::size_t kStep = 5;

std::vector<sluice_datagram_set>& table() {
    static std::vector<sluice_datagram_set> sets(SLUICE_DATAGRAM_SETS);
    return sets;
}

void require(bool good) {
    if (!good) {
        std::abort();
    }
}

struct Remembered {
    std::uint32_t ports_be = 0;
    std::uint8_t protocol = 0;
    std::uint16_t seen = 0;
};

}  // namespace

static sluice_datagram_set* sluice_datagrams_at(const sluice_flow_view* /*view*/, __u32 index) {
    return index < SLUICE_DATAGRAM_SETS ? &table()[index] : nullptr;
}

// Each five bytes are a step: what is done, client, identification, ports, ticks that pass.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    table().assign(SLUICE_DATAGRAM_SETS, sluice_datagram_set{});
    sluice_flow_view view{};
    view.seed = 0x5eed;
    // Ticks wrap.
    view.now = 65000;
    std::map<std::tuple<bool, std::uint32_t, std::uint32_t, std::uint8_t>, Remembered> model;
    for (std::size_t step = 0; step < kMostSteps && size >= kStep; ++step, data += kStep, size -= kStep) {
        const bool v6 = (data[0] & 1U) != 0;
        const bool first = (data[0] & 2U) != 0;
        sluice_packet packet{};
        packet.tuple.protocol = (data[0] & 4U) != 0 ? 17 : 6;
        if (v6) {
            packet.tuple.src.word_be[0] = 0xfd;
            packet.tuple.src.word_be[3] = data[1];
            packet.tuple.dst.word_be[0] = 0xfe;
        } else {
            sluice_set_v4(&packet.tuple.src, 0x0a000000U + data[1]);
            sluice_set_v4(&packet.tuple.dst, 0x0a600001U);
        }
        packet.fragment_id = data[2];
        view.now = static_cast<__u16>(view.now + (data[4] & 7U));
        auto& known = model[{v6, data[1], data[2], v6 ? std::uint8_t{0} : packet.tuple.protocol}];
        if (first) {
            packet.tuple.ports.both_be = 1U + data[3];
            known = {packet.tuple.ports.both_be, packet.tuple.protocol, view.now};
            v6 ? sluice_datagram_remember(&view, &packet, 1) : sluice_datagram_remember(&view, &packet, 0);
            continue;
        }
        const bool in_time = known.ports_be != 0 && static_cast<std::uint16_t>(view.now - known.seen) <=
                                                        SLUICE_DATAGRAM_TIMEOUT;
        const int found = v6 ? sluice_datagram_recall(&view, &packet, 1) : sluice_datagram_recall(&view, &packet, 0);
        if (found != 0) {
            require(in_time && packet.tuple.ports.both_be == known.ports_be &&
                    packet.tuple.protocol == known.protocol);
            continue;
        }
        std::uint32_t displaced = 0;
        for (const auto& set : table()) {
            displaced += set.displaced;
        }
        require(!in_time || displaced != 0);
    }
    return 0;
}
