#include "dataplane/pktgen/units.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

namespace sluice::pktgen {

namespace {

// Three digits that count, without an exponent: 1.23, 12.3, 123.
std::string three_digits(double value) {
    if (value == 0) return "0";
    const double size = std::fabs(value);
    if (size >= 99.95) return fmt::format("{:.0f}", value);
    if (size >= 9.995) return fmt::format("{:.1f}", value);
    return fmt::format("{:.2f}", value);
}

}  // namespace

std::string with_prefix(double value, const char* unit) {
    constexpr std::array<const char*, 5> kPrefixes{"", "k", "M", "G", "T"};
    std::size_t power = 0;
    // 999.6 would be shown as 1000.
    while (std::fabs(value) >= 999.5 && power + 1 < kPrefixes.size()) {
        value /= 1000;
        ++power;
    }
    const bool whole = power == 0 && value == std::floor(value);
    std::string out = whole ? fmt::format("{:.0f}", value) : three_digits(value);
    const std::string suffix = std::string(kPrefixes[power]) + unit;
    return suffix.empty() ? out : out + " " + suffix;
}

std::string time_text(double ns) {
    if (ns < 999.5) return fmt::format("{:.0f} ns", ns);
    if (ns < 999.5e3) return three_digits(ns / 1e3) + " us";
    if (ns < 999.5e6) return three_digits(ns / 1e6) + " ms";
    return three_digits(ns / 1e9) + " s";
}

std::string percent_text(double share) {
    if (share == 0) return "0 %";
    const double percent = share * 100;
    if (percent < 0.00001) return "<0.00001 %";
    if (percent < 0.01) return fmt::format("{:.2g} %", percent);
    // Two packets of a million that arrived are not "100 % lost".
    if (percent < 100 && percent > 99.9)
        return fmt::format("{:.4f} %", std::floor(percent * 1e4) / 1e4);
    return fmt::format("{:.3g} %", percent);
}

std::string grouped(std::uint64_t value) {
    std::string out = std::to_string(value);
    for (std::size_t at = out.size(); at > 3;) {
        at -= 3;
        out.insert(at, 1, ',');
    }
    return out;
}

}  // namespace sluice::pktgen
