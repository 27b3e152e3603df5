// The order of values.
#include "control/cel/compare_private.h"

#include "control/cel/errors_private.h"

namespace sluice::cel {

namespace {

constexpr double kTwo63 = 9223372036854775808.0;
constexpr double kTwo64 = 18446744073709551616.0;

// As cel-go: what is in the range of both is compared as doubles, which tell numbers beyond 2^53 less well apart.
std::partial_ordering compare_double_int(double a, std::int64_t b) {
    if (a > kTwo63) return std::partial_ordering::greater;
    if (a < -kTwo63) return std::partial_ordering::less;
    return a <=> static_cast<double>(b);
}

std::partial_ordering compare_double_uint(double a, std::uint64_t b) {
    if (a > kTwo64) return std::partial_ordering::greater;
    if (a < 0) return std::partial_ordering::less;
    return a <=> static_cast<double>(b);
}

std::partial_ordering reversed(std::partial_ordering order) {
    if (order == std::partial_ordering::less) return std::partial_ordering::greater;
    if (order == std::partial_ordering::greater) return std::partial_ordering::less;
    return order;
}

std::partial_ordering compare_int(std::int64_t a, const Value& b) {
    if (const auto* i = b.as_int()) return a <=> *i;
    if (const auto* u = b.as_uint()) {
        if (a < 0) return std::partial_ordering::less;
        return static_cast<std::uint64_t>(a) <=> *u;
    }
    return reversed(compare_double_int(*b.as_double(), a));
}

std::partial_ordering compare_uint(std::uint64_t a, const Value& b) {
    if (const auto* u = b.as_uint()) return a <=> *u;
    if (const auto* i = b.as_int()) {
        if (*i < 0) return std::partial_ordering::greater;
        return a <=> static_cast<std::uint64_t>(*i);
    }
    return reversed(compare_double_uint(*b.as_double(), a));
}

}  // namespace

std::partial_ordering compare_numbers(const Value& a, const Value& b) {
    if (const auto* i = a.as_int()) return compare_int(*i, b);
    if (const auto* u = a.as_uint()) return compare_uint(*u, b);
    const double left = *a.as_double();
    if (const auto* i = b.as_int()) return compare_double_int(left, *i);
    if (const auto* u = b.as_uint()) return compare_double_uint(left, *u);
    return left <=> *b.as_double();
}

Result<std::partial_ordering> compare_values(const Value& a, const Value& b) {
    const auto is_number = [](const Value& value) {
        return value.as_int() != nullptr || value.as_uint() != nullptr ||
               value.as_double() != nullptr;
    };
    if (is_number(a) && is_number(b)) return compare_numbers(a, b);
    if (a.kind() != b.kind()) return no_such_overload();
    switch (a.kind()) {
        case Kind::kBool: return std::partial_ordering(*a.as_bool() <=> *b.as_bool());
        case Kind::kString:
            return std::partial_ordering(a.as_string()->view() <=> b.as_string()->view());
        case Kind::kBytes:
            return std::partial_ordering(a.as_bytes()->view() <=> b.as_bytes()->view());
        case Kind::kTimestamp:
            return std::partial_ordering(*a.as_timestamp() <=> *b.as_timestamp());
        case Kind::kDuration:
            return std::partial_ordering(*a.as_duration() <=> *b.as_duration());
        default: return no_such_overload();
    }
}

}  // namespace sluice::cel
