// Keys of scalars.
#include <bit>
#include <cmath>

#include "control/cel/scalar_key_private.h"

namespace sluice::cel {

namespace {

constexpr double kTwo63 = 9223372036854775808.0;
constexpr double kTwo64 = 18446744073709551616.0;

}  // namespace

std::optional<ScalarKey> ScalarKey::of(const Value& value) {
    switch (value.kind()) {
        case Kind::kNull: return ScalarKey(Form::kNull, 0, 0, {});
        case Kind::kBool: return ScalarKey(Form::kBool, *value.as_bool() ? 1 : 0, 0, {});
        case Kind::kInt:
            return ScalarKey(Form::kInteger, static_cast<std::uint64_t>(*value.as_int()), 0, {});
        case Kind::kUint:
            return ScalarKey(*value.as_uint() > INT64_MAX ? Form::kBigInteger : Form::kInteger,
                             *value.as_uint(), 0, {});
        case Kind::kDouble: {
            const double number = *value.as_double();
            if (std::isnan(number)) return std::nullopt;
            if (number == std::trunc(number) && number >= -kTwo63 && number < kTwo64) {
                if (number >= kTwo63) {
                    return ScalarKey(Form::kBigInteger, static_cast<std::uint64_t>(number), 0, {});
                }
                return ScalarKey(Form::kInteger,
                                 static_cast<std::uint64_t>(static_cast<std::int64_t>(number)), 0,
                                 {});
            }
            return ScalarKey(Form::kFraction, std::bit_cast<std::uint64_t>(number), 0, {});
        }
        case Kind::kString: return of_text(value.as_string()->view());
        case Kind::kBytes: return ScalarKey(Form::kBytes, 0, 0, value.as_bytes()->view());
        case Kind::kTimestamp:
            return ScalarKey(Form::kTimestamp,
                             static_cast<std::uint64_t>(value.as_timestamp()->seconds),
                             value.as_timestamp()->nanos, {});
        case Kind::kDuration:
            return ScalarKey(Form::kDuration,
                             static_cast<std::uint64_t>(value.as_duration()->nanos), 0, {});
        default: return std::nullopt;
    }
}

std::size_t ScalarKey::hash() const {
    const std::size_t text = std::hash<std::string_view>{}(text_);
    const std::size_t number = std::hash<std::uint64_t>{}(number_ * 0x9E3779B97F4A7C15ULL);
    return text ^ number ^ static_cast<std::size_t>(form_) ^
           (static_cast<std::size_t>(nanos_) << 8U);
}

void ScalarKey::append_to(std::string* out) const {
    *out += static_cast<char>('a' + static_cast<int>(form_));
    *out += std::to_string(number_) + "." + std::to_string(nanos_) + "." +
            std::to_string(text_.size()) + ":";
    *out += text_;
}

}  // namespace sluice::cel
