#include "bpf/lib/packet_builder.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstdlib>

namespace sluice::packets {
namespace {

void put16(Bytes& out, std::uint32_t value) {
    out.push_back(static_cast<std::uint8_t>(value >> 8U));
    out.push_back(static_cast<std::uint8_t>(value));
}

void put32(Bytes& out, std::uint32_t value) {
    put16(out, value >> 16U);
    put16(out, value & 0xffffU);
}

void set16(Bytes& out, std::size_t at, std::uint32_t value) {
    out[at] = static_cast<std::uint8_t>(value >> 8U);
    out[at + 1] = static_cast<std::uint8_t>(value);
}

std::uint32_t get16(const Bytes& in, std::size_t at) {
    return static_cast<std::uint32_t>(in[at]) << 8U | in[at + 1];
}

std::uint32_t get32(const Bytes& in, std::size_t at) {
    return get16(in, at) << 16U | get16(in, at + 2);
}

std::uint16_t fold(std::uint32_t sum) {
    while (sum >> 16U != 0) {
        sum = (sum & 0xffffU) + (sum >> 16U);
    }
    return static_cast<std::uint16_t>(sum);
}

void put_address(Bytes& out, const std::string& text) {
    const bool v4 = text.find(':') == std::string::npos;
    std::array<std::uint8_t, 16> bytes{};
    if (inet_pton(v4 ? AF_INET : AF_INET6, text.c_str(), bytes.data()) != 1) {
        std::abort();
    }
    out.insert(out.end(), bytes.begin(), bytes.begin() + (v4 ? 4 : 16));
}

std::string address_text(const Bytes& frame, std::size_t at, bool v4) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    inet_ntop(v4 ? AF_INET : AF_INET6, &frame[at], text.data(), text.size());
    return text.data();
}

std::uint32_t pseudo_sum(const Bytes& frame, std::size_t l3, bool v4, std::uint8_t protocol,
                         std::size_t length) {
    const std::uint32_t start = protocol + static_cast<std::uint32_t>(length);
    return v4 ? sum16(&frame[l3 + 12], 8, start) : sum16(&frame[l3 + 8], 32, start);
}

Bytes transport(const Spec& spec) {
    Bytes out;
    if (spec.protocol == 6) {
        put16(out, spec.sport);
        put16(out, spec.dport);
        put32(out, spec.seq);
        put32(out, spec.ack);
        put16(out, 0x5000U | spec.tcp_flags);
        put16(out, 65535);
        put32(out, 0);
    } else if (spec.protocol == 17) {
        put16(out, spec.sport);
        put16(out, spec.dport);
        put16(out, static_cast<std::uint32_t>(8 + spec.payload.size()));
        put16(out, 0);
    } else if (spec.protocol == 132) {
        put16(out, spec.sport);
        put16(out, spec.dport);
        put32(out, 0x11223344);
        put32(out, 0);
        out.push_back(spec.sctp_chunk);
        out.push_back(0);
        put16(out, static_cast<std::uint32_t>(4 + spec.payload.size()));
    } else {
        out.push_back(spec.icmp_type != 0 ? spec.icmp_type : spec.protocol == 58 ? 128 : 8);
        out.push_back(0);
        put16(out, 0);
        put32(out, 0x00010001);
    }
    out.insert(out.end(), spec.payload.begin(), spec.payload.end());
    return out;
}

std::size_t checksum_offset(std::uint8_t protocol) {
    return protocol == 6 ? 16 : protocol == 17 ? 6 : 2;
}

}  // namespace

std::uint32_t sum16(const std::uint8_t* data, std::size_t size, std::uint32_t start) {
    std::uint32_t sum = start;
    for (std::size_t i = 0; i < size; i += 2) {
        sum += static_cast<std::uint32_t>(data[i]) << 8U;
        if (i + 1 < size) {
            sum += data[i + 1];
        }
        sum = fold(sum);
    }
    return sum;
}

std::uint32_t crc32c(const std::uint8_t* data, std::size_t size) {
    std::uint32_t crc = ~0U;
    for (std::size_t i = 0; i < size; ++i) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; ++bit) {
            crc = (crc & 1U) != 0 ? (crc >> 1U) ^ 0x82f63b78U : crc >> 1U;
        }
    }
    return ~crc;
}

