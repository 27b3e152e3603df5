#include "dataplane/pktgen/neighbours.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "dataplane/pktgen/sums.h"

namespace sluice::pktgen {
namespace {

constexpr std::uint16_t kArpRequest = 1;
constexpr std::uint16_t kArpReply = 2;
constexpr std::size_t kArpBytes = 28;
constexpr std::uint8_t kSolicitation = 135;
constexpr std::uint8_t kAdvertisement = 136;
constexpr std::uint8_t kSourceLinkOption = 1;
constexpr std::uint8_t kTargetLinkOption = 2;
constexpr std::size_t kNdBytes = 24;      // header and target
constexpr std::size_t kNdWithMac = 32;    // and one option
constexpr std::uint8_t kNdHopLimit = 255;
constexpr std::uint32_t kSolicited = 0x40000000;
constexpr std::uint32_t kOverride = 0x20000000;

IpAddress v6_at(const std::uint8_t* bytes) {
    std::array<std::uint8_t, 16> out{};
    std::memcpy(out.data(), bytes, 16);
    return IpAddress::from_v6(out);
}

IpAddress v4_at(const std::uint8_t* bytes) {
    std::uint32_t v4 = 0;
    std::memcpy(&v4, bytes, 4);
    return IpAddress::from_v4_be(v4);
}

void put_v4(std::uint8_t* out, const IpAddress& address) {
    const std::uint32_t v4 = address.v4_be();
    std::memcpy(out, &v4, 4);
}

Mac mac_at(const std::uint8_t* bytes) {
    Mac out{};
    std::memcpy(out.data(), bytes, 6);
    return out;
}

std::optional<NeighbourMessage> read_arp(const std::uint8_t* arp) {
    const std::uint16_t operation = load16(arp + 6);
    if (load16(arp) != 1 || load16(arp + 2) != kEtherIpv4 || arp[4] != 6 || arp[5] != 4 ||
        (operation != kArpRequest && operation != kArpReply)) {
        return std::nullopt;
    }
    NeighbourMessage out;
    out.question = operation == kArpRequest;
    out.mac = mac_at(arp + 8);
    out.sender = v4_at(arp + 14);
    out.target = out.question ? v4_at(arp + 24) : out.sender;
    return out;
}

// RFC 4861, 7.1: what a message must be to be heard.
std::optional<NeighbourMessage> read_nd(const FrameView& view) {
    const std::uint8_t type = view.l4[0];
    if (view.tunnelled || view.l3[7] != kNdHopLimit || view.l4[1] != 0 || view.l4_bytes < kNdBytes ||
        (type != kSolicitation && type != kAdvertisement) || !view.checksum_good()) {
        return std::nullopt;
    }
    NeighbourMessage out;
    out.question = type == kSolicitation;
    out.sender = v6_at(view.l3 + 8);
    out.target = v6_at(view.l4 + 8);
    const std::uint8_t wanted = out.question ? kSourceLinkOption : kTargetLinkOption;
    for (std::size_t at = kNdBytes; at + 8 <= view.l4_bytes;) {
        const std::size_t length = std::size_t{view.l4[at + 1]} * 8;
        if (length == 0 || at + length > view.l4_bytes) {
            return std::nullopt;
        }
        if (view.l4[at] == wanted) {
            out.mac = mac_at(view.l4 + at + 2);
        }
        at += length;
    }
    return out;
}

// Ethernet, with the type words that are given.
std::size_t write_link(std::uint8_t* out, const Mac& to, const Mac& from, const std::uint8_t* types,
                       std::size_t types_bytes) {
    std::memcpy(out, to.data(), 6);
    std::memcpy(out + 6, from.data(), 6);
    std::memcpy(out + 12, types, types_bytes);
    return 12 + types_bytes;
}

void write_arp(std::uint8_t* out, std::uint16_t operation, const Mac& mac, const IpAddress& sender,
               const Mac& target_mac, const IpAddress& target) {
    store16(out, 1);
    store16(out + 2, kEtherIpv4);
    out[4] = 6;
    out[5] = 4;
    store16(out + 6, operation);
    std::memcpy(out + 8, mac.data(), 6);
    put_v4(out + 14, sender);
    std::memcpy(out + 18, target_mac.data(), 6);
    put_v4(out + 24, target);
}

void write_nd(std::uint8_t* out, std::uint8_t type, std::uint32_t flags, const IpAddress& from,
              const IpAddress& to, const IpAddress& target, const Mac& mac) {
    store32(out, 6U << 28U);
    store16(out + 4, kNdWithMac);
    out[6] = kIpIcmpv6;
    out[7] = kNdHopLimit;
    std::memcpy(out + 8, from.bytes.data(), 16);
    std::memcpy(out + 24, to.bytes.data(), 16);
    std::uint8_t* icmp = out + kIpv6Bytes;
    icmp[0] = type;
    store32(icmp + 4, flags);
    std::memcpy(icmp + 8, target.bytes.data(), 16);
    icmp[24] = type == kSolicitation ? kSourceLinkOption : kTargetLinkOption;
    icmp[25] = 1;
    std::memcpy(icmp + 26, mac.data(), 6);
    const std::uint64_t sum = sum_bytes(out + 8, 32) + sum_bytes(icmp, kNdWithMac) + be16(kIpIcmpv6) +
                              be16(kNdWithMac);
    const auto check = static_cast<std::uint16_t>(~fold(sum));
    std::memcpy(icmp + 2, &check, 2);
}

// ff02::1:ffXX:XXXX and its link address (RFC 4291, 2.7.1; RFC 2464, 7).
IpAddress solicited_group(const IpAddress& target) {
    IpAddress out;
    out.bytes = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff};
    std::copy(target.bytes.begin() + 13, target.bytes.end(), out.bytes.begin() + 13);
    return out;
}

Mac group_mac(const IpAddress& group) {
    return {0x33, 0x33, group.bytes[12], group.bytes[13], group.bytes[14], group.bytes[15]};
}

}  // namespace

