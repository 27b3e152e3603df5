// Addresses and ranges as values. Private to cel/.
#pragma once

#include "api/base/ip_address.h"
#include "control/cel/value.h"

namespace sluice::cel {

[[nodiscard]] const Type& ip_type();
[[nodiscard]] const Type& cidr_type();

class IpValue final : public OpaqueValue {
public:
    explicit IpValue(IpAddress value) : address(value) {}
    [[nodiscard]] Type type() const override { return ip_type(); }
    [[nodiscard]] Result<bool> equals(const OpaqueValue& other) const override;
    const IpAddress address;
};

// Its address may have bits beyond the prefix.
class CidrValue final : public OpaqueValue {
public:
    CidrValue(IpAddress value, std::uint8_t prefix) : address(value), bits(prefix) {}
    [[nodiscard]] Type type() const override { return cidr_type(); }
    [[nodiscard]] Result<bool> equals(const OpaqueValue& other) const override;
    const IpAddress address;
    const std::uint8_t bits;
};

// For costs: bytes of an address, bytes of a range's prefix, 1 of others.
[[nodiscard]] std::uint64_t opaque_size(const Value& value);

}  // namespace sluice::cel
