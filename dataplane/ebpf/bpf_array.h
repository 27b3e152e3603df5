// BPF arrays of state that an agent makes itself, beside those that programs bring along.
#pragma once

#include <cstdint>

#include "api/base/fd.h"
#include "api/base/result.h"

namespace sluice::dataplane {

struct ArrayShape {
    std::uint32_t id = 0;  // of the map; 0: there is none
    std::uint32_t value_size = 0;
    std::uint32_t entries = 0;
};

// All zero for what is no map.
ArrayShape array_shape(const Fd& map);

// One that can be mapped into memory. The error names it.
Result<Fd> make_array(const char* name, std::uint32_t value_size, std::uint32_t entries);

}  // namespace sluice::dataplane
