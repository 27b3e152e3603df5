// Values of optional_type(T). Private to cel/.
#pragma once

#include <optional>
#include <utility>

#include "control/cel/errors_private.h"
#include "control/cel/value.h"

namespace sluice::cel {

class OptionalValue final : public OpaqueValue {
public:
    explicit OptionalValue(std::optional<Value> value) : value_(std::move(value)) {}
    [[nodiscard]] Type type() const override { return Type::optional(Type::dyn()); }
    // "==" looks into optionals itself (equality.cc).
    [[nodiscard]] Result<bool> equals(const OpaqueValue&) const override { return no_such_overload(); }
    [[nodiscard]] int depth() const override { return value_ ? value_->depth() + 1 : 0; }
    [[nodiscard]] const std::optional<Value>& value() const { return value_; }

private:
    std::optional<Value> value_;
};

}  // namespace sluice::cel
