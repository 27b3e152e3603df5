#include "dataplane/pktgen/tcp_server.h"

#include <algorithm>
#include <cstring>

#include "dataplane/pktgen/sums.h"

namespace sluice::pktgen {
namespace {

// The same SYN, sent again, begins the same connection.
std::uint32_t first_sequence(const TcpServerOptions& options, const FlowTuple& tuple,
                             std::uint32_t client_sequence) {
    std::uint64_t state = std::uint64_t{options.seed} << 32U | client_sequence;
    for (const std::uint8_t byte : tuple.source) {
        state = (state ^ byte) * 0x100000001b3ULL;
    }
    state = (state ^ std::uint64_t{tuple.source_port} << 16U ^ tuple.destination_port) *
            0x9e3779b97f4a7c15ULL;
    return static_cast<std::uint32_t>(state >> 32U);
}

void swap_bytes(std::uint8_t* a, std::uint8_t* b, std::size_t length) {
    std::swap_ranges(a, a + length, b);
}

}  // namespace

ServerAnswer answer_segment(const TcpServerOptions& options, const FrameView& view,
                            std::uint8_t* frame) {
    if (!view.checksum_good()) {
        return {ServerVerdict::kCorrupted};
    }
    const std::uint8_t flags = view.tcp_flags() & (kTcpSyn | kTcpAck | kTcpRst | kTcpFin);
    const bool syn = flags == kTcpSyn;
    const bool fin = flags == (kTcpFin | kTcpAck);
    const bool data = flags == kTcpAck && view.payload_bytes != 0;
    if (!syn && !fin && !data) {
        return {};
    }
    const std::uint32_t sequence =
        syn ? first_sequence(options, view.tuple(), view.tcp_sequence()) : view.tcp_acknowledged();
    const std::uint32_t acknowledged = view.tcp_sequence() + view.payload_bytes + (data ? 0 : 1);
    const auto answer_flags = static_cast<std::uint8_t>(
        kTcpAck | (syn ? kTcpSyn : 0) | (fin ? kTcpFin : 0) | (data ? kTcpPsh : 0));

    std::uint8_t* l3 = frame + (view.l3 - frame);
    std::uint8_t* l4 = frame + (view.l4 - frame);
    // The link header goes directly before the inner datagram, with its own tags.
    std::size_t link = kEthernetBytes;
    std::uint16_t type = load16(frame + 12);
    while (type == kEtherVlan || type == kEtherQinQ) {
        type = load16(frame + link + 2);
        link += kVlanBytes;
    }
    std::uint8_t* start = l3 - link;
    std::memmove(start, frame, link);
    swap_bytes(start, start + 6, 6);
    store16(start + link - 2, view.v6 ? kEtherIpv6 : kEtherIpv4);

    if (view.v6) {
        l3[7] = options.ttl;
        swap_bytes(l3 + 8, l3 + 24, 16);
    } else {
        l3[8] = options.ttl;
        swap_bytes(l3 + 12, l3 + 16, 4);
        std::memset(l3 + 10, 0, 2);
        const auto check =
            static_cast<std::uint16_t>(~fold(sum_bytes(l3, static_cast<std::size_t>(l4 - l3))));
        std::memcpy(l3 + 10, &check, 2);
    }
    swap_bytes(l4, l4 + 2, 2);
    store32(l4 + 4, sequence);
    store32(l4 + 8, acknowledged);
    l4[13] = answer_flags;
    std::memset(l4 + 16, 0, 2);
    const std::uint64_t addresses = view.v6 ? sum_bytes(l3 + 8, 32) : sum_bytes(l3 + 12, 8);
    const auto check = static_cast<std::uint16_t>(~fold(
        addresses + sum_bytes(l4, view.l4_bytes) + be16(kIpTcp) +
        be16(static_cast<std::uint16_t>(view.l4_bytes))));
    std::memcpy(l4 + 16, &check, 2);

    ServerAnswer out;
    out.verdict = ServerVerdict::kAnswered;
    out.offset = static_cast<std::size_t>(start - frame);
    out.bytes = static_cast<std::size_t>(l4 + view.l4_bytes - start);
    return out;
}

}  // namespace sluice::pktgen
