// Numbers for people: three or four digits and a decimal prefix.
#pragma once

#include <cstdint>
#include <string>

namespace sluice::pktgen {

// "0", "999", "1.49 M", "12.3 k"; the unit follows a space where there is one: "14.9 Mpps" of
// (14.9e6, "pps").
[[nodiscard]] std::string with_prefix(double value, const char* unit = "");
// "850 ns", "12.3 us", "1.50 ms", "2.00 s".
[[nodiscard]] std::string time_text(double ns);
// "0", "0.0012 %", "3.1 %"; what is not 0 does not show as 0.
[[nodiscard]] std::string percent_text(double share);
// "1,234,567".
[[nodiscard]] std::string grouped(std::uint64_t value);

}  // namespace sluice::pktgen
