// Writing packets: rewritten, wrapped, and answers to them. Part of tests/oracle/packet.h.
#include <algorithm>

#include "tests/oracle/packet.h"

namespace sluice::oracle {
namespace {

constexpr std::uint8_t kTtl = 64;

void put_address(Bytes& bytes, std::size_t at, const IpAddress& address) {
    const std::ptrdiff_t from = address.is_v4() ? 12 : 0;
    std::copy(address.bytes.begin() + from, address.bytes.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at));
}

// The sum of words from..to modulo 65535, an odd byte padded.
std::uint64_t words(View bytes, std::size_t from, std::size_t to) { return 0xffffU - checksum(bytes, from, to); }

// A checksum field that is as right, or as wrong, over `after` as it was over `before`. Zero sums are written as 0.
std::uint16_t carried(std::uint32_t field, std::uint64_t before, std::uint64_t after) {
    const std::uint64_t sum = (0xffffU - field) + 0xffffULL * 4 - before % 0xffffU + after;
    const std::uint64_t rest = sum % 0xffffU;
    return static_cast<std::uint16_t>(rest == 0 ? 0 : 0xffffU - rest);
}

void seal_ipv4(Bytes& bytes, std::size_t l3) {
    put16(bytes, l3 + 10, 0);
    put16(bytes, l3 + 10, checksum(bytes, l3, l3 + bytes[l3] % 16U * 4U));
}

// CRC-32C as a linear map, without the usual inversions: of a message that is `first` and zeros behind it.
std::uint32_t linear_crc(std::uint32_t first, std::size_t length) {
    std::uint32_t crc = first;
    for (std::size_t bit = 0; bit < 8 * length; ++bit) {
        crc = (crc % 2 != 0 ? 0x82f63b78U : 0U) ^ crc / 2;
    }
    return crc;
}

std::uint32_t get_le32(View bytes, std::size_t at) {
    return bytes[at] | bytes[at + 1] * 256U | bytes[at + 2] * 65536U | static_cast<std::uint32_t>(bytes[at + 3]) << 24U;
}

void put_le32(Bytes& bytes, std::size_t at, std::uint32_t value) {
    for (std::size_t i = 0; i < 4; ++i) {
        bytes[at + i] = static_cast<std::uint8_t>(value >> (8 * i));
    }
}

// What the SCTP checksum of l4..end should be, the field taken as zero.
std::uint32_t sctp_checksum(View frame, std::size_t l4, std::size_t end) {
    Bytes copy(frame.begin() + static_cast<std::ptrdiff_t>(l4), frame.begin() + static_cast<std::ptrdiff_t>(end));
    put_le32(copy, 8, 0);
    return crc32c(copy);
}

std::size_t checksum_at(std::uint8_t protocol) { return protocol == kTcp ? 16 : 6; }

void change_ports(Bytes& bytes, std::size_t l4, const Tuple& to) {
    put16(bytes, l4, to.sport);
    put16(bytes, l4 + 2, to.dport);
}

void change_addresses(Bytes& bytes, std::size_t l3, const IpAddress& src, const IpAddress& dst) {
    const bool v6 = !src.is_v4();
    put_address(bytes, l3 + (v6 ? 8 : 12), src);
    put_address(bytes, l3 + (v6 ? 24 : 16), dst);
}

std::uint64_t ends_sum(const Tuple& tuple) {
    return pseudo_header(tuple.src, tuple.dst, 0, 0) + tuple.sport + tuple.dport;
}

// TCP and UDP: the field at `at` of out, a whole packet's or a piece's.
void change_checksum(Bytes& out, View frame, const Packet& packet, const Tuple& to) {
    const std::size_t at = packet.l4 + checksum_at(packet.tuple.protocol);
    const std::uint32_t field = get16(frame, at);
    const bool udp = packet.tuple.protocol == kUdp;
    if (udp && field == 0) {
        return;
    }
    const std::size_t length = packet.end - packet.l4;
    const bool whole = packet.fragment == Fragment::kWhole;
    std::uint16_t next = carried(field, ends_sum(packet.tuple), ends_sum(to));
    if (whole && checksum(frame, packet.l4, packet.end,
                          pseudo_header(packet.tuple.src, packet.tuple.dst, packet.tuple.protocol, length)) == 0) {
        put16(out, at, 0);
        next = checksum(View(out), packet.l4, packet.end,
                        pseudo_header(to.src, to.dst, packet.tuple.protocol, length));
    }
    put16(out, at, udp && next == 0 ? 0xffffU : next);
}

void change_sctp(Bytes& out, View frame, const Packet& packet) {
    const std::uint32_t field = get_le32(frame, packet.l4 + 8);
    if (field == 0) {
        return;
    }
    // Linear: who was right is right again, who was wrong is wrong by the same.
    const std::uint32_t wrong = field ^ sctp_checksum(frame, packet.l4, packet.end);
    put_le32(out, packet.l4 + 8, sctp_checksum(out, packet.l4, packet.end) ^ wrong);
}

Bytes ip_header(bool v6, const IpAddress& src, const IpAddress& dst, std::uint8_t protocol, std::size_t payload) {
    Bytes out(v6 ? 40 : 20, 0);
    if (v6) {
        out[0] = 0x60;
        put16(out, 4, static_cast<std::uint32_t>(payload));
        out[6] = protocol;
        out[7] = kTtl;
    } else {
        out[0] = 0x45;
        put16(out, 2, static_cast<std::uint32_t>(20 + payload));
        put16(out, 6, 0x4000);
        out[8] = kTtl;
        out[9] = protocol;
    }
    change_addresses(out, 0, src, dst);
    if (!v6) {
        seal_ipv4(out, 0);
    }
    return out;
}

}  // namespace

