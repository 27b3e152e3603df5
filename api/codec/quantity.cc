#include "api/codec/quantity.h"

#include <algorithm>
#include <array>
#include <boost/multiprecision/cpp_int.hpp>
#include <limits>

namespace sluice::codec {
namespace {

__extension__ using Nano = __int128;
using Big = boost::multiprecision::cpp_int;

constexpr Nano kNanoPerUnit = 1'000'000'000;
constexpr Nano kMaxInt64Nano = Nano{std::numeric_limits<std::int64_t>::max()} * kNanoPerUnit;
// 10^28 units: the sum of any two still fits.
constexpr Nano kMaxNano = [] {
    Nano value = 1;
    for (int i = 0; i < 28 + 9; ++i) value *= 10;
    return value;
}();
// Exponents beyond these leave every text of kMaxQuantityLength too large, or below a nano.
constexpr std::int64_t kMaxExponent = 200;

using Format = Quantity::Format;

struct Suffix {
    std::string_view text;
    Format format;
    int exponent;  // of 10, of 2 for kBinarySi
};
constexpr Suffix kSuffixes[] = {
    {"", Format::kDecimalSi, 0},   {"n", Format::kDecimalSi, -9}, {"u", Format::kDecimalSi, -6},
    {"m", Format::kDecimalSi, -3}, {"k", Format::kDecimalSi, 3},  {"M", Format::kDecimalSi, 6},
    {"G", Format::kDecimalSi, 9},  {"T", Format::kDecimalSi, 12}, {"P", Format::kDecimalSi, 15},
    {"E", Format::kDecimalSi, 18}, {"Ki", Format::kBinarySi, 10}, {"Mi", Format::kBinarySi, 20},
    {"Gi", Format::kBinarySi, 30}, {"Ti", Format::kBinarySi, 40}, {"Pi", Format::kBinarySi, 50},
    {"Ei", Format::kBinarySi, 60},
};

Error wrong_format() {
    return make_error(Code::kInvalidArgument,
                      "quantities must match the regular expression "
                      "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'");
}
Error wrong_number() {
    return make_error(Code::kInvalidArgument, "unable to parse numeric part of quantity");
}
Error wrong_suffix() {
    return make_error(Code::kInvalidArgument, "unable to parse quantity's suffix");
}

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

// The text apart: [sign] whole [. fraction] suffix.
struct Parts {
    bool negative = false;
    std::string_view whole;
    std::string_view fraction;
    std::string_view suffix;
};

Result<Parts> split(std::string_view text) {
    Parts parts;
    std::string_view rest = text;
    if (!rest.empty() && (rest.front() == '-' || rest.front() == '+')) {
        parts.negative = rest.front() == '-';
        rest.remove_prefix(1);
    }
    const auto take_while = [&rest](auto&& accepted) {
        const auto end = std::ranges::find_if_not(rest, accepted);
        const auto taken = rest.substr(0, static_cast<std::size_t>(end - rest.begin()));
        rest.remove_prefix(taken.size());
        return taken;
    };
    parts.whole = take_while(is_digit);
    if (!rest.empty() && rest.front() == '.') {
        rest.remove_prefix(1);
        parts.fraction = take_while(is_digit);
        if (!rest.empty() && rest.front() == '.') return wrong_number();
    }
    if (parts.whole.empty() && parts.fraction.empty()) return wrong_format();
    parts.suffix = rest;
    take_while([](char c) {
        return std::string_view("eEinumkKMGTP").find(c) != std::string_view::npos;
    });
    if (!rest.empty() && (rest.front() == '-' || rest.front() == '+')) rest.remove_prefix(1);
    take_while(is_digit);
    if (!rest.empty()) return wrong_format();
    return parts;
}

Result<Suffix> interpret(std::string_view text) {
    for (const auto& suffix : kSuffixes) {
        if (suffix.text == text) return suffix;
    }
    if (text.size() < 2 || (text.front() != 'e' && text.front() != 'E')) return wrong_suffix();
    std::string_view digits = text.substr(1);
    const bool negative = digits.front() == '-';
    if (digits.front() == '-' || digits.front() == '+') digits.remove_prefix(1);
    if (digits.empty() || !std::ranges::all_of(digits, is_digit)) return wrong_suffix();
    std::int64_t exponent = 0;
    for (const char c : digits) exponent = std::min(exponent * 10 + (c - '0'), kMaxExponent);
    return Suffix{text, Format::kDecimalExponent, static_cast<int>(negative ? -exponent : exponent)};
}

// |value| in nano units, rounded up, no more than limit + 1. Big integers: a text has up to
// kMaxQuantityLength digits and the exact product decides how it rounds.
Nano magnitude(std::string_view digits, int ten_exponent, int two_exponent, Nano limit) {
    Big value = 0;
    for (const char c : digits) value = value * 10 + (c - '0');
    value <<= static_cast<unsigned>(two_exponent);
    for (int i = 0; i < ten_exponent; ++i) value *= 10;
    if (ten_exponent < 0) {
        Big divisor = 1;
        for (int i = 0; i > ten_exponent; --i) divisor *= 10;
        value = (value + divisor - 1) / divisor;
    }
    const Nano too_large = limit + 1;
    if (value > Big(limit)) return too_large;
    return static_cast<Nano>(value);
}

// The usual case without allocation: up to 15 digits and a product that fits.
bool small_magnitude(std::string_view digits, int ten_exponent, int two_exponent, Nano* out) {
    constexpr std::size_t kMaxDigits = 15;
    if (digits.size() > kMaxDigits || ten_exponent < 0 || ten_exponent > 18 || two_exponent > 40) {
        return false;
    }
    Nano value = 0;
    for (const char c : digits) value = value * 10 + (c - '0');
    Nano factor = Nano{1} << static_cast<unsigned>(two_exponent);
    for (int i = 0; i < ten_exponent; ++i) {
        if (__builtin_mul_overflow(factor, Nano{10}, &factor)) return false;
    }
    return !__builtin_mul_overflow(value, factor, out);
}

std::string to_decimal(Nano value) {
    const bool negative = value < 0;
    __extension__ unsigned __int128 rest =
        negative ? -static_cast<unsigned __int128>(value) : static_cast<unsigned __int128>(value);
    std::string digits;
    do {
        digits.push_back(static_cast<char>('0' + static_cast<int>(rest % 10)));
        rest /= 10;
    } while (rest != 0);
    if (negative) digits.push_back('-');
    std::ranges::reverse(digits);
    return digits;
}

std::string_view suffix_of(Format format, int exponent) {
    for (const auto& suffix : kSuffixes) {
        const bool wanted = suffix.format == format || exponent == 0;
        if (wanted && suffix.exponent == exponent) return suffix.text;
    }
    return {};
}

std::int64_t divide_up(Nano value, Nano divisor) {
    // Division truncates towards zero, which for a negative value is up already.
    const Nano quotient = value / divisor + (value > 0 && value % divisor != 0 ? 1 : 0);
    return static_cast<std::int64_t>(std::clamp<Nano>(quotient,
                                                      std::numeric_limits<std::int64_t>::min(),
                                                      std::numeric_limits<std::int64_t>::max()));
}

}  // namespace

Result<Quantity> Quantity::parse(std::string_view text) {
    if (text.size() > kMaxQuantityLength) {
        return make_error(Code::kInvalidArgument, "a quantity has more than {} characters",
                          kMaxQuantityLength);
    }
    SLUICE_TRY_ASSIGN(const Parts parts, split(text));
    SLUICE_TRY_ASSIGN(const Suffix suffix, interpret(parts.suffix));
    std::string digits(parts.whole);
    digits += parts.fraction;
    digits.erase(0, std::min(digits.find_first_not_of('0'), digits.size()));
    const bool binary = suffix.format == Format::kBinarySi;
    const int ten_exponent =
        9 - static_cast<int>(parts.fraction.size()) + (binary ? 0 : suffix.exponent);
    const int two_exponent = binary ? suffix.exponent : 0;
    Quantity quantity;
    quantity.format_ = suffix.format;
    if (digits.empty()) return quantity;
    const Nano limit = binary ? kMaxInt64Nano : kMaxNano;
    Nano value = 0;
    if (!small_magnitude(digits, ten_exponent, two_exponent, &value)) {
        value = magnitude(digits, ten_exponent, two_exponent, limit);
    }
    if (value > limit) {
        if (!binary) {
            return make_error(Code::kOutOfRange, "quantity {} exceeds 1e28", text);
        }
        value = limit;
    }
    if (binary && value < kNanoPerUnit) quantity.format_ = Format::kDecimalSi;
    quantity.nano_ = parts.negative ? -value : value;
    return quantity;
}

Quantity Quantity::from_units(std::int64_t units, Format format) {
    Quantity quantity;
    quantity.nano_ = Nano{units} * kNanoPerUnit;
    quantity.format_ = format;
    return quantity;
}

Quantity Quantity::from_milli(std::int64_t milli, Format format) {
    Quantity quantity;
    quantity.nano_ = Nano{milli} * (kNanoPerUnit / 1'000);
    quantity.format_ = format;
    return quantity;
}

std::string Quantity::to_string() const {
    if (nano_ == 0) return "0";
    Format format = format_;
    if (format == Format::kBinarySi) {
        const bool small = nano_ > -1024 * kNanoPerUnit && nano_ < 1024 * kNanoPerUnit;
        if (small || nano_ % kNanoPerUnit != 0) format = Format::kDecimalSi;
    }
    if (format == Format::kBinarySi) {
        Nano mantissa = nano_ / kNanoPerUnit;
        int exponent = 0;
        while (mantissa % 1024 == 0 && exponent < 60) {
            mantissa /= 1024;
            exponent += 10;
        }
        return to_decimal(mantissa) + std::string(suffix_of(format, exponent));
    }
    // The largest exponent that is a multiple of three and leaves no fraction.
    Nano mantissa = nano_;
    int exponent = -9;
    while (mantissa % 1000 == 0) {
        mantissa /= 1000;
        exponent += 3;
    }
    std::string out = to_decimal(mantissa);
    if (exponent == 0) return out;
    // From 10^21 on there is no suffix.
    if (format == Format::kDecimalSi && exponent <= 18) {
        return out + std::string(suffix_of(format, exponent));
    }
    return out + "e" + std::to_string(exponent);
}

std::int64_t Quantity::units() const {
    return divide_up(nano_, kNanoPerUnit);
}

std::int64_t Quantity::milli() const {
    return divide_up(nano_, kNanoPerUnit / 1'000);
}

double Quantity::approximate() const {
    // Units and the rest apart, so that whole units come out exactly as far as a double can hold them.
    return static_cast<double>(nano_ / kNanoPerUnit) +
           static_cast<double>(nano_ % kNanoPerUnit) / static_cast<double>(kNanoPerUnit);
}

Quantity& Quantity::operator+=(const Quantity& other) {
    if (is_zero()) format_ = other.format_;
    // Both are within kMaxNano, so that the sum fits.
    nano_ = std::clamp(nano_ + other.nano_, -kMaxNano, kMaxNano);
    return *this;
}

Quantity& Quantity::operator-=(const Quantity& other) {
    if (is_zero()) format_ = other.format_;
    nano_ = std::clamp(nano_ - other.nano_, -kMaxNano, kMaxNano);
    return *this;
}

std::strong_ordering Quantity::operator<=>(const Quantity& other) const {
    return nano_ < other.nano_   ? std::strong_ordering::less
           : nano_ > other.nano_ ? std::strong_ordering::greater
                                 : std::strong_ordering::equal;
}

bool Quantity::operator==(const Quantity& other) const {
    return nano_ == other.nano_;
}

}  // namespace sluice::codec
