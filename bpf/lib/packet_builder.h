// Frames for tests: a fluent builder, and a reader that checks every checksum by arithmetic of its own (byte
// pairs in network order, nothing shared with the code under test).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sluice::packets {

using Bytes = std::vector<std::uint8_t>;

// The one's complement sum of big-endian 16-bit words, an odd byte padded with zero.
std::uint32_t sum16(const std::uint8_t* data, std::size_t size, std::uint32_t start = 0);

struct Spec {
    std::string src = "10.244.1.5";
    std::string dst = "10.96.0.10";
    std::uint16_t sport = 40000;
    std::uint16_t dport = 80;
    std::uint8_t protocol = 6;  // 6 TCP, 17 UDP, 132 SCTP, 1 ICMP echo, 58 ICMPv6 echo
    std::uint8_t tcp_flags = 0x02;
    std::uint32_t seq = 1000;
    std::uint32_t ack = 0;
    std::uint8_t ttl = 64;
    std::vector<std::uint16_t> vlans;  // outermost first
    std::size_t option_words = 0;      // IPv4 options, in 4-byte words
    std::vector<std::uint8_t> extensions;  // IPv6: header numbers, 8 bytes each
    std::uint16_t fragment = 0;            // IPv4 flags and offset, or IPv6 offset and more bit
    bool udp_no_checksum = false;
    std::string payload = "payload";
    std::size_t padding = 0;  // behind the IP packet
};

Bytes build(const Spec& spec);

// A frame read back. Every checksum must be right, else `error` says which is not.
struct View {
    std::string error;
    std::string src, dst;
    std::uint16_t sport = 0, dport = 0;
    std::uint8_t protocol = 0, ttl = 0, tcp_flags = 0;
    std::uint32_t seq = 0, ack = 0;
    std::uint8_t icmp_type = 0, icmp_code = 0;
    std::size_t l3 = 0, l4 = 0, end = 0;
    std::uint16_t l4_checksum = 0;
    Bytes payload;  // behind the transport header; of ICMP errors the quoted packet
    Bytes macs;
};

View read(const Bytes& frame);

}  // namespace sluice::packets
