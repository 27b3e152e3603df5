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
    std::uint8_t sctp_chunk = 1;  // INIT
    bool sctp_no_checksum = false;  // left to the device
    std::uint8_t icmp_type = 0;  // 0: echo request
    std::string payload = "payload";
    std::size_t padding = 0;  // behind the IP packet
};

Bytes build(const Spec& spec);

// The CRC of SCTP, bit by bit.
std::uint32_t crc32c(const std::uint8_t* data, std::size_t size);

// Cuts the frame's IP packet into fragments of `size` bytes (a multiple of 8) behind the IP header, and puts them
// together again: by what their headers say, the first fragment's addresses and whatever else stands there.
std::vector<Bytes> cut(const Bytes& frame, std::size_t size, std::uint32_t id = 0x1234);
Bytes join(const std::vector<Bytes>& fragments);

// An ICMP error from one address to another, quoting the first bytes of the IP packet in `about`. `rest` is the second
// word of its header.
Bytes icmp_error(const std::string& src, const std::string& dst, std::uint8_t type, std::uint8_t code,
                 std::uint32_t rest, const Bytes& about, std::size_t quoted_bytes = 60);

// Gives the frame's IP packet another TTL or hop limit, and the checksum that goes with it.
void set_ttl(Bytes& frame, std::uint8_t ttl);

// A frame read back. Every checksum must be right, else `error` says which is not.
struct View {
    std::string error;
    std::string src, dst;
    std::uint16_t sport = 0, dport = 0;
    std::uint8_t protocol = 0, ttl = 0, tcp_flags = 0;
    std::uint32_t seq = 0, ack = 0;
    std::uint8_t icmp_type = 0, icmp_code = 0;
    std::uint32_t icmp_rest = 0;
    std::size_t l3 = 0, l4 = 0, end = 0;
    std::uint16_t l4_checksum = 0;
    Bytes payload;  // behind the transport header; of ICMP errors the quoted packet
    Bytes macs;
};

View read(const Bytes& frame);

// What an ICMP error quotes: addresses, ports and the transport checksum (0 if that is cut off), which cannot
// be verified here, for the rest of the packet is missing. `error` tells of a wrong IPv4 header checksum.
View read_quoted(const View& error);

}  // namespace sluice::packets
