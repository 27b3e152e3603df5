// The flow tables' size while the engine runs: how full they are, and a table twice as large in place of one that is
// too full, with all its flows (bpf/lib/flow_move.h).
//
//   begin     a larger table is pinned as <name>_old, beside the one in use
//             - programs are loaded and turned to: they know both, and use the one in use -
//   beside    what is not in the one in use is looked for in the larger
//             - a grace period: every program looks in both -
//   swap      the pins change places, and a configuration of the larger table is pinned: from here the
//             larger is in use
//             - programs are loaded and turned to: they insert into the larger, and bring over what they find -
//   carry     the rest is brought over by the kernel, a program that is run for it
//   finish    the larger table stands alone; pins of the smaller one are removed
//
// The pinned configuration says where this stands, so a start after a death in between goes on (MOVE) or goes back
// (before, when nothing can be in the larger table yet): see settle().
#pragma once

#include <cstdint>
#include <string>

#include "api/base/fd.h"
#include "api/base/result.h"
#include "dataplane/ebpf/bucket_sample.h"
#include "dataplane/engine.h"

namespace sluice::dataplane {

enum class FlowFamily : std::uint8_t { kIpv4, kIpv6 };

// How full one table of flows is.
class FlowSample {
public:
    void open(Fd table, std::uint32_t buckets, std::uint32_t tick_shift);
    void take();
    void forget() { sample_.forget(); }
    // The last whole judgement; capacity in flows, of two halves each.
    [[nodiscard]] TableStatus status(const std::string& name) const;
    [[nodiscard]] bool full() const { return sample_.full(); }
    [[nodiscard]] std::uint32_t buckets() const { return sample_.buckets(); }

private:
    BucketSample sample_;
    std::uint32_t tick_shift_ = 0;
};

struct FlowMoveCounts {
    std::uint64_t moved = 0;
    std::uint64_t expired = 0;
    std::uint64_t lost = 0;  // their place in the larger table was taken, or its bucket was full of flows in use
};

// The steps that are pins and configuration. `state` is the directory of state maps.
class FlowPins {
public:
    explicit FlowPins(std::string state) : state_(std::move(state)) {}

    // Puts the pins in order after a death in between. True: flows are to be carried over once programs are loaded
    // (carry() and finish()).
    Result<bool> settle() const;
    // Makes tables of twice the size beside those of the families named.
    Result<void> begin(bool v4, bool v6) const;
    Result<void> beside() const;
    Result<void> swap() const;
    // object: the path of flow_move.o.
    Result<FlowMoveCounts> carry(const std::string& object) const;
    Result<void> finish() const;
    // As begin() had not been, when a step before swap() has failed.
    void give_up() const;

    // The table in use; invalid if none is pinned.
    [[nodiscard]] Fd table(FlowFamily family) const;
    [[nodiscard]] std::uint32_t buckets(FlowFamily family) const;
    [[nodiscard]] std::uint32_t tick_shift() const;

private:
    [[nodiscard]] std::string pin(const std::string& map) const;

    std::string state_;
};

}  // namespace sluice::dataplane
