#include "tests/oracle/packet.h"

#include <algorithm>
#include <array>

namespace sluice::oracle {
namespace {

// No header of a packet may begin beyond this; chains that are longer are no one's.
constexpr std::size_t kMaxL4Offset = 1024;
constexpr int kMaxExtensions = 6;

bool is_extension(std::uint8_t next) {
    return next == 0 || next == 43 || next == 44 || next == 51 || next == 60;
}

IpAddress address4(View bytes, std::size_t at) {
    IpAddress out;
    out.bytes[10] = out.bytes[11] = 0xff;
    std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), 4, out.bytes.begin() + 12);
    return out;
}

IpAddress address6(View bytes, std::size_t at) {
    IpAddress out;
    std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), 16, out.bytes.begin());
    return out;
}

// RFC 9260, 3.2: INIT opens as a SYN does, ABORT and SHUTDOWN COMPLETE end as a reset does, SHUTDOWN and its ACK as a
// FIN does.
std::uint8_t sctp_flags(std::uint8_t chunk) {
    switch (chunk) {
        case 1: return kSyn;
        case 2: return kSyn | kAck;
        case 6:
        case 14: return kRst;
        case 7:
        case 8: return kFin | kAck;
        default: return kAck;
    }
}

Packet& bad(Packet& packet, sluice_drop_reason reason) {
    packet.shape = Shape::kBadL4;
    packet.reason = reason;
    return packet;
}

void read_transport(View frame, Packet& packet) {
    if (packet.l4 > kMaxL4Offset) {
        bad(packet, SLUICE_DROP_BAD_HEADER);
        return;
    }
    packet.shape = Shape::kNoPorts;
    const std::uint8_t protocol = packet.tuple.protocol;
    if (packet.fragment == Fragment::kLater) {
        return;
    }
    std::size_t need = 0;
    switch (protocol) {
        case kTcp: need = 20; break;
        case kSctp: need = 12; break;
        case kUdp:
        case kIcmp:
        case kIcmpv6: need = 8; break;
        default: return;
    }
    if (packet.l4 + need > packet.end) {
        bad(packet, SLUICE_DROP_TRUNCATED);
        return;
    }
    if (protocol == kIcmp || protocol == kIcmpv6) {
        packet.icmp_type = frame[packet.l4];
        return;
    }
    if (protocol == kTcp) {
        const std::size_t header = frame[packet.l4 + 12] / 16U * 4U;
        if (header < 20 || packet.l4 + header > packet.end) {
            bad(packet, SLUICE_DROP_BAD_HEADER);
            return;
        }
        packet.flags = frame[packet.l4 + 13];
    } else if (protocol == kSctp) {
        packet.flags = packet.l4 + 16 <= packet.end ? sctp_flags(frame[packet.l4 + 12]) : kAck;
    }
    packet.tuple.sport = static_cast<std::uint16_t>(get16(frame, packet.l4));
    packet.tuple.dport = static_cast<std::uint16_t>(get16(frame, packet.l4 + 2));
    packet.shape = Shape::kPorts;
}

void read_ipv4(View frame, Packet& packet) {
    const std::size_t l3 = packet.l3;
    if (l3 + 20 > frame.size()) {
        return;
    }
    const std::size_t header = frame[l3] % 16U * 4U;
    const std::size_t total = get16(frame, l3 + 2);
    if (frame[l3] / 16U != 4 || header < 20 || total < header || l3 + total > frame.size()) {
        return;
    }
    packet.l4 = l3 + header;
    packet.end = l3 + total;
    packet.ttl = frame[l3 + 8];
    packet.tuple = {address4(frame, l3 + 12), address4(frame, l3 + 16), 0, 0, frame[l3 + 9]};
    packet.fragment_id = get16(frame, l3 + 4);
    const std::uint32_t word = get16(frame, l3 + 6);
    packet.whole_only = (word & 0x4000U) != 0;
    packet.fragment = (word & 0x1fffU) != 0   ? Fragment::kLater
                      : (word & 0x2000U) != 0 ? Fragment::kFirst
                                              : Fragment::kWhole;
    if (checksum(frame, l3, l3 + header) != 0) {
        bad(packet, SLUICE_DROP_BAD_CHECKSUM);
        return;
    }
    read_transport(frame, packet);
}