std::vector<Bytes> cut(const Bytes& frame, std::size_t size, std::uint32_t id) {
    const bool v4 = frame[14] >> 4U == 4;
    const std::size_t header = v4 ? 4U * (frame[14] & 0xfU) : 40;
    const std::size_t l4 = 14 + header;
    const std::size_t end = v4 ? 14 + get16(frame, 16) : 54 + get16(frame, 18);
    std::vector<Bytes> out;
    for (std::size_t at = l4; at < end; at += size) {
        const std::size_t here = std::min(size, end - at);
        const std::uint32_t more = at + here < end ? 1 : 0;
        const auto offset = static_cast<std::uint32_t>(at - l4);
        Bytes piece(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(l4));
        if (v4) {
            set16(piece, 16, static_cast<std::uint32_t>(header + here));
            set16(piece, 18, id);
            set16(piece, 20, more << 13U | offset / 8);
            set16(piece, 24, 0);
            set16(piece, 24, 0xffffU ^ sum16(&piece[14], header));
        } else {
            set16(piece, 18, static_cast<std::uint32_t>(8 + here));
            piece.push_back(piece[20]);
            piece[20] = 44;
            piece.push_back(0);
            put16(piece, offset | more);
            put32(piece, id);
        }
        piece.insert(piece.end(), frame.begin() + static_cast<std::ptrdiff_t>(at),
                     frame.begin() + static_cast<std::ptrdiff_t>(at + here));
        out.push_back(piece);
    }
    return out;
}

Bytes join(const std::vector<Bytes>& fragments) {
    const Bytes& first = fragments.front();
    const bool v4 = first[14] >> 4U == 4;
    const std::size_t header = v4 ? 4U * (first[14] & 0xfU) : 40;
    Bytes out(first.begin(), first.begin() + static_cast<std::ptrdiff_t>(14 + header));
    if (!v4) {
        out[20] = first[54];
    }
    for (const Bytes& piece : fragments) {
        const std::size_t data = 14 + header + (v4 ? 0 : 8);
        const std::size_t end = v4 ? 14 + get16(piece, 16) : 54 + get16(piece, 18);
        const std::size_t offset = v4 ? 8 * (get16(piece, 20) & 0x1fffU) : get16(piece, 56) & 0xfff8U;
        out.resize(std::max(out.size(), 14 + header + offset + end - data));
        std::copy(piece.begin() + static_cast<std::ptrdiff_t>(data),
                  piece.begin() + static_cast<std::ptrdiff_t>(end),
                  out.begin() + static_cast<std::ptrdiff_t>(14 + header + offset));
        if (!std::equal(piece.begin() + (v4 ? 26 : 22), piece.begin() + (v4 ? 34 : 54),
                        first.begin() + (v4 ? 26 : 22))) {
            return {};  // other addresses: not of this datagram
        }
        if (v4 && sum16(&piece[14], header) != 0xffff) {
            return {};
        }
    }
    if (v4) {
        set16(out, 16, static_cast<std::uint32_t>(out.size() - 14));
        set16(out, 20, 0);
        set16(out, 24, 0);
        set16(out, 24, 0xffffU ^ sum16(&out[14], header));
    } else {
        set16(out, 18, static_cast<std::uint32_t>(out.size() - 54));
    }
    return out;
}

Bytes icmp_error(const std::string& src, const std::string& dst, std::uint8_t type, std::uint8_t code,
                 std::uint32_t rest, const Bytes& about, std::size_t quoted_bytes) {
    const bool v4 = src.find(':') == std::string::npos;
    Spec spec;
    spec.src = src;
    spec.dst = dst;
    spec.protocol = v4 ? 1 : 58;
    const std::size_t quoted = std::min(quoted_bytes, about.size() - 14);
    spec.payload.assign(about.begin() + 14, about.begin() + 14 + static_cast<std::ptrdiff_t>(quoted));
    Bytes out = build(spec);
    const std::size_t l4 = v4 ? 34 : 54;
    out[l4] = type;
    out[l4 + 1] = code;
    set16(out, l4 + 2, 0);
    set16(out, l4 + 4, rest >> 16U);
    set16(out, l4 + 6, rest & 0xffffU);
    const std::uint32_t start = v4 ? 0 : pseudo_sum(out, 14, false, 58, 8 + quoted);
    set16(out, l4 + 2, 0xffffU ^ sum16(&out[l4], 8 + quoted, start));
    return out;
}

void set_ttl(Bytes& frame, std::uint8_t ttl) {
    const bool v4 = frame.at(14) >> 4U == 4;
    frame[v4 ? 22 : 21] = ttl;
    if (!v4) return;
    set16(frame, 24, 0);
    set16(frame, 24, 0xffffU ^ sum16(&frame[14], 4U * (frame[14] & 0xfU)));
}

