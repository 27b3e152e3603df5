// Resource quantities such as "100m", "1.5Gi", "2e3": exact decimals with a suffix.
// Grammar and canonical form: Kubernetes apimachinery, package resource.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "api/base/result.h"

namespace sluice::codec {

// value * 10^-9 in 128 bits: nano units, as Kubernetes keeps them; finer digits round up, larger
// magnitudes than 2^63-1 units are capped as Kubernetes caps them.
class Quantity {
public:
    enum class Format : std::uint8_t { kDecimalSi, kBinarySi, kDecimalExponent };

    Quantity() = default;
    static Result<Quantity> parse(std::string_view text);
    static Quantity from_units(std::int64_t units, Format format = Format::kDecimalSi);
    static Quantity from_milli(std::int64_t milli, Format format = Format::kDecimalSi);

    // Canonical: no fraction, the largest suffix possible, at most three digits kept after the point gone.
    [[nodiscard]] std::string to_string() const;
    // Rounded up, as Quantity.Value() and MilliValue() do.
    [[nodiscard]] std::int64_t units() const;
    [[nodiscard]] std::int64_t milli() const;
    [[nodiscard]] bool is_zero() const { return nano_ == 0; }
    [[nodiscard]] bool is_negative() const { return nano_ < 0; }
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
