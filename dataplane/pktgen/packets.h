// Builds frames: headers and payload of each size once, as templates; of each packet then only the
// tuple, the probe and what follows from them for the checksums. No payload is ever summed again.
#pragma once

#include <cstdint>
#include <vector>

#include "dataplane/pktgen/flows.h"
#include "dataplane/pktgen/headers.h"
#include "dataplane/pktgen/probe.h"
#include "dataplane/pktgen/profile.h"

namespace sluice::pktgen {

enum class Segment : std::uint8_t {
    kData,
    kSyn,
    kFin,   // with a payload, and so with a probe
    kBare,  // TCP header only
};

struct FrameOptions {
    Mac source{}, destination{};
    std::uint16_t run = 0;   // of marks and probes
    bool reversed = false;   // the destinations send to the sources
};

// What is left to do for a frame that was built.
struct BuiltFrame {
    std::uint64_t sum = 0;         // partial, of layer 4 with its pseudo header
    std::uint32_t bytes = 0;       // without the link's checksum
    std::uint16_t l4_at = 0;
    std::uint16_t check_at = 0;
    std::uint16_t probe_at = 0;    // 0: there is none
    std::uint16_t payload_bytes = 0;
    bool udp = false;
};

class Frames {
public:
    // REQUIRES: check(profile), and no capture. `flows` outlives this.
    Frames(const Profile& profile, const FlowSpace& flows, const FrameOptions& options);

    // Writes headers and payload of a frame into `out`, which has room for room() bytes. Finish it
    // by set_tcp() where sequence numbers matter and by finish().
    BuiltFrame build(std::uint8_t* out, std::uint64_t flow, std::uint32_t size,
                     Segment segment = Segment::kData) const;
    // `count` data segments at once: of flows[i] and sizes[i] into out[i]. Those without a probe are
    // finished as well, the others are to be. All of a profile's have one or none has.
    void build_burst(std::uint8_t* const* out, const std::uint64_t* flows, const std::uint32_t* sizes,
                     unsigned count, BuiltFrame* built) const;
    // TCP only; without it the numbers are 1 and 1, and the flags the segment's.
    static void set_tcp(std::uint8_t* out, BuiltFrame& frame, std::uint32_t sequence,
                        std::uint32_t acknowledged);
    static void set_tcp_flags(std::uint8_t* out, BuiltFrame& frame, std::uint8_t flags);
    // The checksum of layer 4, without or with a probe. May be called again on the same frame with
    // another probe. REQUIRES of the second: frame.probe_at.
    static void finish(std::uint8_t* out, const BuiltFrame& frame);
    static void finish(std::uint8_t* out, const BuiltFrame& frame, const Probe& probe);

    [[nodiscard]] std::size_t room() const { return room_; }
    // Of a data segment of this size.
    [[nodiscard]] std::uint32_t payload_bytes(std::uint32_t size) const {
        return data_[size].frame.payload_bytes;
    }

private:
    struct Template {
        BuiltFrame frame;
        std::uint64_t ip_sum = 0;  // of the IPv4 header without the addresses
        std::uint16_t ip_at = 0;
        std::vector<std::uint8_t> bytes;  // padded to a multiple of kCopyStep
    };
    static constexpr std::size_t kCopyStep = 64;
    // Tuples of so many bytes are computed beforehand: as much as stays in the second-level cache.
    static constexpr std::size_t kMaxTupleBytes = std::size_t{1} << 20U;

    // A tuple as it is written: addresses and ports in network order.
    struct PatchV4 {
        std::uint32_t source, destination, ports;
    };
    struct PatchV6 {
        std::uint64_t addresses[4];
        std::uint32_t ports;
    };

    Template make(const Profile& profile, const FrameOptions& options, std::uint32_t frame_bytes,
                  Segment segment) const;
    template <bool kV6, bool kOneStep>
    void build_all(std::uint8_t* const* out, const std::uint64_t* flows, const std::uint32_t* sizes,
                   unsigned count, BuiltFrame* built) const;
    template <bool kV6>
    std::uint64_t write_tuple(std::uint8_t* out, const Template& from, std::uint64_t flow) const;
    [[nodiscard]] const Template& template_of(std::uint32_t size, Segment segment) const;
    [[nodiscard]] PatchV4 patch_v4(std::uint64_t flow) const;
    [[nodiscard]] PatchV6 patch_v6(std::uint64_t flow) const;

    const FlowSpace& flows_;
    bool reversed_;
    std::size_t room_ = 0;
    bool one_step_ = false;  // there is one size, and no data segment is longer than kCopyStep
    std::vector<Template> data_, fin_;
    Template syn_, bare_;
    std::vector<PatchV4> patches_v4_;
    std::vector<PatchV6> patches_v6_;
};

}  // namespace sluice::pktgen