View read_quoted(const View& error) {
    Bytes frame(14, 0);
    const bool v4 = error.payload.at(0) >> 4U == 4;
    set16(frame, 12, v4 ? 0x0800 : 0x86dd);
    frame.insert(frame.end(), error.payload.begin(), error.payload.end());
    View view;
    std::size_t l4 = 54;
    if (v4) {
        const std::size_t header = 4U * (frame[14] & 0xfU);
        if (sum16(&frame[14], header) != 0xffff) {
            view.error = "quoted IPv4 header checksum";
        }
        view.protocol = frame[23];
        view.src = address_text(frame, 26, true);
        view.dst = address_text(frame, 30, true);
        l4 = 14 + header;
    } else {
        view.protocol = frame[20];
        view.src = address_text(frame, 22, false);
        view.dst = address_text(frame, 38, false);
        while (view.protocol == 0 || view.protocol == 60 || view.protocol == 44) {
            view.protocol = frame[l4];
            l4 += 8;
        }
    }
    view.sport = static_cast<std::uint16_t>(get16(frame, l4));
    view.dport = static_cast<std::uint16_t>(get16(frame, l4 + 2));
    const std::size_t check = l4 + checksum_offset(view.protocol);
    if (view.protocol != 132 && check + 2 <= frame.size()) {
        view.l4_checksum = static_cast<std::uint16_t>(get16(frame, check));
    }
    return view;
}

Bytes build(const Spec& spec) {
    const bool v4 = spec.src.find(':') == std::string::npos;
    Bytes out = {0x02, 0, 0, 0, 0, 0x0b, 0x02, 0, 0, 0, 0, 0x0a};
    for (const std::uint16_t vlan : spec.vlans) {
        put16(out, vlan == spec.vlans.front() && spec.vlans.size() > 1 ? 0x88a8 : 0x8100);
        put16(out, vlan);
    }
    put16(out, v4 ? 0x0800 : 0x86dd);
    const std::size_t l3 = out.size();
    const Bytes l4_bytes = transport(spec);
    if (v4) {
        const std::size_t header = 20 + 4 * spec.option_words;
        out.push_back(static_cast<std::uint8_t>(0x40 | header / 4));
        out.push_back(0);
        put16(out, static_cast<std::uint32_t>(header + l4_bytes.size()));
        put16(out, 0x1234);
        put16(out, spec.fragment);
        out.push_back(spec.ttl);
        out.push_back(spec.protocol);
        put16(out, 0);
        put_address(out, spec.src);
        put_address(out, spec.dst);
        out.insert(out.end(), 4 * spec.option_words, 1);  // no-operation options
        set16(out, l3 + 10, 0xffffU ^ sum16(&out[l3], header));
    } else {
        put32(out, 0x60012345);
        put16(out, static_cast<std::uint32_t>(8 * spec.extensions.size() + l4_bytes.size()));
        out.push_back(spec.extensions.empty() ? spec.protocol : spec.extensions.front());
        out.push_back(spec.ttl);
        put_address(out, spec.src);
        put_address(out, spec.dst);
        for (std::size_t i = 0; i < spec.extensions.size(); ++i) {
            const bool last = i + 1 == spec.extensions.size();
            out.push_back(last ? spec.protocol : spec.extensions[i + 1]);
            out.push_back(0);
            if (spec.extensions[i] == 44) {
                put16(out, spec.fragment);
                put32(out, 7);
            } else {
                put16(out, 0x0104);  // PadN of 4
                put32(out, 0);
            }
        }
    }
    const std::size_t l4 = out.size();
    out.insert(out.end(), l4_bytes.begin(), l4_bytes.end());
    if (spec.protocol == 132 && !spec.sctp_no_checksum) {
        const std::uint32_t crc = crc32c(&out[l4], l4_bytes.size());
        for (std::size_t i = 0; i < 4; ++i) {
            out[l4 + 8 + i] = static_cast<std::uint8_t>(crc >> (8 * i));
        }
    }
    if (spec.protocol != 132 && !(spec.protocol == 17 && spec.udp_no_checksum)) {
        const std::uint32_t start =
            spec.protocol == 1 ? 0 : pseudo_sum(out, l3, v4, spec.protocol, l4_bytes.size());
        std::uint32_t check = 0xffffU ^ sum16(&out[l4], l4_bytes.size(), start);
        if (check == 0 && spec.protocol == 17) {
            check = 0xffff;
        }
        set16(out, l4 + checksum_offset(spec.protocol), check);
    }
    out.insert(out.end(), spec.padding, 0);
    return out;
}

