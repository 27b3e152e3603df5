// Lengths, numbers and flags of the headers that the generator writes and reads; link addresses.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "api/base/result.h"

namespace sluice::pktgen {

inline constexpr std::size_t kEthernetBytes = 14;
inline constexpr std::size_t kVlanBytes = 4;
inline constexpr std::size_t kIpv4Bytes = 20;
inline constexpr std::size_t kIpv6Bytes = 40;
inline constexpr std::size_t kUdpBytes = 8;
inline constexpr std::size_t kTcpBytes = 20;
inline constexpr std::size_t kMssOptionBytes = 4;
inline constexpr std::size_t kChecksumBytes = 4;   // of the link, which the port appends
inline constexpr std::size_t kMinFrame = 64;       // with it
inline constexpr std::size_t kLayer1Bytes = 20;    // preamble, delimiter, gap between frames

inline constexpr std::uint16_t kEtherIpv4 = 0x0800;
inline constexpr std::uint16_t kEtherArp = 0x0806;
inline constexpr std::uint16_t kEtherVlan = 0x8100;
inline constexpr std::uint16_t kEtherQinQ = 0x88a8;
inline constexpr std::uint16_t kEtherIpv6 = 0x86dd;

inline constexpr std::uint8_t kIpTcp = 6;
inline constexpr std::uint8_t kIpUdp = 17;
inline constexpr std::uint8_t kIpInIp = 4;
inline constexpr std::uint8_t kIpv6InIp = 41;
inline constexpr std::uint8_t kIpIcmpv6 = 58;

inline constexpr std::uint8_t kTcpFin = 0x01;
inline constexpr std::uint8_t kTcpSyn = 0x02;
inline constexpr std::uint8_t kTcpRst = 0x04;
inline constexpr std::uint8_t kTcpPsh = 0x08;
inline constexpr std::uint8_t kTcpAck = 0x10;

using Mac = std::array<std::uint8_t, 6>;
inline constexpr Mac kBroadcast{0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

// "02:00:00:00:00:01".
Result<Mac> parse_mac(std::string_view text);
[[nodiscard]] std::string mac_text(const Mac& mac);

inline void store16(std::uint8_t* out, std::uint16_t value) {
    value = __builtin_bswap16(value);
    std::memcpy(out, &value, 2);
}
inline void store32(std::uint8_t* out, std::uint32_t value) {
    value = __builtin_bswap32(value);
    std::memcpy(out, &value, 4);
}
inline std::uint16_t load16(const std::uint8_t* in) {
    std::uint16_t value = 0;
    std::memcpy(&value, in, 2);
    return __builtin_bswap16(value);
}
inline std::uint32_t load32(const std::uint8_t* in) {
    std::uint32_t value = 0;
    std::memcpy(&value, in, 4);
    return __builtin_bswap32(value);
}

}  // namespace sluice::pktgen
