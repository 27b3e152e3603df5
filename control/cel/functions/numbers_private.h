// Numbers as texts, as Go writes them. Private to cel/.
#pragma once

#include <string>

namespace sluice::cel {

// strconv's 'g' with the shortest digits: "1.5", "1e+06", "NaN", "+Inf".
[[nodiscard]] std::string short_double(double value);
// strconv's 'f' with the shortest digits: "1000000", "0.5".
[[nodiscard]] std::string plain_double(double value);

}  // namespace sluice::cel
