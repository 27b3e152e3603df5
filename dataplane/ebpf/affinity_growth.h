// The affinity table's size while the engine runs: how full it is, and a table twice as large in place of one that is
// too full, with the clients that it knows.
//
//   begin     a larger table and its configuration are made, filled from those in use and pinned in their place; the
//             smaller ones keep pins as <name>_was
//             - programs are loaded; those in force use the smaller table -
//   catch_up  what the smaller table learned meanwhile is brought over
//             - programs are turned to -
//   catch_up  once more, for programs are exchanged at one device after another
//             - the last program of before has ended -
//   finish    likewise; the smaller table's pins are removed
//
// A start after a death in between loads its programs with the larger table and finishes likewise: see settle().
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "api/base/fd.h"
#include "api/base/result.h"
#include "dataplane/ebpf/bucket_sample.h"
#include "dataplane/engine.h"

namespace sluice::dataplane {

class AffinityGrowth {
public:
    // state: the directory of state maps.
    explicit AffinityGrowth(std::string state) : state_(std::move(state)) {}

    // Puts the pins in order after a death or an error in between. REQUIRES: no programs are being loaded.
    Result<void> settle() const;
    // Looks at the pinned table from now on.
    void watch();
    // A few microseconds; sixteen calls make a judgement.
    void look();
    // More than half of the slots are of clients whose time is not over, by the last judgement. Asking forgets it.
    [[nodiscard]] bool full();
    [[nodiscard]] std::uint64_t entries() const;
    // "affinity"; used is estimated from the sample.
    [[nodiscard]] TableStatus status() const;

    // On error everything is as it was, if that can be; else pending() and settle().
    Result<void> begin() const;
    // Whether a growth was begun and not finished.
    [[nodiscard]] bool pending() const;
    // Clients brought over, or whose choice or time was. REQUIRES: pending().
    Result<std::uint64_t> catch_up() const;
    // Likewise. REQUIRES: no program uses the smaller table any more.
    Result<std::uint64_t> finish() const;

private:
    Result<void> exchange_pins(int larger, int config) const;
    [[nodiscard]] std::string pin(const char* map) const;

    std::string state_;
    Fd config_;
    BucketSample sample_;
};

}  // namespace sluice::dataplane
