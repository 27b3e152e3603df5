#include "tests/differential/frames.h"

#include <algorithm>

namespace sluice::differential {
namespace {

using oracle::get16;
using oracle::put16;
using oracle::put32;

constexpr std::size_t kEthernet = 14;
constexpr std::size_t kRoom = 2048;  // for most frames, so that they are made in place

void append(Bytes& out, const IpAddress& address) {
    out.insert(out.end(), address.bytes.begin() + (address.is_v4() ? 12 : 0), address.bytes.end());
}

Bytes ethernet(bool v6) {
    constexpr std::uint8_t kHeader[kEthernet] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0};
    Bytes out;
    out.reserve(kRoom);
    out.assign(std::begin(kHeader), std::end(kHeader));
    if (v6) {
        out[12] = 0x86;
        out[13] = 0xdd;
    }
    return out;
}

void seal(Bytes& frame) {
    put16(frame, kEthernet + 10, 0);
    put16(frame, kEthernet + 10,
          oracle::checksum(frame, kEthernet, kEthernet + frame[kEthernet] % 16U * 4U));
}

// Ethernet and IP; lengths for `size` bytes behind the fixed header.
Bytes headers(const Recipe& recipe, std::size_t size) {
    const Tuple& tuple = recipe.tuple;
    const bool v6 = !tuple.src.is_v4();
    Bytes out = ethernet(v6);
    if (v6) {
        out.resize(kEthernet + 8, 0);
        out[kEthernet] = static_cast<std::uint8_t>(0x60 + recipe.tos / 16);
        out[kEthernet + 1] = static_cast<std::uint8_t>(recipe.tos * 16);
        put16(out, kEthernet + 4, static_cast<std::uint32_t>(size + 8 * recipe.extensions.size()));
        out[kEthernet + 6] = recipe.extensions.empty() ? tuple.protocol : recipe.extensions.front();
        out[kEthernet + 7] = recipe.ttl;
    } else {
        out.resize(kEthernet + 12, 0);
        out[kEthernet] = static_cast<std::uint8_t>(0x45 + recipe.options);
        out[kEthernet + 1] = recipe.tos;
        put16(out, kEthernet + 2, static_cast<std::uint32_t>(20 + 4 * recipe.options + size));
        put16(out, kEthernet + 4, recipe.id);
        put16(out, kEthernet + 6, recipe.whole_only ? 0x4000 : 0);
        out[kEthernet + 8] = recipe.ttl;
        out[kEthernet + 9] = tuple.protocol;
    }
    append(out, tuple.src);
    append(out, tuple.dst);
    for (std::size_t i = 0; v6 && i < recipe.extensions.size(); ++i) {
        const bool last = i + 1 == recipe.extensions.size();
        // Padding options, six bytes of them.
        out.insert(out.end(), {last ? tuple.protocol : recipe.extensions[i + 1], 0, 1, 4, 0, 0, 0, 0});
        if (recipe.extensions[i] == 44) {
            std::fill(out.end() - 6, out.end(), std::uint8_t{0});
        }
    }
    if (!v6) {
        out.insert(out.end(), 4 * recipe.options, std::uint8_t{1});
        seal(out);
    }
    return out;
}

void put_transport_checksum(Bytes& out, const Recipe& recipe, std::size_t l4) {
    const Tuple& tuple = recipe.tuple;
    const auto pseudo = oracle::pseudo_header(tuple.src, tuple.dst, tuple.protocol, out.size() - l4);
    switch (tuple.protocol) {
        case oracle::kTcp: put16(out, l4 + 16, oracle::checksum(out, l4, out.size(), pseudo)); break;
        case oracle::kUdp: {
            const std::uint16_t sum = oracle::checksum(out, l4, out.size(), pseudo);
            put16(out, l4 + 6, recipe.no_checksum ? 0U : sum == 0 ? 0xffffU : sum);
            break;
        }
        case oracle::kIcmp: put16(out, l4 + 2, oracle::checksum(out, l4, out.size())); break;
        case oracle::kIcmpv6: put16(out, l4 + 2, oracle::checksum(out, l4, out.size(), pseudo)); break;
        case oracle::kSctp: {
            const std::uint32_t crc = recipe.no_checksum ? 0 : oracle::crc32c(oracle::View(out).subspan(l4));
            for (std::size_t i = 0; i < 4; ++i) {
                out[l4 + 8 + i] = static_cast<std::uint8_t>(crc >> (8 * i));
            }
            break;
        }
        default: break;
    }
}

}  // namespace

std::uint64_t Random::next() {
    state_ += 0x9e3779b97f4a7c15ULL;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31U);
}

