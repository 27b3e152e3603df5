// Scalars as keys of hash tables: numbers that are equal have one key, whatever their types. Private to cel/.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "control/cel/value.h"

namespace sluice::cel {

// Views the value's text: it lives as long as the value it was made of.
class ScalarKey {
public:
    // Nullopt: no scalar, or NaN, which equals nothing.
    static std::optional<ScalarKey> of(const Value& value);
    static ScalarKey of_text(std::string_view text) { return {Form::kString, 0, 0, text}; }

    bool operator==(const ScalarKey&) const = default;
    [[nodiscard]] std::size_t hash() const;
    // Distinct for distinct keys; for keys made of several.
    void append_to(std::string* out) const;

private:
    enum class Form : std::uint8_t {
        kNull, kBool, kInteger, kBigInteger, kFraction, kString, kBytes, kTimestamp, kDuration
    };
    ScalarKey(Form form, std::uint64_t number, std::int32_t nanos, std::string_view text)
        : form_(form), nanos_(nanos), number_(number), text_(text) {}

    Form form_;
    std::int32_t nanos_;
    std::uint64_t number_;
    std::string_view text_;
};

struct ScalarKeyHash {
    std::size_t operator()(const ScalarKey& key) const { return key.hash(); }
};

}  // namespace sluice::cel
