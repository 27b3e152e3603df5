// What becomes of a frame that came back: ours or not, whole or not, which of its stream, how old.
// One Receiver belongs to one lcore; the windows may be shared by several.
#pragma once

#include <atomic>
#include <cstdint>

#include "dataplane/pktgen/counter.h"
#include "dataplane/pktgen/frame_view.h"
#include "dataplane/pktgen/histogram.h"
#include "dataplane/pktgen/probe.h"
#include "dataplane/pktgen/profile.h"
#include "dataplane/pktgen/windows.h"

namespace sluice::pktgen {

struct ReceiveOptions {
    std::uint16_t run = 0;       // whose marks and probes count
    std::uint16_t warmup = 0;    // whose are passed over; equal to run: nobody's
    bool everything = false;     // of a capture: whatever is no ARP or ND counts
    L4 l4 = L4::kUdp;
    LifeCycle life_cycle = LifeCycle::kNone;
    double ns_per_tick = 1;
};

// One writer, read by the main lcore at any time.
struct ReceiveCounts {
    Counter received, received_bytes;
    Counter duplicated, reordered, late, corrupted, foreign, warmup;
    Counter skipped;                // sequence numbers jumped over
    Counter established, reset;     // of kSynOnly
};

class Receiver {
public:
    // `windows` may be null if the profile has no probes; else it outlives this.
    Receiver(const ReceiveOptions& options, Windows* windows);

    // `now`: time stamp counter when the frame was taken from the port. Neighbour messages and whatever
    // else is not of the generator count as foreign.
    void take(const FrameView& view, std::size_t frame_bytes, std::uint64_t now);
    [[nodiscard]] const ReceiveCounts& counts() const { return counts_; }

    // Latencies since the last call of turn(); they go into the total there. Same lcore as take().
    [[nodiscard]] const Histogram& recent() const { return recent_; }
    [[nodiscard]] const Histogram& total() const { return total_; }
    void turn();

private:
    enum class Owner : std::uint8_t { kForeign, kWarmup, kOurs };
    [[nodiscard]] Owner owner(std::uint16_t run) const;
    void take_payload(const FrameView& view, std::size_t frame_bytes, std::uint64_t now);
    void take_segment(const FrameView& view, std::size_t frame_bytes);
    void take_probe(const FrameView& view, std::size_t frame_bytes, std::uint64_t now);
    void count(std::size_t frame_bytes);

    ReceiveOptions options_;
    Windows* windows_;
    ReceiveCounts counts_;
    Histogram recent_, total_;
};

}  // namespace sluice::pktgen
