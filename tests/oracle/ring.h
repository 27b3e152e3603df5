// Which endpoint a consistent hash gives, by the definition that all nodes share (docs/adr/0008-maglev-rings.md,
// dataplane/image/maglev.h): the paper's loop, place by place.
#pragma once

#include <cstdint>
#include <vector>

#include "dataplane/image/desired.h"
#include "tests/oracle/packet.h"

namespace sluice::oracle {

// Positions within the set, which is sorted. REQUIRES: it is not empty.
std::vector<std::uint32_t> ring_of(const std::vector<image::Backend>& set);

// 32 bits of where a flow stands; kClient looks at the client's address alone.
std::uint32_t hash_of(const Tuple& tuple, image::Choice choice);

}  // namespace sluice::oracle