void read_ipv6(View frame, Packet& packet) {
    const std::size_t l3 = packet.l3;
    if (l3 + 40 > frame.size() || frame[l3] / 16U != 6 || l3 + 40 + get16(frame, l3 + 4) > frame.size()) {
        return;
    }
    packet.v6 = packet.whole_only = true;
    packet.end = l3 + 40 + get16(frame, l3 + 4);
    packet.ttl = frame[l3 + 7];
    packet.tuple = {address6(frame, l3 + 8), address6(frame, l3 + 24), 0, 0, frame[l3 + 6]};
    // An IPv4 address in IPv6's clothes is on no wire (RFC 4291, 2.5.5.2).
    if (packet.tuple.src.is_v4() || packet.tuple.dst.is_v4()) {
        packet.shape = Shape::kNotOurs;
        return;
    }
    std::size_t at = l3 + 40;
    std::uint8_t next = frame[l3 + 6];
    int headers = 0;
    for (; headers < kMaxExtensions && is_extension(next); ++headers) {
        packet.l4 = at;
        packet.tuple.protocol = next;
        if (at > kMaxL4Offset) {
            bad(packet, SLUICE_DROP_BAD_HEADER);
            return;
        }
        if (at + 8 > packet.end) {
            bad(packet, SLUICE_DROP_TRUNCATED);
            return;
        }
        const std::size_t length = frame[at + 1];
        std::size_t size = (length + 1) * 8;
        if (next == 44) {
            size = 8;
            packet.fragment_id = get32(frame, at + 4);
            const std::uint32_t word = get16(frame, at + 2);
            if (word / 8 != 0) {
                packet.fragment = Fragment::kLater;
            } else if (word % 2 != 0) {
                packet.fragment = Fragment::kFirst;
            }
        } else if (next == 51) {
            size = (length + 2) * 4;
        }
        next = frame[at];
        at += size;
        if (packet.fragment == Fragment::kLater) {
            break;
        }
    }
    packet.l4 = at;
    packet.tuple.protocol = next;
    if (headers == kMaxExtensions) {
        bad(packet, SLUICE_DROP_BAD_HEADER);
        return;
    }
    read_transport(frame, packet);
}

}  // namespace

std::uint32_t get16(View bytes, std::size_t at) { return bytes[at] * 256U + bytes[at + 1]; }
std::uint32_t get32(View bytes, std::size_t at) { return get16(bytes, at) << 16U | get16(bytes, at + 2); }

void put16(Bytes& bytes, std::size_t at, std::uint32_t value) {
    bytes[at] = static_cast<std::uint8_t>(value >> 8U);
    bytes[at + 1] = static_cast<std::uint8_t>(value);
}

void put32(Bytes& bytes, std::size_t at, std::uint32_t value) {
    put16(bytes, at, value >> 16U);
    put16(bytes, at + 2, value & 0xffffU);
}

Packet read_ip(View frame, std::size_t l3, std::uint16_t ethertype) {
    Packet packet;
    packet.l3 = l3;
    if (ethertype == kEtherIpv4) {
        read_ipv4(frame, packet);
    } else if (ethertype == kEtherIpv6) {
        read_ipv6(frame, packet);
    }
    return packet;
}

bool is_host(const IpAddress& address) {
    if (address.is_v4()) {
        return address.bytes[12] != 0 && address.bytes[12] != 127 && address.bytes[12] < 224;
    }
    return address.bytes[0] != 0xff && !address.is_unspecified() && !address.is_loopback();
}

std::uint16_t checksum(View bytes, std::size_t from, std::size_t to, std::uint64_t extra) {
    std::uint64_t sum = extra;
    for (std::size_t at = from; at < to; at += 2) {
        sum += bytes[at] * 256U + (at + 1 < to ? bytes[at + 1] : 0U);
    }
    while (sum > 0xffff) {
        sum = sum / 65536 + sum % 65536;
    }
    return static_cast<std::uint16_t>(0xffff - sum);
}

std::uint64_t pseudo_header(const IpAddress& src, const IpAddress& dst, std::uint8_t protocol, std::size_t length) {
    std::uint64_t sum = protocol + length / 65536 + length % 65536;
    for (const IpAddress* address : {&src, &dst}) {
        for (std::size_t at = address->is_v4() ? 12 : 0; at < 16; at += 2) {
            sum += get16(address->bytes, at);
        }
    }
    return sum;
}

std::uint32_t crc32c(View bytes) {
    static const auto table = [] {
        std::array<std::uint32_t, 256> out{};
        for (std::uint32_t i = 0; i < 256; ++i) {
            std::uint32_t value = i;
            for (int bit = 0; bit < 8; ++bit) {
                value = (value % 2 != 0 ? 0x82f63b78U : 0U) ^ value / 2;
            }
            out[i] = value;
        }
        return out;
    }();
    std::uint32_t crc = 0xffffffffU;
    for (const std::uint8_t byte : bytes) {
        crc = table[(crc ^ byte) % 256] ^ crc / 256;
    }
    return ~crc;
}

}  // namespace sluice::oracle