std::optional<NeighbourMessage> read_neighbour(const FrameView& view) {
    if (view.kind == FrameKind::kArp) {
        return read_arp(view.l3);
    }
    return view.kind == FrameKind::kIcmpv6 ? read_nd(view) : std::nullopt;
}

std::size_t write_question(const Mac& mac, const IpAddress& sender, const IpAddress& target,
                           std::uint16_t vlan, std::uint8_t* out) {
    std::memset(out, 0, kNeighbourRoom);
    const bool v4 = target.is_v4();
    std::array<std::uint8_t, 6> types{};
    std::size_t types_bytes = 0;
    if (vlan != 0) {
        store16(types.data(), kEtherVlan);
        store16(types.data() + 2, vlan);
        types_bytes = 4;
    }
    store16(types.data() + types_bytes, v4 ? kEtherArp : kEtherIpv6);
    types_bytes += 2;
    if (v4) {
        const std::size_t at = write_link(out, kBroadcast, mac, types.data(), types_bytes);
        write_arp(out + at, kArpRequest, mac, sender, Mac{}, target);
        return std::max(at + kArpBytes, kMinFrame - kChecksumBytes);
    }
    const IpAddress group = solicited_group(target);
    const std::size_t at = write_link(out, group_mac(group), mac, types.data(), types_bytes);
    write_nd(out + at, kSolicitation, 0, sender, group, target, mac);
    return at + kIpv6Bytes + kNdWithMac;
}

std::size_t write_answer(const FrameView& view, const NeighbourMessage& message, const Mac& mac,
                         std::uint8_t* out) {
    std::memset(out, 0, kNeighbourRoom);
    const auto types_bytes = static_cast<std::size_t>(view.l3 - view.frame) - 12;
    const Mac asker = mac_at(view.frame + 6);
    if (message.target.is_v4()) {
        const std::size_t at = write_link(out, asker, mac, view.frame + 12, types_bytes);
        write_arp(out + at, kArpReply, mac, message.target, message.mac.value_or(asker), message.sender);
        return std::max(at + kArpBytes, kMinFrame - kChecksumBytes);
    }
    // Who looks for duplicates has no address that could be answered: all nodes are told.
    const bool nobody = message.sender.is_unspecified();
    IpAddress to = message.sender;
    if (nobody) {
        to.bytes = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    }
    const std::size_t at =
        write_link(out, nobody ? group_mac(to) : asker, mac, view.frame + 12, types_bytes);
    write_nd(out + at, kAdvertisement, nobody ? kOverride : kSolicited | kOverride, message.target, to,
             message.target, mac);
    return at + kIpv6Bytes + kNdWithMac;
}

bool OwnedAddresses::contains(const IpAddress& address) const {
    return std::any_of(ranges_.begin(), ranges_.end(), [&](const AddressRange& range) {
        return range.first <= address && address <= range.last;
    });
}

}  // namespace sluice::pktgen
