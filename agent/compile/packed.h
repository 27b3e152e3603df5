// The facts of an object as it rests: a row of bytes in one allocation of just its size. An agent holds a Service and
// an EndpointSlice for each of 50,000 names and looks at one of them at a time, so they are kept packed and unpacked
// to be compiled; as structures they took twice the memory.
//
// Equal facts have equal bytes, and facts that differ have others.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "agent/compile/model.h"

namespace sluice::compile {

class Packed {
public:
    Packed() = default;
    // REQUIRES: at most UINT32_MAX bytes; the limits of model.h keep facts far below.
    explicit Packed(std::string_view bytes);

    // False: there are no facts, which is not the same as empty ones.
    explicit operator bool() const { return bytes_ != nullptr; }
    [[nodiscard]] std::string_view bytes() const;
    bool operator==(const Packed& other) const {
        return static_cast<bool>(*this) == static_cast<bool>(other) && bytes() == other.bytes();
    }

private:
    std::unique_ptr<char[]> bytes_;  // the length first
};

// Without its key, which is the caller's to keep.
[[nodiscard]] Packed pack(const ServiceFacts& service);
[[nodiscard]] Packed pack(const Slice& slice);
// REQUIRES: packed by the function above. Cost: linear, an allocation for each list that is not empty.
[[nodiscard]] ServiceFacts unpack_service(const Packed& packed, std::string key);
[[nodiscard]] Slice unpack_slice(const Packed& packed);

}  // namespace sluice::compile
