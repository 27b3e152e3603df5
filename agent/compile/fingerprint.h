// A short stand-in for a compiled service port, to see whether a new outcome is another one without keeping the old.
// XXH3, 128 bits: two different outcomes of one service port look equal with a chance of 2^-128. It is no defence
// against somebody who searches for such a pair; what they would gain is that a change of their own service waits.
#pragma once

#include <cstdint>

#include "dataplane/image/desired.h"

namespace sluice::compile {

struct Fingerprint {
    std::uint64_t low = 0;
    std::uint64_t high = 0;
    auto operator<=>(const Fingerprint&) const = default;
};

// Of everything but the key. Equal services have equal fingerprints. Cost: linear in the endpoints.
[[nodiscard]] Fingerprint fingerprint_of(const image::Service& service);

}  // namespace sluice::compile
