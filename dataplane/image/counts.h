// What an image had counted, and how its successor goes on counting: figures must not fall when an image is replaced.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "dataplane/image/layout.h"

namespace sluice::image {

// At one moment.
struct Counts {
    std::vector<sluice_service_counters> services;
    std::vector<sluice_backend_counters> backends;
    std::array<std::uint64_t, SLUICE_DROP_STRIDE> drops{};

    static Counts of(const Tables& tables);
};

// Adds what has been counted since `before` (all of it, if that is empty) to an image in which the services that are
// set, and their backends, have the index they had.
void carry_counts(const Counts& before, const Counts& now, const Tables& to,
                  const std::vector<bool>& services);

}  // namespace sluice::image
