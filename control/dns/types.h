// Numbers of the DNS protocol that this server uses, and the limits it keeps.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sluice::dns {

// Types of records and of questions (IANA, Domain Name System parameters).
namespace type {
inline constexpr std::uint16_t kA = 1;
inline constexpr std::uint16_t kNs = 2;
inline constexpr std::uint16_t kCname = 5;
inline constexpr std::uint16_t kSoa = 6;
inline constexpr std::uint16_t kPtr = 12;
inline constexpr std::uint16_t kHinfo = 13;
inline constexpr std::uint16_t kMx = 15;
inline constexpr std::uint16_t kTxt = 16;
inline constexpr std::uint16_t kRp = 17;
inline constexpr std::uint16_t kAfsdb = 18;
inline constexpr std::uint16_t kRt = 21;
inline constexpr std::uint16_t kAaaa = 28;
inline constexpr std::uint16_t kSrv = 33;
inline constexpr std::uint16_t kKx = 36;
inline constexpr std::uint16_t kDname = 39;
inline constexpr std::uint16_t kOpt = 41;
inline constexpr std::uint16_t kRrsig = 46;
inline constexpr std::uint16_t kNsec = 47;
inline constexpr std::uint16_t kNsec3 = 50;
inline constexpr std::uint16_t kFirstMeta =
    249;  // TKEY, TSIG, IXFR, AXFR, MAILB, MAILA: asked of nobody here
inline constexpr std::uint16_t kLastMeta = 254;
inline constexpr std::uint16_t kAny = 255;
}  // namespace type

inline constexpr std::uint16_t kClassIn = 1;

namespace rcode {
inline constexpr std::uint16_t kNoError = 0;
inline constexpr std::uint16_t kFormErr = 1;
inline constexpr std::uint16_t kServFail = 2;
inline constexpr std::uint16_t kNxDomain = 3;
inline constexpr std::uint16_t kNotImp = 4;
inline constexpr std::uint16_t kRefused = 5;
inline constexpr std::uint16_t kBadVers = 16;  // needs EDNS to be said
}  // namespace rcode

inline constexpr std::size_t kHeaderBytes = 12;
inline constexpr std::size_t kMaxNameBytes =
    255;  // RFC 1035, 2.3.4: with length bytes and the root
inline constexpr std::size_t kMaxLabelBytes = 63;
inline constexpr std::size_t kMaxMessageBytes = 65'535;
// Datagrams: what a client without EDNS takes, and what is never exceeded, so that nothing is
// fragmented (1,280 is the least MTU of IPv6, 48 its headers).
inline constexpr std::size_t kPlainUdpBytes = 512;
inline constexpr std::size_t kMaxUdpBytes = 1'232;
// A larger query is answered FORMERR.
inline constexpr std::size_t kMaxUdpQueryBytes = 4'096;
// Records in one message; upstream answers with more are not believed.
inline constexpr std::size_t kMaxRecords = 4'096;

// Seconds that clients may keep what this server knows itself, also that a name does not exist.
inline constexpr std::uint32_t kTtlSeconds = 5;

}  // namespace sluice::dns
