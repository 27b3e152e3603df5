// Resource quantities such as "100m", "1.5Gi", "2e3": exact decimals with a suffix.
// Grammar and canonical form: Kubernetes apimachinery, package resource.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "api/base/result.h"

namespace sluice::codec {

inline constexpr std::size_t kMaxQuantityLength = 128;

// value * 10^-9 in 128 bits. As in Kubernetes, finer digits are rounded away from zero and binary
// quantities above 2^63-1 units are capped there; decimal ones are exact. Deviation: magnitudes from 10^28
// units on, which Kubernetes keeps in big integers, are refused, and a text needs a digit.
class Quantity {
public:
    enum class Format : std::uint8_t { kDecimalSi, kBinarySi, kDecimalExponent };

    Quantity() = default;
    // kInvalidArgument in Kubernetes' words for what is no quantity, kOutOfRange for too large a magnitude.
    static Result<Quantity> parse(std::string_view text);
    static Quantity from_units(std::int64_t units, Format format = Format::kDecimalSi);
    static Quantity from_milli(std::int64_t milli, Format format = Format::kDecimalSi);

    // Canonical: no fraction, no digit lost, the largest suffix possible.
    [[nodiscard]] std::string to_string() const;
    // Rounded up, as Quantity.Value() and MilliValue() do; capped at the ends of int64.
    [[nodiscard]] std::int64_t units() const;
    [[nodiscard]] std::int64_t milli() const;
    // As near as a double comes.
    [[nodiscard]] double approximate() const;
    [[nodiscard]] bool is_zero() const { return nano_ == 0; }
    [[nodiscard]] bool is_negative() const { return nano_ < 0; }
    // The format becomes other's if this is zero. Sums are capped at 10^28 units.
    Quantity& operator+=(const Quantity& other);
    Quantity& operator-=(const Quantity& other);
    // By value; the format does not count.
    std::strong_ordering operator<=>(const Quantity& other) const;
    bool operator==(const Quantity& other) const;

private:
    __extension__ __int128 nano_ = 0;
    Format format_ = Format::kDecimalSi;
};

}  // namespace sluice::codec
