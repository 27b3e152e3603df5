// See discovery.h. Offsets are those of the RFCs' pictures.
#include "dataplane/dpdk/routing/discovery.h"

#include <algorithm>
#include <cstring>
#include <initializer_list>

#include "dataplane/dpdk/routing/check.h"

namespace sluice::dpdk {
namespace {

constexpr std::size_t kEthernet = 14;
constexpr std::size_t kTag = 4;
constexpr std::size_t kMaxTags = 2;
constexpr std::size_t kArp = 28;
constexpr std::size_t kIpv6 = 40;
constexpr std::size_t kNeighbourMessage = 24;
constexpr std::size_t kLinkOption = 8;
constexpr std::size_t kLeastFrame = 60;  // without its check sequence (IEEE 802.3)

constexpr std::uint16_t kTypeArp = 0x0806;
constexpr std::uint16_t kTypeIpv6 = 0x86dd;
constexpr std::uint16_t kTypeVlan = 0x8100;
constexpr std::uint16_t kTypeServiceVlan = 0x88a8;
constexpr std::uint8_t kIcmpv6 = 58;
constexpr std::uint8_t kTypeSolicitation = 135;
constexpr std::uint8_t kTypeAdvertisement = 136;
constexpr std::uint8_t kOptionSource = 1;
constexpr std::uint8_t kOptionTarget = 2;
constexpr std::uint8_t kHopLimit = 255;
constexpr std::uint8_t kFlagRouter = 0x80;
constexpr std::uint8_t kFlagSolicited = 0x40;
constexpr std::uint8_t kFlagOverride = 0x20;

constexpr Mac kBroadcast = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
constexpr std::array<std::uint8_t, 16> kAllNodes = {0xff, 0x02, 0, 0, 0, 0, 0, 0,
                                                    0,    0,    0, 0, 0, 0, 0, 1};

std::uint16_t get16(const std::uint8_t* at) {
    return static_cast<std::uint16_t>(at[0] << 8U | at[1]);
}
void put16(std::uint8_t* at, std::size_t value) {
    at[0] = static_cast<std::uint8_t>(value >> 8U & 0xffU);
    at[1] = static_cast<std::uint8_t>(value & 0xffU);
}
template <std::size_t N>
std::array<std::uint8_t, N> take(const std::uint8_t* at) {
    std::array<std::uint8_t, N> out;
    std::copy_n(at, N, out.begin());
    return out;
}
template <std::size_t N>
void put(std::uint8_t* at, const std::array<std::uint8_t, N>& bytes) {
    std::copy(bytes.begin(), bytes.end(), at);
}
IpAddress address4(const std::uint8_t* at) {
    std::uint32_t v4_be = 0;
    std::memcpy(&v4_be, at, sizeof v4_be);
    return IpAddress::from_v4_be(v4_be);
}
void put4(std::uint8_t* at, const IpAddress& address) {
    // The unspecified address of either family stands for 0.0.0.0.
    std::copy_n(address.is_v4() ? &address.bytes[12] : IpAddress{}.bytes.data(), 4, at);
}

// 33:33 and the last four bytes (RFC 2464, section 7).
Mac group_mac(const std::array<std::uint8_t, 16>& group) {
    return {0x33, 0x33, group[12], group[13], group[14], group[15]};
}
// RFC 4291, section 2.7.1.
std::array<std::uint8_t, 16> solicited_node(const IpAddress& target) {
    return {0xff,
            0x02,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            1,
            0xff,
            target.bytes[13],
            target.bytes[14],
            target.bytes[15]};
}

// One's complement sum over the pseudo-header and the message; 0 if its checksum is right.
std::uint16_t icmpv6_sum(const std::uint8_t* ip, std::size_t length) {
    std::uint64_t sum = length + kIcmpv6;
    for (std::size_t i = 8; i < kIpv6; i += 2) sum += get16(ip + i);
    const std::uint8_t* const message = ip + kIpv6;
    for (std::size_t i = 0; i + 1 < length; i += 2) sum += get16(message + i);
    if (length % 2 != 0) sum += static_cast<std::uint64_t>(message[length - 1]) << 8U;
    while (sum >> 16U != 0) sum = (sum & 0xffffU) + (sum >> 16U);
    return static_cast<std::uint16_t>(~sum & 0xffffU);
}

Read read_arp(const std::uint8_t* arp, std::size_t length, Discovery* out) {
    if (length < kArp) return Read::kMalformed;
    const std::uint16_t operation = get16(arp + 6);
    if (get16(arp) != 1 || get16(arp + 2) != 0x0800 || operation < 1 || operation > 2)
        return Read::kOther;
    if (arp[4] != 6 || arp[5] != 4) return Read::kMalformed;
    out->kind = operation == 1 ? Discovery::Kind::kArpRequest : Discovery::Kind::kArpReply;
    const Mac sender = take<6>(arp + 8);
    out->sender = address4(arp + 14);
    out->target = address4(arp + 24);
    if (!is_station(sender) || out->sender.is_multicast() || out->sender.is_loopback() ||
        out->sender.bytes[12] == 255) {
        return Read::kMalformed;
    }
    out->mac = sender;
    return Read::kDiscovery;
}

// False when an option is broken. Of several options of a kind the first counts.
bool read_options(const std::uint8_t* at, std::size_t length, std::uint8_t wanted, Discovery* out) {
    while (length > 0) {
        if (length < 2 || at[1] == 0) return false;
        const std::size_t size = at[1] * std::size_t{8};
        if (size > length) return false;
        if (at[0] == wanted && !out->mac) {
            if (size != kLinkOption) return false;
            out->mac = take<6>(at + 2);
            if (!is_station(*out->mac)) return false;
        }
        at += size;
        length -= size;
    }
    return true;
}

Read read_ipv6(const std::uint8_t* ip, std::size_t length, Discovery* out) {
    if (length < kIpv6 || ip[0] >> 4U != 6) return Read::kMalformed;
    if (ip[6] != kIcmpv6) return Read::kOther;
    const std::size_t size = get16(ip + 4);
    if (size > length - kIpv6 || size < 4) return Read::kMalformed;
    const std::uint8_t* const message = ip + kIpv6;
    const bool asks = message[0] == kTypeSolicitation;
    if (!asks && message[0] != kTypeAdvertisement) return Read::kOther;
    out->kind = asks ? Discovery::Kind::kSolicitation : Discovery::Kind::kAdvertisement;
    out->sender = IpAddress::from_v6(take<16>(ip + 8));
    out->to = IpAddress::from_v6(take<16>(ip + 24));
    if (ip[7] != kHopLimit || message[1] != 0 || size < kNeighbourMessage ||
        icmpv6_sum(ip, size) != 0) {
        return Read::kMalformed;
    }
    out->target = IpAddress::from_v6(take<16>(message + 8));
    const IpAddress& target = out->target;
    if (target.is_v4() || target.is_multicast() || target.is_unspecified() ||
        target.is_loopback() || out->sender.is_v4() || out->sender.is_multicast() ||
        out->sender.is_loopback()) {
        return Read::kMalformed;
    }
    if (!read_options(message + kNeighbourMessage, size - kNeighbourMessage,
                      asks ? kOptionSource : kOptionTarget, out)) {
        return Read::kMalformed;
    }
    if (asks && out->sender.is_unspecified() &&
        (out->mac || out->to.bytes != solicited_node(target))) {
        return Read::kMalformed;
    }
    if (!asks) {
        out->solicited = (message[4] & kFlagSolicited) != 0;
        out->overrides = (message[4] & kFlagOverride) != 0;
        if (out->sender.is_unspecified() || (out->solicited && out->to.is_multicast()))
            return Read::kMalformed;
    }
    return Read::kDiscovery;
}

// Writes the IPv6 header, an advertisement or solicitation with its link-layer option, and the
// checksum.
void write_message(std::uint8_t* ip, std::uint8_t type, std::uint8_t flags,
                   const std::array<std::uint8_t, 16>& from, const std::array<std::uint8_t, 16>& to,
                   const IpAddress& target, const Mac& mac) {
    constexpr std::size_t kSize = kNeighbourMessage + kLinkOption;
    std::fill_n(ip, kIpv6 + kSize, std::uint8_t{0});
    ip[0] = 0x60;
    put16(ip + 4, kSize);
    ip[6] = kIcmpv6;
    ip[7] = kHopLimit;
    put(ip + 8, from);
    put(ip + 24, to);
    std::uint8_t* const message = ip + kIpv6;
    message[0] = type;
    message[4] = flags;
    put(message + 8, target.bytes);
    message[24] = type == kTypeSolicitation ? kOptionSource : kOptionTarget;
    message[25] = 1;
    put(message + 26, mac);
    put16(message + 2, icmpv6_sum(ip, kSize));
}

void write_arp(std::uint8_t* arp, std::uint8_t operation, const Mac& sender_mac,
               const IpAddress& sender, const Mac& target_mac, const IpAddress& target) {
    constexpr std::array<std::uint8_t, 6> kFixed = {0, 1, 8, 0, 6, 4};
    put(arp, kFixed);
    put16(arp + 6, operation);
    put(arp + 8, sender_mac);
    put4(arp + 14, sender);
    put(arp + 18, target_mac);
    put4(arp + 24, target);
}

// A frame of zeros behind its Ethernet header; *body is where the rest begins.
OutFrame begin(std::uint16_t index, const Interface& interface, const Mac& to, std::uint16_t type,
               std::size_t body, std::size_t* at) {
    OutFrame out;
    out.interface = index;
    *at = kEthernet + (interface.vlan != 0 ? kTag : 0);
    out.bytes.resize(std::max(*at + body, kLeastFrame));
    put(&out.bytes[0], to);
    put(&out.bytes[6], interface.mac);
    if (interface.vlan != 0) {
        put16(&out.bytes[12], kTypeVlan);
        put16(&out.bytes[14], interface.vlan);
    }
    put16(&out.bytes[*at - 2], type);
    return out;
}

}  // namespace

Read read_discovery(const Frame& frame, Discovery* out) {
    *out = {};
    if (frame.length < kEthernet) return Read::kMalformed;
    std::size_t at = kEthernet - 2;
    std::uint16_t type = get16(frame.data + at);
    for (std::size_t tags = 0; type == kTypeVlan || type == kTypeServiceVlan; ++tags) {
        at += kTag;
        if (tags == kMaxTags) return Read::kOther;
        if (at + 2 > frame.length) return Read::kMalformed;
        type = get16(frame.data + at);
    }
    out->l2_length = at + 2;
    out->destination = take<6>(frame.data);
    out->source = take<6>(frame.data + 6);
    if (type != kTypeArp && type != kTypeIpv6) return Read::kOther;
    if (!is_station(out->source)) return Read::kMalformed;
    const std::uint8_t* const body = frame.data + out->l2_length;
    const std::size_t length = frame.length - out->l2_length;
    return type == kTypeArp ? read_arp(body, length, out) : read_ipv6(body, length, out);
}

bool write_answer(Frame& frame, const Discovery& asked, const Interface& interface) {
    std::uint8_t* const body = frame.data + asked.l2_length;
    // Without the option the question itself tells where it came from.
    const Mac asker = asked.mac.value_or(asked.source);
    if (asked.is_arp()) {
        write_arp(body, 2, interface.mac, asked.target, asker, asked.sender);
        put(frame.data, asker);
        put(frame.data + 6, interface.mac);
        return true;
    }
    const std::size_t length = asked.l2_length + kIpv6 + kNeighbourMessage + kLinkOption;
    if (length > std::size_t{frame.length} + frame.tailroom) return false;
    const bool probe = asked.sender.is_unspecified();
    const auto to = probe ? kAllNodes : asked.sender.bytes;
    const auto flags =
        static_cast<std::uint8_t>(kFlagRouter | kFlagOverride | (probe ? 0 : kFlagSolicited));
    write_message(body, kTypeAdvertisement, flags, asked.target.bytes, to, asked.target,
                  interface.mac);
    put(frame.data, probe ? group_mac(kAllNodes) : asker);
    put(frame.data + 6, interface.mac);
    const std::size_t room = std::size_t{frame.length} + frame.tailroom;
    frame.length = static_cast<std::uint32_t>(length);
    frame.tailroom = static_cast<std::uint16_t>(std::min<std::size_t>(room - length, 0xffff));
    return true;
}

OutFrame make_question(std::uint16_t index, const Interface& interface, const IpAddress& source,
                       const IpAddress& target, const std::optional<Mac>& unicast) {
    std::size_t at = 0;
    if (target.is_v4()) {
        OutFrame out = begin(index, interface, unicast.value_or(kBroadcast), kTypeArp, kArp, &at);
        write_arp(&out.bytes[at], 1, interface.mac, source, {}, target);
        return out;
    }
    const auto group = solicited_node(target);
    OutFrame out = begin(index, interface, unicast.value_or(group_mac(group)), kTypeIpv6,
                         kIpv6 + kNeighbourMessage + kLinkOption, &at);
    write_message(&out.bytes[at], kTypeSolicitation, 0, source.bytes,
                  unicast ? target.bytes : group, target, interface.mac);
    return out;
}

OutFrame make_announcement(std::uint16_t index, const Interface& interface,
                           const IpAddress& address) {
    std::size_t at = 0;
    if (address.is_v4()) {
        OutFrame out = begin(index, interface, kBroadcast, kTypeArp, kArp, &at);
        write_arp(&out.bytes[at], 1, interface.mac, address, {}, address);
        return out;
    }
    OutFrame out = begin(index, interface, group_mac(kAllNodes), kTypeIpv6,
                         kIpv6 + kNeighbourMessage + kLinkOption, &at);
    write_message(&out.bytes[at], kTypeAdvertisement, kFlagRouter | kFlagOverride, address.bytes,
                  kAllNodes, address, interface.mac);
    return out;
}

bool on_link(const Interface& interface, const IpAddress& address) {
    if (!address.is_v4() && address.is_link_local()) return true;
    return std::any_of(
        interface.addresses.begin(), interface.addresses.end(), [&](const InterfaceAddress& own) {
            return own.address.is_v4() == address.is_v4() && prefix_of(own).contains(address);
        });
}

bool has_address(const Interface& interface, const IpAddress& address) {
    return std::any_of(interface.addresses.begin(), interface.addresses.end(),
                       [&](const InterfaceAddress& own) { return own.address == address; });
}

}  // namespace sluice::dpdk