bool checksums_right(View frame, const Packet& packet) {
    if (!packet.v6 && checksum(frame, packet.l3, packet.l3 + frame[packet.l3] % 16U * 4U) != 0) {
        return false;
    }
    if (packet.fragment != Fragment::kWhole) {
        return true;
    }
    const std::uint8_t protocol = packet.tuple.protocol;
    const std::size_t length = packet.end - packet.l4;
    const auto sum = [&](bool with_pseudo) {
        return checksum(frame, packet.l4, packet.end,
                        with_pseudo ? pseudo_header(packet.tuple.src, packet.tuple.dst, protocol, length) : 0);
    };
    switch (protocol) {
        case kTcp: return sum(true) == 0;
        case kUdp: return (get16(frame, packet.l4 + 6) == 0 && !packet.v6) || sum(true) == 0;
        case kSctp:
            return get_le32(frame, packet.l4 + 8) == 0 ||
                   get_le32(frame, packet.l4 + 8) == sctp_checksum(frame, packet.l4, packet.end);
        case kIcmp: return packet.v6 || sum(false) == 0;
        case kIcmpv6: return !packet.v6 || sum(true) == 0;
        default: return true;
    }
}

Bytes rewritten(View frame, const Packet& packet, const Tuple& to, std::uint8_t ttl) {
    Bytes out(frame.begin(), frame.end());
    change_addresses(out, packet.l3, to.src, to.dst);
    out[packet.l3 + (packet.v6 ? 7 : 8)] = ttl;
    if (packet.fragment != Fragment::kLater) {
        const bool ports_change = to.sport != packet.tuple.sport || to.dport != packet.tuple.dport;
        change_ports(out, packet.l4, to);
        if (packet.tuple.protocol != kSctp) {
            change_checksum(out, frame, packet, to);
        } else if (ports_change) {
            change_sctp(out, frame, packet);
        }
    }
    if (!packet.v6) {
        seal_ipv4(out, packet.l3);
    }
    return out;
}

Quote read_quote(View frame, const Packet& packet) {
    // What lies beyond is not looked at: ICMP's 8 bytes, all options of IPv4, and room for extension headers of IPv6.
    constexpr std::size_t kLook = 128;
    constexpr int kMaxQuotedExtensions = 4;
    Quote quote;
    const std::size_t end = std::min(packet.end, packet.l4 + kLook);
    const std::size_t ip = packet.l4 + 8;
    if (packet.l4 + 36 > end) {
        return quote;
    }
    // Behind the message there is nothing: zeros.
    Bytes text(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(end));
    text.resize(packet.l4 + kLook, 0);
    quote.ip = ip;
    std::uint8_t protocol = 0;
    if (!packet.v6) {
        const std::size_t header = text[ip] % 16U * 4U;
        const std::size_t total = get16(text, ip + 2);
        if (text[ip] / 16U != 4 || header < 20 || total < header || (get16(text, ip + 6) & 0x1fffU) != 0) {
            return quote;
        }
        const Packet inner = [&] {
            Packet read;
            read.tuple = {IpAddress{}, IpAddress{}, 0, 0, 0};
            for (std::size_t i = 0; i < 4; ++i) {
                read.tuple.src.bytes[12 + i] = text[ip + 12 + i];
                read.tuple.dst.bytes[12 + i] = text[ip + 16 + i];
            }
            for (IpAddress* address : {&read.tuple.src, &read.tuple.dst}) {
                address->bytes[10] = address->bytes[11] = 0xff;
            }
            return read;
        }();
        quote.tuple = inner.tuple;
        protocol = text[ip + 9];
        quote.l4 = ip + header;
        quote.l4_length = total - header;
    } else {
        if (text[ip] / 16U != 6) {
            return quote;
        }
        std::copy_n(text.begin() + static_cast<std::ptrdiff_t>(ip + 8), 16, quote.tuple.src.bytes.begin());
        std::copy_n(text.begin() + static_cast<std::ptrdiff_t>(ip + 24), 16, quote.tuple.dst.bytes.begin());
        if (quote.tuple.src.is_v4() || quote.tuple.dst.is_v4()) {
            return quote;
        }
        std::size_t left = get16(text, ip + 4);
        std::size_t at = ip + 40;
        protocol = text[ip + 6];
        for (int i = 0; i < kMaxQuotedExtensions; ++i) {
            if (protocol != 0 && protocol != 43 && protocol != 44 && protocol != 51 && protocol != 60) {
                break;
            }
            if (at + 8 > packet.l4 + kLook) {
                return quote;
            }
            std::size_t size = (text[at + 1] + 1U) * 8U;
            if (protocol == 44) {
                if (get16(text, at + 2) / 8 != 0) {
                    return quote;
                }
                size = 8;
            } else if (protocol == 51) {
                size = (text[at + 1] + 2U) * 4U;
            }
            protocol = text[at];
            if (size > left) {
                return quote;
            }
            left -= size;
            at += size;
        }
        quote.l4 = at;
        quote.l4_length = left;
    }
    quote.tuple.protocol = protocol;
    if ((protocol != kTcp && protocol != kUdp && protocol != kSctp) || quote.l4 + 8 > end) {
        return quote;
    }
    quote.tuple.sport = static_cast<std::uint16_t>(get16(text, quote.l4));
    quote.tuple.dport = static_cast<std::uint16_t>(get16(text, quote.l4 + 2));
    quote.usable = true;
    return quote;
}

