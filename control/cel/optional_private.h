// Values of optional_type(T). Private to cel/.
#pragma once

#include <optional>
#include <utility>

#include "control/cel/value.h"

namespace sluice::cel {

class OptionalValue final : public OpaqueValue {
public:
    explicit OptionalValue(std::optional<Value> value) : value_(std::move(value)) {}
    [[nodiscard]] Type type() const override { return Type::optional(Type::dyn()); }
    [[nodiscard]] Result<bool> equals(const OpaqueValue& other) const override;
    [[nodiscard]] const std::optional<Value>& value() const { return value_; }

private:
    std::optional<Value> value_;
};

}  // namespace sluice::cel
