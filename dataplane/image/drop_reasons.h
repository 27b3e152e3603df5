// The reasons for dropping packets (api/abi/drop_reasons.h) in words, the same in every program that shows them.
#pragma once

#include <cstdint>

namespace sluice::image {

// Name and meaning of an enum sluice_drop_reason, as "no_endpoint"; "unknown" beyond the list.
[[nodiscard]] const char* drop_name(std::uint32_t reason);
[[nodiscard]] const char* drop_text(std::uint32_t reason);

}  // namespace sluice::image
