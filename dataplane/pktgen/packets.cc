#include "dataplane/pktgen/packets.h"

#include <algorithm>
#include <cstring>

#include "dataplane/pktgen/sums.h"

namespace sluice::pktgen {
namespace {

constexpr std::uint16_t kMssV4 = 1460;
constexpr std::uint16_t kMssV6 = 1440;
constexpr std::uint16_t kWindow = 65535;
constexpr std::uint16_t kDontFragment = 0x4000;

std::uint8_t flags_of(Segment segment) {
    switch (segment) {
        case Segment::kSyn: return kTcpSyn;
        case Segment::kFin: return kTcpFin | kTcpAck;
        case Segment::kBare: return kTcpAck;
        case Segment::kData: break;
    }
    return kTcpPsh | kTcpAck;
}

void write_ethernet(const Profile& profile, const FrameOptions& options, bool v6, std::uint8_t* out) {
    std::memcpy(out, options.destination.data(), 6);
    std::memcpy(out + 6, options.source.data(), 6);
    const std::uint16_t type = v6 ? kEtherIpv6 : kEtherIpv4;
    if (profile.vlan == 0) {
        store16(out + 12, type);
        return;
    }
    store16(out + 12, kEtherVlan);
    store16(out + 14, profile.vlan);
    store16(out + 16, type);
}

// Datagrams are atomic (RFC 6864): DF, and so no identification.
void write_ipv4(const Profile& profile, std::uint8_t protocol, std::size_t length, std::uint8_t* out) {
    out[0] = 0x45;
    out[1] = static_cast<std::uint8_t>(profile.dscp << 2U);
    store16(out + 2, static_cast<std::uint16_t>(length));
    store16(out + 6, kDontFragment);
    out[8] = profile.ttl;
    out[9] = protocol;
}

void write_ipv6(const Profile& profile, std::uint8_t protocol, std::size_t length, std::uint8_t* out) {
    store32(out, 6U << 28U | static_cast<std::uint32_t>(profile.dscp) << 22U);
    store16(out + 4, static_cast<std::uint16_t>(length));
    out[6] = protocol;
    out[7] = profile.ttl;
}

std::size_t write_tcp(Segment segment, bool v6, std::uint8_t* out) {
    store32(out + 4, 1);
    store32(out + 8, segment == Segment::kSyn ? 0 : 1);
    const std::size_t length = kTcpBytes + (segment == Segment::kSyn ? kMssOptionBytes : 0);
    out[12] = static_cast<std::uint8_t>(length / 4 << 4U);
    out[13] = flags_of(segment);
    store16(out + 14, kWindow);
    if (segment == Segment::kSyn) {
        out[20] = 2;
        out[21] = 4;
        store16(out + 22, v6 ? kMssV6 : kMssV4);
    }
    return length;
}

void put_check(std::uint8_t* out, const BuiltFrame& frame, std::uint64_t sum) {
    auto check = static_cast<std::uint16_t>(~fold(sum));
    if (frame.udp && check == 0) {
        check = 0xffff;  // RFC 768: 0 says that there is none
    }
    std::memcpy(out + frame.check_at, &check, 2);
}

}  // namespace

Frames::Frames(const Profile& profile, const FlowSpace& flows, const FrameOptions& options)
    : flows_(flows), reversed_(options.reversed) {
    for (const SizeShare& share : profile.sizes) {
        data_.push_back(make(profile, options, share.frame_bytes, Segment::kData));
        room_ = std::max(room_, data_.back().bytes.size());
        if (profile.life_cycle == LifeCycle::kScripted) {
            fin_.push_back(make(profile, options, share.frame_bytes, Segment::kFin));
        }
    }
    one_step_ = data_.size() == 1 && data_[0].frame.bytes <= kCopyStep;
    if (profile.l4 == L4::kTcp) {
        syn_ = make(profile, options, kMinFrame, Segment::kSyn);
        bare_ = make(profile, options, kMinFrame, Segment::kBare);
        room_ = std::max(room_, syn_.bytes.size());
    }
    if (!flows.v6() && flows.count() <= kMaxTupleBytes / sizeof(PatchV4)) {
        for (std::uint64_t flow = 0; flow < flows.count(); ++flow) {
            patches_v4_.push_back(patch_v4(flow));
        }
    }
    if (flows.v6() && flows.count() <= kMaxTupleBytes / sizeof(PatchV6)) {
        for (std::uint64_t flow = 0; flow < flows.count(); ++flow) {
            patches_v6_.push_back(patch_v6(flow));
        }
    }
}

Frames::Template Frames::make(const Profile& profile, const FrameOptions& options,
                              std::uint32_t frame_bytes, Segment segment) const {
    const bool v6 = flows_.v6();
    const bool udp = profile.l4 == L4::kUdp;
    const std::size_t ip_at = kEthernetBytes + (profile.vlan != 0 ? kVlanBytes : 0);
    const std::size_t l4_at = ip_at + (v6 ? kIpv6Bytes : kIpv4Bytes);
    const std::size_t l4_header =
        udp ? kUdpBytes : kTcpBytes + (segment == Segment::kSyn ? kMssOptionBytes : 0);
    // Without payload: what is missing to the smallest frame is padding outside of the datagram.
    const bool empty = segment == Segment::kSyn || segment == Segment::kBare;
    const std::size_t bytes = empty ? std::max(l4_at + l4_header, kMinFrame - kChecksumBytes)
                                    : frame_bytes - kChecksumBytes;
    const std::size_t l4_end = empty ? l4_at + l4_header : bytes;
    const std::size_t l4_bytes = l4_end - l4_at;
    const std::uint8_t protocol = udp ? kIpUdp : kIpTcp;

    Template out;
    out.bytes.resize((bytes + kCopyStep - 1) / kCopyStep * kCopyStep);
    std::uint8_t* raw = out.bytes.data();
    write_ethernet(profile, options, v6, raw);
    if (v6) {
        write_ipv6(profile, protocol, l4_bytes, raw + ip_at);
    } else {
        write_ipv4(profile, protocol, l4_bytes + kIpv4Bytes, raw + ip_at);
        out.ip_sum = sum_bytes(raw + ip_at, kIpv4Bytes);
    }
    if (udp) {
        store16(raw + l4_at + 4, static_cast<std::uint16_t>(l4_bytes));
    } else {
        write_tcp(segment, v6, raw + l4_at);
    }
    const std::size_t payload_at = l4_at + l4_header;
    const std::size_t marked = profile.probe ? kProbeBytes : kMarkBytes;
    const std::size_t payload = l4_end - payload_at;
    // Stateful connections know their own packets; their payload need not even hold a mark.
    const bool probed = profile.probe && payload >= kProbeBytes;
    for (std::size_t i = probed ? kProbeBytes : 0; i < payload; ++i) {
        raw[payload_at + i] = static_cast<std::uint8_t>(i);
    }
    if (!probed && payload >= marked) {
        std::memcpy(raw + payload_at, &kMarkMagic, 2);
        std::memcpy(raw + payload_at + 2, &options.run, 2);
    }
    BuiltFrame& frame = out.frame;
    frame.sum = sum_bytes(raw + l4_at, l4_bytes) + be16(protocol) +
                be16(static_cast<std::uint16_t>(l4_bytes));
    frame.bytes = static_cast<std::uint32_t>(bytes);
    frame.l4_at = static_cast<std::uint16_t>(l4_at);
    frame.check_at = static_cast<std::uint16_t>(l4_at + (udp ? 6 : 16));
    frame.probe_at = static_cast<std::uint16_t>(probed ? payload_at : 0);
    frame.payload_bytes = static_cast<std::uint16_t>(payload);
    frame.udp = udp;
    out.ip_at = static_cast<std::uint16_t>(ip_at);
    return out;
}

Frames::PatchV4 Frames::patch_v4(std::uint64_t flow) const {
    FlowTuple tuple = flows_.at(flow);
    if (reversed_) {
        std::swap(tuple.source, tuple.destination);
        std::swap(tuple.source_port, tuple.destination_port);
    }
    PatchV4 out{};
    std::memcpy(&out.source, tuple.source.data(), 4);
    std::memcpy(&out.destination, tuple.destination.data(), 4);
    out.ports = be16(tuple.source_port) | std::uint32_t{be16(tuple.destination_port)} << 16U;
    return out;
}

Frames::PatchV6 Frames::patch_v6(std::uint64_t flow) const {
    FlowTuple tuple = flows_.at(flow);
    if (reversed_) {
        std::swap(tuple.source, tuple.destination);
        std::swap(tuple.source_port, tuple.destination_port);
    }
    PatchV6 out{};
    std::memcpy(out.addresses, tuple.source.data(), 16);
    std::memcpy(out.addresses + 2, tuple.destination.data(), 16);
    out.ports = be16(tuple.source_port) | std::uint32_t{be16(tuple.destination_port)} << 16U;
    return out;
}

const Frames::Template& Frames::template_of(std::uint32_t size, Segment segment) const {
    switch (segment) {
        case Segment::kSyn: return syn_;
        case Segment::kFin: return fin_[size];
        case Segment::kBare: return bare_;
        case Segment::kData: break;
    }
    return data_[size];
}

// Addresses and ports, and the IPv4 header's checksum; returns what they add to the sum of layer 4.
template <bool kV6>
std::uint64_t Frames::write_tuple(std::uint8_t* out, const Template& from, std::uint64_t flow) const {
    if constexpr (kV6) {
        const PatchV6 patch = patches_v6_.empty() ? patch_v6(flow) : patches_v6_[flow];
        std::memcpy(out + from.ip_at + 8, patch.addresses, sizeof patch.addresses);
        std::memcpy(out + from.frame.l4_at, &patch.ports, 4);
        std::uint64_t sum = patch.ports;
        for (const std::uint64_t word : patch.addresses) {
            sum += sum_word(word);
        }
        return sum;
    } else {
        const PatchV4 patch = patches_v4_.empty() ? patch_v4(flow) : patches_v4_[flow];
        const std::uint64_t addresses = std::uint64_t{patch.source} + patch.destination;
        const auto check = static_cast<std::uint16_t>(~fold(from.ip_sum + addresses));
        std::memcpy(out + from.ip_at + 10, &check, 2);
        // There are no options, so the ports follow the addresses.
        std::memcpy(out + from.ip_at + 12, &patch, sizeof patch);
        return addresses + patch.ports;
    }
}

BuiltFrame Frames::build(std::uint8_t* out, std::uint64_t flow, std::uint32_t size,
                         Segment segment) const {
    const Template& from = template_of(size, segment);
    BuiltFrame frame = from.frame;
    std::memcpy(out, from.bytes.data(), kCopyStep);
    if (frame.bytes > kCopyStep) {
        std::memcpy(out + kCopyStep, from.bytes.data() + kCopyStep, frame.bytes - kCopyStep);
    }
    frame.sum += flows_.v6() ? write_tuple<true>(out, from, flow) : write_tuple<false>(out, from, flow);
    return frame;
}

template <bool kV6, bool kOneStep>
void Frames::build_all(std::uint8_t* const* out, const std::uint64_t* flows, const std::uint32_t* sizes,
                       unsigned count, BuiltFrame* built) const {
    // Bytes may alias anything, so what stays the same is loaded before the first one is stored.
    using Word = std::uint64_t __attribute__((vector_size(16)));
    Word words[kCopyStep / sizeof(Word)];
    std::memcpy(words, data_[0].bytes.data(), sizeof words);
    const bool finish = data_[0].frame.probe_at == 0;
    for (unsigned i = 0; i < count; ++i) {
        const Template& from = data_[kOneStep ? 0 : sizes[i]];
        BuiltFrame frame = from.frame;
        if constexpr (kOneStep) {
            std::memcpy(out[i], words, sizeof words);
        } else {
            std::memcpy(out[i], from.bytes.data(), kCopyStep);
            if (frame.bytes > kCopyStep) {
                std::memcpy(out[i] + kCopyStep, from.bytes.data() + kCopyStep, frame.bytes - kCopyStep);
            }
        }
        frame.sum += write_tuple<kV6>(out[i], from, flows[i]);
        if (finish) {
            put_check(out[i], frame, frame.sum);
        }
        built[i] = frame;
    }
}

void Frames::build_burst(std::uint8_t* const* out, const std::uint64_t* flows, const std::uint32_t* sizes,
                         unsigned count, BuiltFrame* built) const {
    if (flows_.v6()) {
        one_step_ ? build_all<true, true>(out, flows, sizes, count, built)
                  : build_all<true, false>(out, flows, sizes, count, built);
    } else {
        one_step_ ? build_all<false, true>(out, flows, sizes, count, built)
                  : build_all<false, false>(out, flows, sizes, count, built);
    }
}

void Frames::set_tcp(std::uint8_t* out, BuiltFrame& frame, std::uint32_t sequence,
                     std::uint32_t acknowledged) {
    std::uint64_t before = 0;
    std::memcpy(&before, out + frame.l4_at + 4, 8);
    const std::uint64_t after = std::uint64_t{be32(sequence)} | std::uint64_t{be32(acknowledged)} << 32U;
    std::memcpy(out + frame.l4_at + 4, &after, 8);
    // Both words leave the sum by their complement.
    frame.sum += sum_word(~before) + sum_word(after);
}

void Frames::set_tcp_flags(std::uint8_t* out, BuiltFrame& frame, std::uint8_t flags) {
    std::uint16_t before = 0;
    std::memcpy(&before, out + frame.l4_at + 12, 2);
    out[frame.l4_at + 13] = flags;
    std::uint16_t after = 0;
    std::memcpy(&after, out + frame.l4_at + 12, 2);
    frame.sum += static_cast<std::uint16_t>(~before) + std::uint64_t{after};
}

void Frames::finish(std::uint8_t* out, const BuiltFrame& frame) { put_check(out, frame, frame.sum); }

void Frames::finish(std::uint8_t* out, const BuiltFrame& frame, const Probe& probe) {
    put_check(out, frame, frame.sum + write_probe(out + frame.probe_at, probe));
}

}  // namespace sluice::pktgen