Bytes build(const Recipe& recipe) {
    const Tuple& tuple = recipe.tuple;
    std::size_t header = 0;
    switch (tuple.protocol) {
        case oracle::kTcp: header = 20; break;
        case oracle::kSctp: header = 16; break;
        case oracle::kUdp:
        case oracle::kIcmp:
        case oracle::kIcmpv6: header = 8; break;
        default: break;
    }
    Bytes out = headers(recipe, header + recipe.payload);
    const std::size_t l4 = out.size();
    out.resize(l4 + header, 0);
    for (std::uint32_t i = 0; i < recipe.payload; ++i) {
        out.push_back(static_cast<std::uint8_t>(recipe.seq + i * 7));
    }
    switch (tuple.protocol) {
        case oracle::kTcp:
            put32(out, l4 + 4, recipe.seq);
            put32(out, l4 + 8, recipe.ack);
            out[l4 + 12] = 0x50;
            out[l4 + 13] = recipe.flags;
            put16(out, l4 + 14, 0xffff);
            break;
        case oracle::kUdp: put16(out, l4 + 4, static_cast<std::uint32_t>(8 + recipe.payload)); break;
        case oracle::kSctp:
            put32(out, l4 + 4, recipe.seq);
            out[l4 + 12] = recipe.chunk;
            put16(out, l4 + 14, static_cast<std::uint32_t>(4 + recipe.payload));
            break;
        case oracle::kIcmp:
        case oracle::kIcmpv6:
            out[l4] = recipe.icmp_type;
            put32(out, l4 + 4, recipe.seq);
            break;
        default: break;
    }
    if (tuple.protocol == oracle::kTcp || tuple.protocol == oracle::kUdp || tuple.protocol == oracle::kSctp) {
        put16(out, l4, tuple.sport);
        put16(out, l4 + 2, tuple.dport);
    }
    put_transport_checksum(out, recipe, l4);
    out.insert(out.end(), recipe.padding, std::uint8_t{0});
    return out;
}

std::vector<Bytes> cut(const Bytes& frame, std::size_t size, std::uint32_t id) {
    const bool v6 = frame[kEthernet] / 16 == 6;
    const std::size_t header = v6 ? 40 : frame[kEthernet] % 16U * 4U;
    const std::size_t total = v6 ? 40 + get16(frame, kEthernet + 4) : get16(frame, kEthernet + 2);
    std::vector<Bytes> out;
    for (std::size_t at = 0; at < total - header; at += size) {
        const std::size_t length = std::min(size, total - header - at);
        const bool more = at + length < total - header;
        Bytes piece(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(kEthernet + header));
        if (v6) {
            put16(piece, kEthernet + 4, static_cast<std::uint32_t>(8 + length));
            piece[kEthernet + 6] = 44;
            const std::size_t fragment = piece.size();
            piece.resize(fragment + 8, 0);
            piece[fragment] = frame[kEthernet + 6];
            put16(piece, fragment + 2, static_cast<std::uint32_t>(at | (more ? 1U : 0U)));
            put32(piece, fragment + 4, id);
        } else {
            put16(piece, kEthernet + 2, static_cast<std::uint32_t>(header + length));
            put16(piece, kEthernet + 4, id);
            put16(piece, kEthernet + 6, static_cast<std::uint32_t>(at / 8 | (more ? 0x2000U : 0U)));
            seal(piece);
        }
        const auto from = frame.begin() + static_cast<std::ptrdiff_t>(kEthernet + header + at);
        piece.insert(piece.end(), from, from + static_cast<std::ptrdiff_t>(length));
        out.push_back(std::move(piece));
    }
    return out;
}

Bytes icmp_error(const IpAddress& src, const IpAddress& dst, std::uint8_t type, std::uint8_t code, std::uint32_t rest,
                 const Bytes& about, std::size_t quoted) {
    Recipe recipe;
    recipe.tuple = {src, dst, 0, 0, src.is_v4() ? oracle::kIcmp : oracle::kIcmpv6};
    quoted = std::min(quoted, about.size() - kEthernet);
    Bytes out = headers(recipe, 8 + quoted);
    const std::size_t l4 = out.size();
    out.resize(l4 + 8, 0);
    out[l4] = type;
    out[l4 + 1] = code;
    put32(out, l4 + 4, rest);
    const auto from = about.begin() + static_cast<std::ptrdiff_t>(kEthernet);
    out.insert(out.end(), from, from + static_cast<std::ptrdiff_t>(quoted));
    put_transport_checksum(out, recipe, l4);
    return out;
}

Bytes tunnelled(const Bytes& frame, const IpAddress& node, const IpAddress& pod, std::uint16_t port) {
    Recipe recipe;
    recipe.tuple = {node, pod, 0, 0, node.is_v4() ? oracle::kIpip : oracle::kIpv6};
    recipe.id = port;
    Bytes out = headers(recipe, frame.size() - kEthernet);
    if (!node.is_v4()) {
        put16(out, kEthernet + 2, port);
    }
    out.insert(out.end(), frame.begin() + static_cast<std::ptrdiff_t>(kEthernet), frame.end());
    return out;
}

Bytes with_option(const Bytes& frame, const IpAddress& pod, std::uint16_t port) {
    const bool v6 = !pod.is_v4();
    oracle::Packet packet =
        oracle::read_ip(frame, kEthernet, v6 ? oracle::kEtherIpv6 : oracle::kEtherIpv4);
    if (packet.shape != oracle::Shape::kPorts) {
        return frame;
    }
    Bytes out = oracle::with_option(frame, packet);
    if (out.empty()) {
        return frame;
    }
    const std::size_t growth = v6 ? 24 : 8;
    packet.l4 += growth;
    packet.end += growth;
    Tuple to = packet.tuple;
    to.dst = pod;
    to.dport = port;
    return oracle::rewritten(out, packet, to, packet.ttl);
}

Bytes tagged(const Bytes& frame, std::uint16_t vlan) {
    Bytes out(frame.size() + 4);
    std::copy_n(frame.begin(), 12, out.begin());
    put16(out, 12, oracle::kEtherVlan);
    put16(out, 14, vlan);
    std::copy(frame.begin() + 12, frame.end(), out.begin() + 16);
    return out;
}

}  // namespace sluice::differential
