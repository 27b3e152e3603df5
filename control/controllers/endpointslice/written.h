// What was written but has not come back through the watch yet. With it, a controller can go on at
// once from its own last write, where one that only knows its cache would make the same slice twice
// or wait.
//
// Thread-safe. A write is remembered until the cache has caught up with it, at most kMaxAge.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "control/controllers/endpointslice/packing.h"

namespace sluice::controllers::endpoints {

class WrittenSlices {
public:
    using Clock = std::chrono::steady_clock;
    // A slice that came and went between two batches of the watch is never seen in the cache.
    static constexpr std::chrono::seconds kMaxAge{10};

    void wrote(const std::string& service, SlicePtr slice);
    void removed(const std::string& service, SlicePtr slice);
    // Somebody else wrote, too: from here on the cache is right, as soon as it has caught up.
    void forget(const std::string& service);

    // The slices of a Service as they are after the own writes. cached: as the informer has them.
    [[nodiscard]] std::vector<SlicePtr> after_writes(const std::string& service,
                                                     std::vector<SlicePtr> cached);
    // True for the very version that was written here, whose echo needs no further look.
    [[nodiscard]] bool is_echo(const std::string& service, const Slice& slice) const;

private:
    struct Entry {
        SlicePtr slice;
        bool removed = false;
        Clock::time_point when;
    };
    mutable std::mutex mutex_;
    std::map<std::string, std::map<std::string, Entry>> entries_;  // [service][slice name]
};

}  // namespace sluice::controllers::endpoints
