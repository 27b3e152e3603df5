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
        put32(out, 0x55667788);
    } else {
        out.push_back(spec.protocol == 58 ? 128 : 8);
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
            view.protocol = frame[view.l4];
            view.l4 += 8;
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
    if (view.protocol == 6 || view.protocol == 17 || view.protocol == 132) {
        view.sport = static_cast<std::uint16_t>(get16(frame, l4));
        view.dport = static_cast<std::uint16_t>(get16(frame, l4 + 2));
    }
    std::size_t header = 8;
    if (view.protocol == 6) {
        view.seq = get32(frame, l4 + 4);
        view.ack = get32(frame, l4 + 8);
        view.tcp_flags = frame[l4 + 13];
        header = 4U * (frame[l4 + 12] >> 4U);
    } else if (view.protocol == 132) {
        header = 12;
    } else if (view.protocol == 1 || view.protocol == 58) {
        view.icmp_type = frame[l4];
        view.icmp_code = frame[l4 + 1];
    }
    view.payload.assign(frame.begin() + static_cast<std::ptrdiff_t>(l4 + header),
                        frame.begin() + static_cast<std::ptrdiff_t>(view.end));
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
