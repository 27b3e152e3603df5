#include "dataplane/pktgen/frame_view.h"

#include <cstring>

#include "dataplane/pktgen/sums.h"

namespace sluice::pktgen {
namespace {

constexpr int kMaxTags = 2;
constexpr int kMaxTunnels = 2;
constexpr int kMaxExtensions = 8;
constexpr std::uint16_t kFragmentBits = 0x3fff;  // more fragments, and the offset

struct Rest {
    const std::uint8_t* at;
    std::size_t bytes;
};

// From an IPv4 header to what it carries. False: not whole, or a fragment.
bool pass_ipv4(Rest& rest, std::uint8_t& protocol) {
    if (rest.bytes < kIpv4Bytes || rest.at[0] >> 4U != 4) {
        return false;
    }
    const std::size_t header = std::size_t{rest.at[0] & 15U} * 4;
    const std::size_t total = load16(rest.at + 2);
    if (header < kIpv4Bytes || total < header || total > rest.bytes ||
        (load16(rest.at + 6) & kFragmentBits) != 0) {
        return false;
    }
    protocol = rest.at[9];
    rest = {rest.at + header, total - header};
    return true;
}

bool pass_ipv6(Rest& rest, std::uint8_t& protocol) {
    if (rest.bytes < kIpv6Bytes || rest.at[0] >> 4U != 6) {
        return false;
    }
    const std::size_t length = load16(rest.at + 4);
    if (length > rest.bytes - kIpv6Bytes) {
        return false;
    }
    protocol = rest.at[6];
    rest = {rest.at + kIpv6Bytes, length};
    // Hop-by-hop, routing and destination options; anything else ends the chain.
    for (int i = 0; i < kMaxExtensions && (protocol == 0 || protocol == 43 || protocol == 60); ++i) {
        if (rest.bytes < 8) {
            return false;
        }
        const std::size_t extension = (std::size_t{rest.at[1]} + 1) * 8;
        if (extension > rest.bytes) {
            return false;
        }
        protocol = rest.at[0];
        rest = {rest.at + extension, rest.bytes - extension};
    }
    return true;
}

void view_l4(const Rest& rest, std::uint8_t protocol, FrameView& view) {
    view.l4 = rest.at;
    view.l4_bytes = static_cast<std::uint32_t>(rest.bytes);
    std::size_t header = 0;
    if (protocol == kIpUdp) {
        if (rest.bytes < kUdpBytes) {
            return;
        }
        const std::size_t length = load16(rest.at + 4);
        if (length < kUdpBytes || length > rest.bytes) {
            return;
        }
        view.l4_bytes = static_cast<std::uint32_t>(length);
        header = kUdpBytes;
        view.kind = FrameKind::kUdp;
    } else if (protocol == kIpTcp) {
        if (rest.bytes < kTcpBytes) {
            return;
        }
        header = std::size_t{rest.at[12]} / 16 * 4;
        if (header < kTcpBytes || header > rest.bytes) {
            return;
        }
        view.kind = FrameKind::kTcp;
    } else if (protocol == kIpIcmpv6 && view.v6 && rest.bytes >= 4) {
        view.kind = FrameKind::kIcmpv6;
    }
    view.payload = rest.at + header;
    view.payload_bytes = view.l4_bytes - static_cast<std::uint32_t>(header);
}

}  // namespace

FrameView view_frame(const std::uint8_t* frame, std::size_t bytes) {
    FrameView view;
    view.frame = frame;
    if (bytes < kEthernetBytes) {
        return view;
    }
    std::uint16_t type = load16(frame + 12);
    Rest rest{frame + kEthernetBytes, bytes - kEthernetBytes};
    for (int i = 0; i < kMaxTags && (type == kEtherVlan || type == kEtherQinQ); ++i) {
        if (rest.bytes < kVlanBytes) {
            return view;
        }
        type = load16(rest.at + 2);
        rest = {rest.at + kVlanBytes, rest.bytes - kVlanBytes};
    }
    view.l3 = rest.at;
    if (type == kEtherArp) {
        if (rest.bytes >= 28) {
            view.kind = FrameKind::kArp;
        }
        return view;
    }
    std::uint8_t protocol = type == kEtherIpv4 ? kIpInIp : kIpv6InIp;
    if (type != kEtherIpv4 && type != kEtherIpv6) {
        return view;
    }
    for (int tunnels = 0; tunnels <= kMaxTunnels && (protocol == kIpInIp || protocol == kIpv6InIp);
         ++tunnels) {
        view.l3 = rest.at;
        view.v6 = protocol == kIpv6InIp;
        view.tunnelled = tunnels != 0;
        if (!(view.v6 ? pass_ipv6(rest, protocol) : pass_ipv4(rest, protocol))) {
            return view;
        }
    }
    view_l4(rest, protocol, view);
    return view;
}

FlowTuple FrameView::tuple() const {
    FlowTuple out;
    std::memcpy(out.source.data(), l3 + (v6 ? 8 : 12), v6 ? 16 : 4);
    std::memcpy(out.destination.data(), l3 + (v6 ? 24 : 16), v6 ? 16 : 4);
    out.source_port = load16(l4);
    out.destination_port = load16(l4 + 2);
    return out;
}

bool FrameView::checksum_good() const {
    const std::uint8_t protocol = kind == FrameKind::kUdp   ? kIpUdp
                                  : kind == FrameKind::kTcp ? kIpTcp
                                                            : kIpIcmpv6;
    if (kind == FrameKind::kUdp && !v6 && load16(l4 + 6) == 0) {
        return true;
    }
    const std::uint64_t addresses = v6 ? sum_bytes(l3 + 8, 32) : sum_bytes(l3 + 12, 8);
    // l4_bytes fits 16 bits: it comes out of a 16-bit length.
    const std::uint64_t sum = addresses + sum_bytes(l4, l4_bytes) + be16(protocol) +
                              be16(static_cast<std::uint16_t>(l4_bytes));
    return fold(sum) == 0xffff;
}

}  // namespace sluice::pktgen
