// The clock of the flow tables, read from user space.
#pragma once

#include <cstdint>

namespace sluice::dataplane {

// The tick that programs see now: jiffies >> shift, of which 16 bits count.
std::uint16_t current_tick(std::uint32_t shift);

}  // namespace sluice::dataplane
