// What the three kinds of patch share: comparing and printing JSON values. Private to the patches.
#pragma once

#include <boost/json/value.hpp>
#include <cstddef>
#include <string>

namespace sluice::codec {

// Longest text of a value inside an error message; the rest is cut off and shown as "...".
inline constexpr std::size_t kMaxPrintedValueBytes = 1024;

// Equal as RFC 6902, section 4.6 says: numbers by value, objects without regard to order.
[[nodiscard]] bool json_equal(const boost::json::value& left, const boost::json::value& right);

// A text that equal scalars share and different ones do not: the key of look-ups by value.
// REQUIRES: value is a scalar.
[[nodiscard]] std::string scalar_key(const boost::json::value& value);

[[nodiscard]] inline bool is_scalar(const boost::json::value& value) {
    return !value.is_object() && !value.is_array();
}

// As Go prints a decoded document with %v, since such text stands in kube-apiserver's messages:
// `map[image:q name:c]`, `[a b]`.
[[nodiscard]] std::string go_format(const boost::json::value& value);

// Bytes that the value takes when written, roughly: what a copy adds to a document.
[[nodiscard]] std::size_t json_size(const boost::json::value& value);

}  // namespace sluice::codec
