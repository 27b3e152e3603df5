// Numbers as texts.
#include "control/cel/functions/numbers_private.h"

#include <array>
#include <charconv>
#include <cmath>

namespace sluice::cel {

namespace {

std::string written(double value, std::chars_format format) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
    // The longest is 'f' of the smallest number.
    std::array<char, 1100> buffer{};
    const auto done = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, format);
    return {buffer.data(), done.ptr};
}

}  // namespace

std::string short_double(double value) {
    std::string scientific = written(value, std::chars_format::scientific);
    const std::size_t e = scientific.find('e');
    if (e == std::string::npos) return scientific;
    int exponent = 0;
    const std::size_t digits = e + (scientific[e + 1] == '+' ? 2 : 1);
    std::from_chars(scientific.data() + digits, scientific.data() + scientific.size(), exponent);
    constexpr int kLeast = -4;
    constexpr int kMost = 5;
    return exponent >= kLeast && exponent <= kMost ? plain_double(value) : scientific;
}

std::string plain_double(double value) { return written(value, std::chars_format::fixed); }

}  // namespace sluice::cel