Bytes rewritten_error(View frame, const Packet& packet, const Quote& quote, const Tuple& quoted, const IpAddress& src,
                      const IpAddress& dst, std::uint8_t ttl) {
    constexpr std::size_t kLook = 128;
    Bytes out(frame.begin(), frame.end());
    const std::size_t end = std::min(packet.end, packet.l4 + kLook);
    const std::size_t quoted_l4 = end - quote.l4;
    const std::uint64_t before = ends_sum(quote.tuple);
    const std::uint64_t after = ends_sum(quoted);
    change_addresses(out, quote.ip, quoted.src, quoted.dst);
    if (!packet.v6) {
        put16(out, quote.ip + 10,
              carried(get16(frame, quote.ip + 10), pseudo_header(quote.tuple.src, quote.tuple.dst, 0, 0),
                      pseudo_header(quoted.src, quoted.dst, 0, 0)));
    }
    change_ports(out, quote.l4, quoted);
    if (quoted.protocol == kSctp) {
        const bool there = quoted_l4 >= 12;
        const std::uint32_t field = there ? get_le32(frame, quote.l4 + 8) : 0;
        const std::uint32_t change = get_le32(frame, quote.l4) ^ get_le32(out, quote.l4);
        if (field != 0) {
            put_le32(out, quote.l4 + 8, field ^ linear_crc(change, quote.l4_length));
        }
    } else {
        const std::size_t at = quote.l4 + checksum_at(quoted.protocol);
        const std::size_t needed = quoted.protocol == kTcp ? 18 : 8;
        const std::uint32_t field = quoted_l4 >= needed ? get16(frame, at) : 0;
        if (quoted_l4 >= needed && !(quoted.protocol == kUdp && field == 0)) {
            const std::uint16_t next = carried(field, before, after);
            put16(out, at, quoted.protocol == kUdp && next == 0 ? 0xffffU : next);
        }
    }
    // The message's own checksum.
    const auto pseudo = [&](const IpAddress& from, const IpAddress& to) {
        return packet.v6 ? pseudo_header(from, to, kIcmpv6, packet.end - packet.l4) : 0;
    };
    const auto sum = [&](View bytes, const IpAddress& from, const IpAddress& to) {
        return words(bytes, packet.l4, packet.l4 + 2) + words(bytes, packet.l4 + 4, packet.end) + pseudo(from, to);
    };
    put16(out, packet.l4 + 2, carried(get16(frame, packet.l4 + 2), sum(frame, packet.tuple.src, packet.tuple.dst),
                                      sum(out, src, dst)));
    change_addresses(out, packet.l3, src, dst);
    out[packet.l3 + (packet.v6 ? 7 : 8)] = ttl;
    if (!packet.v6) {
        seal_ipv4(out, packet.l3);
    }
    return out;
}