View read(const Bytes& frame) {
    View view;
    view.macs.assign(frame.begin(), frame.begin() + 12);
    std::size_t at = 12;
    while (get16(frame, at) == 0x8100 || get16(frame, at) == 0x88a8) {
        at += 4;
    }
    const bool v4 = get16(frame, at) == 0x0800;
    const std::size_t l3 = view.l3 = at + 2;
    if (v4) {
        const std::size_t header = 4U * (frame[l3] & 0xfU);
        if (sum16(&frame[l3], header) != 0xffff) {
            view.error = "IPv4 header checksum";
        }
        view.protocol = frame[l3 + 9];
        view.ttl = frame[l3 + 8];
        view.l4 = l3 + header;
        view.end = l3 + get16(frame, l3 + 2);
        view.src = address_text(frame, l3 + 12, true);
        view.dst = address_text(frame, l3 + 16, true);
    } else {
        view.protocol = frame[l3 + 6];
        view.ttl = frame[l3 + 7];
        view.l4 = l3 + 40;
        view.end = l3 + 40 + get16(frame, l3 + 4);
        while (view.protocol == 0 || view.protocol == 43 || view.protocol == 44 ||
               view.protocol == 60) {
            const std::size_t size = 8 * (view.protocol == 44 ? 1U : frame[view.l4 + 1] + 1U);
            view.protocol = frame[view.l4];
            view.l4 += size;
        }
        view.src = address_text(frame, l3 + 8, false);
        view.dst = address_text(frame, l3 + 24, false);
    }
    if (view.end > frame.size()) {
        view.error = "length beyond the frame";
        return view;
    }
    const std::size_t length = view.end - view.l4;
    const std::size_t l4 = view.l4;
    // Less than any transport header: part of a datagram, or broken on purpose.
    if (view.end < l4 + 20) {
        const std::size_t least = view.protocol == 6 ? 20 : view.protocol == 132 ? 16 : 8;
        if (view.end < l4 + least) {
            view.error = "transport header cut off";
            return view;
        }
    }
    if (view.protocol == 6 || view.protocol == 17 || view.protocol == 132) {
        view.sport = static_cast<std::uint16_t>(get16(frame, l4));
        view.dport = static_cast<std::uint16_t>(get16(frame, l4 + 2));
    }
    std::size_t header = 8;
    if (view.protocol == 6) {
        header = 4U * (frame[l4 + 12] >> 4U);
        if (l4 + header > view.end) {
            view.error = "TCP header length";
            return view;
        }
        view.seq = get32(frame, l4 + 4);
        view.ack = get32(frame, l4 + 8);
        view.tcp_flags = frame[l4 + 13];
    } else if (view.protocol == 132) {
        header = 16;  // with the first chunk's
    } else if (view.protocol == 1 || view.protocol == 58) {
        view.icmp_type = frame[l4];
        view.icmp_code = frame[l4 + 1];
        view.icmp_rest = get32(frame, l4 + 4);
    }
    view.payload.assign(frame.begin() + static_cast<std::ptrdiff_t>(l4 + header),
                        frame.begin() + static_cast<std::ptrdiff_t>(view.end));
    if (view.protocol == 132 && get32(frame, l4 + 8) != 0) {
        Bytes copy(frame.begin() + static_cast<std::ptrdiff_t>(l4),
                   frame.begin() + static_cast<std::ptrdiff_t>(view.end));
        const std::uint32_t found = static_cast<std::uint32_t>(copy[8]) | static_cast<std::uint32_t>(copy[9]) << 8U |
                                    static_cast<std::uint32_t>(copy[10]) << 16U |
                                    static_cast<std::uint32_t>(copy[11]) << 24U;
        std::fill(copy.begin() + 8, copy.begin() + 12, std::uint8_t{0});
        if (found != crc32c(copy.data(), copy.size())) {
            view.error = "SCTP checksum";
        }
    }
    if (view.protocol != 132) {
        view.l4_checksum =
            static_cast<std::uint16_t>(get16(frame, l4 + checksum_offset(view.protocol)));
        const bool none = view.protocol == 17 && view.l4_checksum == 0;
        const std::uint32_t start =
            view.protocol == 1 ? 0 : pseudo_sum(frame, l3, v4, view.protocol, length);
        if (!none && sum16(&frame[l4], length, start) != 0xffff) {
            view.error = "transport checksum";
        }
    }
    return view;
}

}  // namespace sluice::packets
