// The order of values. Private to cel/.
#pragma once

#include <compare>

#include "api/base/result.h"
#include "control/cel/meter_private.h"
#include "control/cel/value.h"

namespace sluice::cel {

// By value, whatever the types. REQUIRES: both are int, uint or double. Unordered: one is NaN.
[[nodiscard]] std::partial_ordering compare_numbers(const Value& a, const Value& b);

// "<" and its kin: numbers, or two values of one type that has an order. "no such overload" for all others.
[[nodiscard]] Result<std::partial_ordering> compare_values(const Value& a, const Value& b);

// "==" of the language: numbers by value whatever their types, NaN is nothing's equal, values of different types are
// not equal. An error comes from a lazy element, from values that nest too deeply or from the meter, which counts the
// work: that of the smaller value at most.
[[nodiscard]] Result<bool> equal_values(const Value& a, const Value& b, Meter* meter);

}  // namespace sluice::cel