// RFC 9293, 3.5.2.
Bytes reset_for(View frame, const Packet& packet) {
    const Tuple& tuple = packet.tuple;
    Bytes out = ip_header(packet.v6, tuple.dst, tuple.src, kTcp, 20);
    const std::size_t l4 = out.size();
    out.resize(l4 + 20, 0);
    change_ports(out, l4, tuple.turned());
    if ((packet.flags & kAck) != 0) {
        put32(out, l4 + 4, get32(frame, packet.l4 + 8));
        out[l4 + 13] = kRst;
    } else {
        const std::size_t header = frame[packet.l4 + 12] / 16U * 4U;
        const auto length = static_cast<std::uint32_t>(packet.end - packet.l4 - header) +
                            ((packet.flags & kSyn) != 0 ? 1U : 0U) + ((packet.flags & kFin) != 0 ? 1U : 0U);
        put32(out, l4 + 8, get32(frame, packet.l4 + 4) + length);
        out[l4 + 13] = kRst | kAck;
    }
    out[l4 + 12] = 0x50;
    put16(out, l4 + 16, checksum(out, l4, out.size(), pseudo_header(tuple.dst, tuple.src, kTcp, 20)));
    return out;
}

Bytes icmp_error_for(View frame, const Packet& packet, const IcmpAnswer& answer) {
    constexpr std::size_t kMaxQuote = 128;
    // Eight bytes of what follows the IP header; of SCTP twenty, for its stacks look for the tag in an INIT.
    const std::size_t wanted = packet.l4 - packet.l3 + (packet.tuple.protocol == kSctp ? 20 : 8);
    const std::size_t quoted = std::min(wanted, packet.end - packet.l3);
    if (quoted > kMaxQuote) {
        return {};
    }
    const std::uint8_t protocol = packet.v6 ? kIcmpv6 : kIcmp;
    Bytes out = ip_header(packet.v6, packet.tuple.dst, packet.tuple.src, protocol, 8 + quoted);
    const std::size_t l4 = out.size();
    out.resize(l4 + 8, 0);
    out[l4] = answer.type;
    out[l4 + 1] = answer.code;
    put32(out, l4 + 4, answer.rest);
    const auto from = frame.begin() + static_cast<std::ptrdiff_t>(packet.l3);
    out.insert(out.end(), from, from + static_cast<std::ptrdiff_t>(quoted));
    put16(out, l4 + 2, checksum(out, l4, out.size(),
                                packet.v6 ? pseudo_header(packet.tuple.dst, packet.tuple.src, protocol, 8 + quoted)
                                          : 0));
    return out;
}

// RFC 2003, RFC 2473: the port travels in the identification, or in the flow label's low half.
Bytes in_tunnel(View frame, const Packet& packet, const IpAddress& src, const IpAddress& dst, std::uint16_t port) {
    const std::size_t length = packet.end - packet.l3;
    Bytes out = ip_header(packet.v6, src, dst, packet.v6 ? kIpv6 : kIpip, length);
    if (packet.v6) {
        out[0] = static_cast<std::uint8_t>(0x60U | (frame[packet.l3] & 0x0fU));
        out[1] = frame[packet.l3 + 1] & 0xf0U;
        put16(out, 2, port);
    } else {
        out[1] = frame[packet.l3 + 1];
        put16(out, 4, port);
        seal_ipv4(out, 0);
    }
    const auto from = frame.begin() + static_cast<std::ptrdiff_t>(packet.l3);
    out.insert(out.end(), from, from + static_cast<std::ptrdiff_t>(length));
    return out;
}

// RFC 4727: option 30, copied and of control, for IPv4; destination option 30 for IPv6.
Bytes with_option(View frame, const Packet& packet) {
    Bytes out(frame.begin(), frame.end());
    const auto behind = [&](std::size_t header) {
        return out.begin() + static_cast<std::ptrdiff_t>(packet.l3 + header);
    };
    if (packet.v6) {
        if (frame[packet.l3 + 6] == 0) {
            return {};
        }
        Bytes option(24, 0);
        option[0] = frame[packet.l3 + 6];
        option[1] = 2;
        option[2] = 0x1e;
        option[3] = 20;
        put_address(option, 4, packet.tuple.dst);
        put16(option, 20, packet.tuple.dport);
        out[packet.l3 + 6] = 60;
        put16(out, packet.l3 + 4, get16(frame, packet.l3 + 4) + 24);
        out.insert(behind(40), option.begin(), option.end());
        return out;
    }
    if (frame[packet.l3] % 16U > 13) {
        return {};
    }
    Bytes option(8, 0);
    option[0] = 0x9e;
    option[1] = 8;
    put16(option, 2, packet.tuple.dport);
    put_address(option, 4, packet.tuple.dst);
    out[packet.l3] = static_cast<std::uint8_t>(out[packet.l3] + 2);
    put16(out, packet.l3 + 2, get16(frame, packet.l3 + 2) + 8);
    out.insert(behind(20), option.begin(), option.end());
    seal_ipv4(out, packet.l3);
    return out;
}

}  // namespace sluice::oracle
