#include "dataplane/pktgen/profile.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "dataplane/pktgen/flows.h"
#include "dataplane/pktgen/headers.h"
#include "dataplane/pktgen/probe.h"
#include "dataplane/pktgen/runner.h"

namespace sluice::pktgen {
namespace {

constexpr std::size_t kMaxSizes = 64;
constexpr std::uint32_t kMaxWeight = 1'000'000;
constexpr std::uint32_t kMaxDataPackets = 1'000'000;
constexpr std::size_t kMaxAnswerRanges = 1024;
constexpr double kMaxDuration = 30.0 * 86400;
constexpr double kMaxWait = 3600;
constexpr double kMaxRate = 1e12;
constexpr double kMaxExponent = 10;

Error invalid(std::string_view field, std::string_view what) {
    return make_error(Code::kInvalidArgument, "profile: {}: {}", field, what);
}

Result<void> check_number(std::string_view field, double value, double most) {
    if (!std::isfinite(value) || value < 0 || value > most) {
        return make_error(Code::kInvalidArgument, "profile: {}: {} is not between 0 and {}", field,
                          value, most);
    }
    return {};
}

Result<void> check_range(std::string_view field, const AddressRange& range) {
    if (range.first.is_unspecified() || range.last.is_unspecified()) {
        return invalid(field, "an address is missing");
    }
    if (range.first.is_v4() != range.last.is_v4()) {
        return invalid(field, "its two ends are of different families");
    }
    if (range.last < range.first) {
        return make_error(Code::kInvalidArgument, "profile: {}: {} comes after {}", field,
                          range.first.to_string(), range.last.to_string());
    }
    return {};
}

Result<void> check_flows(const Profile& profile) {
    SLUICE_TRY(check_range("source", profile.source));
    SLUICE_TRY(check_range("destination", profile.destination));
    if (profile.source.first.is_v4() != profile.destination.first.is_v4()) {
        return invalid("destination", "it is not of the family of the source");
    }
    if (profile.source.first.is_multicast() || profile.source.last.is_multicast()) {
        return invalid("source", "a multicast address sends nothing");
    }
    if (profile.source_port.last < profile.source_port.first) {
        return invalid("source_port", "its first comes after its last");
    }
    if (profile.destination_port.last < profile.destination_port.first) {
        return invalid("destination_port", "its first comes after its last");
    }
    const std::uint64_t all = combinations(profile);
    if (profile.flows > all) {
        return make_error(Code::kInvalidArgument,
                          "profile: flows: {} are asked for, but the ranges have {} combinations",
                          profile.flows, all);
    }
    const std::uint64_t flows = profile.flows == 0 ? all : profile.flows;
    if (flows > kMaxFlows) {
        return make_error(Code::kResourceExhausted, "profile: flows: {} are more than {}", flows,
                          kMaxFlows);
    }
    if (profile.choice == Choice::kZipf && !(profile.zipf_exponent > 0 && profile.zipf_exponent <= kMaxExponent)) {
        return make_error(Code::kInvalidArgument,
                          "profile: zipf_exponent: {} is not above 0 and at most {}",
                          profile.zipf_exponent, kMaxExponent);
    }
    return {};
}

Result<void> check_sizes(const Profile& profile) {
    if (profile.sizes.empty() || profile.sizes.size() > kMaxSizes) {
        return make_error(Code::kInvalidArgument, "profile: sizes: {} of them, not 1 to {}",
                          profile.sizes.size(), kMaxSizes);
    }
    const std::uint32_t least = min_frame_bytes(profile);
    for (const SizeShare& share : profile.sizes) {
        if (share.frame_bytes < least) {
            return make_error(Code::kInvalidArgument,
                              "profile: sizes: {} bytes are too few for the headers{}: {} at least",
                              share.frame_bytes,
                              profile.probe && profile.life_cycle != LifeCycle::kSynOnly &&
                                      profile.life_cycle != LifeCycle::kStateful
                                  ? " and the probe"
                                  : "",
                              least);
        }
        if (share.frame_bytes > kMaxFrameBytes) {
            return make_error(Code::kInvalidArgument, "profile: sizes: {} bytes are more than {}",
                              share.frame_bytes, kMaxFrameBytes);
        }
        if (share.weight == 0 || share.weight > kMaxWeight) {
            return make_error(Code::kInvalidArgument,
                              "profile: sizes: the weight {} of {} bytes is not 1 to {}",
                              share.weight, share.frame_bytes, kMaxWeight);
        }
    }
    if (profile.life_cycle == LifeCycle::kSynOnly &&
        (profile.sizes.size() != 1 || profile.sizes[0].frame_bytes != least)) {
        return make_error(Code::kInvalidArgument,
                          "profile: sizes: SYNs carry no data, their frames are of {} bytes", least);
    }
    return {};
}

Result<void> check_rates(const Profile& profile) {
    SLUICE_TRY(check_number("packets_per_second", profile.packets_per_second, kMaxRate));
    SLUICE_TRY(check_number("bits_per_second", profile.bits_per_second, kMaxRate));
    SLUICE_TRY(check_number("connections_per_second", profile.connections_per_second, kMaxRate));
    const int given = (profile.packets_per_second > 0 ? 1 : 0) + (profile.bits_per_second > 0 ? 1 : 0) +
                      (profile.connections_per_second > 0 ? 1 : 0);
    if (given > 1) {
        return invalid("packets_per_second, bits_per_second, connections_per_second",
                       "at most one of them can be given");
    }
    const bool stateful = profile.life_cycle == LifeCycle::kStateful;
    if (stateful && given == 1 && profile.connections_per_second == 0) {
        return invalid("packets_per_second, bits_per_second",
                       "a stateful profile is limited by connections_per_second");
    }
    if (profile.connections_per_second > 0 && !stateful &&
        profile.life_cycle != LifeCycle::kScripted) {
        return invalid("connections_per_second", "only scripted and stateful profiles open any");
    }
    if (profile.pcap_timing && given > 0) {
        return invalid("pcap_timing", "a capture is sent at its own times or at a rate, not both");
    }
    SLUICE_TRY(check_number("duration_s", profile.duration_s, kMaxDuration));
    SLUICE_TRY(check_number("warmup_s", profile.warmup_s, kMaxWait));
    SLUICE_TRY(check_number("drain_s", profile.drain_s, kMaxWait));
    if (profile.duration_s == 0 && profile.count == 0) {
        return invalid("duration_s, count", "one of them must end the run");
    }
    return {};
}

Result<void> check_headers(const Profile& profile) {
    if (profile.vlan > 4094) {
        return make_error(Code::kInvalidArgument, "profile: vlan: {} is not 1 to 4094",
                          profile.vlan);
    }
    if (profile.ttl == 0) {
        return invalid("ttl", "0 is not sent by anybody");
    }
    if (profile.dscp > 63) {
        return make_error(Code::kInvalidArgument, "profile: dscp: {} is not 0 to 63", profile.dscp);
    }
    if (profile.life_cycle != LifeCycle::kNone && profile.l4 != L4::kTcp) {
        return invalid("life_cycle", "only TCP has one");
    }
    if (profile.data_packets > kMaxDataPackets) {
        return make_error(Code::kInvalidArgument, "profile: data_packets: {} are more than {}",
                          profile.data_packets, kMaxDataPackets);
    }
    return {};
}

Result<void> check_neighbours(const Profile& profile) {
    if (!profile.source_mac.empty()) {
        auto mac = parse_mac(profile.source_mac);
        if (!mac) {
            return mac.error().with_context("profile: source_mac");
        }
        if (((*mac)[0] & 1U) != 0) {
            return invalid("source_mac", "a group address sends nothing");
        }
    }
    if (!profile.destination_mac.empty()) {
        auto mac = parse_mac(profile.destination_mac);
        if (!mac) {
            return mac.error().with_context("profile: destination_mac");
        }
    }
    if (profile.pcap.empty() && !profile.next_hop.is_unspecified() &&
        profile.next_hop.is_v4() != profile.destination.first.is_v4()) {
        return invalid("next_hop", "it is not of the family of the destination");
    }
    if (profile.answer_for.size() > kMaxAnswerRanges) {
        return make_error(Code::kResourceExhausted, "profile: answer_for: {} ranges are more than {}",
                          profile.answer_for.size(), kMaxAnswerRanges);
    }
    for (const AddressRange& range : profile.answer_for) {
        SLUICE_TRY(check_range("answer_for", range));
    }
    return {};
}

}  // namespace

std::uint32_t min_frame_bytes(const Profile& profile) {
    const bool v6 = profile.pcap.empty() && !profile.source.first.is_v4();
    std::size_t bytes = kEthernetBytes + (profile.vlan != 0 ? kVlanBytes : 0) +
                        (v6 ? kIpv6Bytes : kIpv4Bytes) +
                        (profile.l4 == L4::kTcp ? kTcpBytes : kUdpBytes) + kChecksumBytes;
    switch (profile.life_cycle) {
        case LifeCycle::kNone:
        case LifeCycle::kScripted: bytes += profile.probe ? kProbeBytes : kMarkBytes; break;
        case LifeCycle::kSynOnly: bytes += kMssOptionBytes; break;
        case LifeCycle::kStateful: bytes += 1; break;
    }
    return static_cast<std::uint32_t>(std::max(bytes, kMinFrame));
}

Result<void> check(const Profile& profile) {
    SLUICE_TRY(check_rates(profile));
    SLUICE_TRY(check_neighbours(profile));
    if (!profile.pcap.empty()) {
        if (profile.life_cycle != LifeCycle::kNone) {
            return invalid("pcap", "a capture has the life cycles that it has");
        }
        return {};
    }
    if (profile.pcap_timing) {
        return invalid("pcap_timing", "there is no capture");
    }
    SLUICE_TRY(check_flows(profile));
    SLUICE_TRY(check_headers(profile));
    return check_sizes(profile);
}

}  // namespace sluice::pktgen
