// Any bytes as a frame: nothing is read outside, what is understood lies within the frame, the quick look and the
// thorough one agree, and a frame whose end is not yet at hand is never taken for another.
// clang-format off: the view must come before what uses it.
#include "bpf/lib/view_memory.h"
#include "bpf/lib/flow_memory.h"
#include "bpf/lib/glance.h"
// clang-format on

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace {

void require(bool good) {
    if (!good) {
        std::abort();
    }
}

struct Parsed {
    int result = 0;
    sluice_packet packet{};
};

// On the heap, of that size exactly, so that AddressSanitizer sees a read beyond it.
Parsed parse(const std::uint8_t* data, std::size_t linear, std::size_t frame) {
    Parsed out;
    const auto copy = std::make_unique<std::uint8_t[]>(linear + 1);
    std::uint8_t* const begin = copy.get() + 1;
    std::memcpy(begin, data, linear);
    out.result = sluice_parse_frame(begin, begin + linear, static_cast<__u32>(frame), &out.packet);
    return out;
}

bool same_tuple(const sluice_tuple& a, const sluice_tuple& b) {
    return std::memcmp(&a.src, &b.src, sizeof a.src) == 0 && std::memcmp(&a.dst, &b.dst, sizeof a.dst) == 0 &&
           a.ports.both_be == b.ports.both_be && a.protocol == b.protocol;
}

}  // namespace

// The first byte says how much of the frame is at hand.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 1) {
        return 0;
    }
    const std::size_t cut = data[0];
    ++data;
    --size;
    const Parsed whole = parse(data, size, size);
    require(whole.packet.more_needed == 0);
    if (whole.result == SLUICE_PARSE_OK) {
        require(whole.packet.l3 < whole.packet.l4 && whole.packet.l4 <= whole.packet.end &&
                whole.packet.end <= size);
        require(whole.packet.family == 4 || whole.packet.family == 6);
    }
    if (cut < size) {
        const Parsed part = parse(data, cut, size);
        if (part.result == SLUICE_PARSE_OK) {
            require(whole.result == SLUICE_PARSE_OK && same_tuple(whole.packet.tuple, part.packet.tuple) &&
                    whole.packet.end == part.packet.end && whole.packet.l4 == part.packet.l4);
        } else {
            require(part.packet.more_needed != 0 || part.result == whole.result);
        }
    }
    const auto copy = std::make_unique<std::uint8_t[]>(size + 1);
    std::memcpy(copy.get() + 1, data, size);
    sluice_tuple tuple{};
    const int glance = sluice_glance_frame(copy.get() + 1, copy.get() + 1 + size, &tuple);
    if (glance == SLUICE_GLANCE_FOREIGN) {
        require(whole.result != SLUICE_PARSE_OK);
    } else if (glance != SLUICE_GLANCE_ODD && whole.result == SLUICE_PARSE_OK) {
        require(whole.packet.fragment == 0 && same_tuple(tuple, whole.packet.tuple));
        require((glance == SLUICE_GLANCE_PLAIN4) == (whole.packet.family == 4));
    }
    return 0;
}
