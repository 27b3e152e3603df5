// See ip_address.h.
#include "api/base/ip_address.h"

#include <arpa/inet.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <optional>

namespace sluice {
namespace {

constexpr std::array<std::uint8_t, 12> kV4Prefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

std::optional<std::uint32_t> parse_octet(std::string_view text, bool leading_zeros) {
    if (text.empty() || text.size() > (leading_zeros ? 16U : 3U)) return std::nullopt;
    if (!leading_zeros && text.size() > 1 && text[0] == '0') return std::nullopt;
    std::uint32_t value = 0;
    for (const char c : text) {
        if (c < '0' || c > '9') return std::nullopt;
        value = value * 10 + static_cast<std::uint32_t>(c - '0');
        if (value > 255) return std::nullopt;
    }
    return value;
}

Result<IpAddress> parse_address(std::string_view text, bool leading_zeros) {
    IpAddress address;
    if (text.find(':') != std::string_view::npos) {
        std::array<char, INET6_ADDRSTRLEN + 1> buffer{};
        if (text.size() < buffer.size()) {
            std::copy(text.begin(), text.end(), buffer.begin());
            if (inet_pton(AF_INET6, buffer.data(), address.bytes.data()) == 1) return address;
        }
        return make_error(Code::kInvalidArgument, "\"{}\" is not a valid IP address", text);
    }
    std::copy(kV4Prefix.begin(), kV4Prefix.end(), address.bytes.begin());
    std::string_view rest = text;
    for (std::size_t i = 0; i < 4; ++i) {
        const std::size_t dot = i < 3 ? rest.find('.') : rest.size();
        const auto octet = dot == std::string_view::npos
                               ? std::nullopt
                               : parse_octet(rest.substr(0, dot), leading_zeros);
        if (!octet) {
            return make_error(Code::kInvalidArgument, "\"{}\" is not a valid IP address", text);
        }
        address.bytes[12 + i] = static_cast<std::uint8_t>(*octet);
        if (i < 3) rest.remove_prefix(dot + 1);
    }
    return address;
}

}  // namespace

std::string_view protocol_name(Protocol protocol) {
    switch (protocol) {
        case Protocol::kTcp: return "TCP";
        case Protocol::kUdp: return "UDP";
        case Protocol::kSctp: return "SCTP";
    }
    return "unknown";
}

Result<Protocol> parse_protocol(std::string_view name) {
    if (name == "TCP") return Protocol::kTcp;
    if (name == "UDP") return Protocol::kUdp;
    if (name == "SCTP") return Protocol::kSctp;
    return make_error(Code::kInvalidArgument, "protocol \"{}\" is none of TCP, UDP, SCTP", name);
}

Result<IpAddress> IpAddress::parse(std::string_view text) { return parse_address(text, false); }

Result<IpAddress> IpAddress::parse_sloppy(std::string_view text) {
    return parse_address(text, true);
}

IpAddress IpAddress::from_v4_be(std::uint32_t v4_be) {
    IpAddress address;
    std::copy(kV4Prefix.begin(), kV4Prefix.end(), address.bytes.begin());
    std::memcpy(&address.bytes[12], &v4_be, sizeof v4_be);
    return address;
}

bool IpAddress::is_v4() const {
    return std::equal(kV4Prefix.begin(), kV4Prefix.end(), bytes.begin());
}

std::uint32_t IpAddress::v4_be() const {
    SLUICE_ASSERT(is_v4());
    std::uint32_t v4_be = 0;
    std::memcpy(&v4_be, &bytes[12], sizeof v4_be);
    return v4_be;
}

bool IpAddress::is_unspecified() const {
    return is_v4() ? v4_be() == 0
                   : std::all_of(bytes.begin(), bytes.end(), [](auto b) { return b == 0; });
}

bool IpAddress::is_loopback() const {
    if (is_v4()) return bytes[12] == 127;
    return bytes[15] == 1 && std::all_of(bytes.begin(), bytes.end() - 1, [](auto b) { return b == 0; });
}

bool IpAddress::is_link_local() const {
    if (is_v4()) return bytes[12] == 169 && bytes[13] == 254;
    return bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80;
}

bool IpAddress::is_multicast() const {
    return is_v4() ? (bytes[12] & 0xf0) == 0xe0 : bytes[0] == 0xff;
}

std::string IpAddress::to_string() const {
    std::array<char, INET6_ADDRSTRLEN> buffer{};
    if (is_v4()) {
        inet_ntop(AF_INET, &bytes[12], buffer.data(), buffer.size());
    } else {
        inet_ntop(AF_INET6, bytes.data(), buffer.data(), buffer.size());
    }
    return buffer.data();
}

Result<IpPrefix> IpPrefix::parse(std::string_view text, bool allow_host_bits) {
    const std::size_t slash = text.find('/');
    const auto bad = [&] {
        return make_error(Code::kInvalidArgument, "\"{}\" is not a valid CIDR", text);
    };
    if (slash == std::string_view::npos) return bad();
    auto address = IpAddress::parse(text.substr(0, slash));
    const std::string_view length = text.substr(slash + 1);
    if (!address || length.empty() || length.size() > 3) return bad();
    std::uint32_t bits = 0;
    for (const char c : length) {
        if (c < '0' || c > '9') return bad();
        bits = bits * 10 + static_cast<std::uint32_t>(c - '0');
    }
    const bool v4 = address->is_v4();
    if (bits > (v4 ? 32U : 128U) || (length.size() > 1 && length[0] == '0')) return bad();
    IpPrefix prefix{*address, static_cast<std::uint8_t>(bits)};
    const std::size_t kept = bits + (v4 ? 96U : 0U);
    for (std::size_t i = 0; i < 16; ++i) {
        std::uint8_t mask = 0;
        if (kept >= (i + 1) * 8) {
            mask = 0xff;
        } else if (kept > i * 8) {
            mask = static_cast<std::uint8_t>(0xff00U >> (kept - i * 8));
        }
        prefix.address.bytes[i] = static_cast<std::uint8_t>(prefix.address.bytes[i] & mask);
    }
    if (!allow_host_bits && prefix.address != *address) {
        return make_error(Code::kInvalidArgument, "\"{}\" has host bits set, {} would be the range",
                          text, prefix.to_string());
    }
    return prefix;
}

bool IpPrefix::contains(const IpAddress& other) const {
    if (other.is_v4() != address.is_v4()) return false;
    const std::size_t kept = bits + (address.is_v4() ? 96U : 0U);
    const std::size_t whole = kept / 8;
    if (!std::equal(address.bytes.begin(), address.bytes.begin() + static_cast<std::ptrdiff_t>(whole),
                    other.bytes.begin())) {
        return false;
    }
    if (kept % 8 == 0) return true;
    const auto mask = static_cast<std::uint8_t>(0xff00U >> (kept % 8));
    return ((address.bytes[whole] ^ other.bytes[whole]) & mask) == 0;
}

std::string IpPrefix::to_string() const { return fmt::format("{}/{}", address.to_string(), bits); }

}  // namespace sluice

std::size_t std::hash<sluice::IpAddress>::operator()(const sluice::IpAddress& address) const noexcept {
    return XXH3_64bits(address.bytes.data(), address.bytes.size());
}
