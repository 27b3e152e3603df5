// A pinned BPF array, mapped read-only: how `sluice` looks at tables that programs change meanwhile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "api/base/result.h"

namespace sluice::dataplane {

// Empty by default. Move only; the mapping goes with the object.
class PinnedArray {
public:
    PinnedArray() = default;
    PinnedArray(PinnedArray&& other) noexcept { *this = std::move(other); }
    PinnedArray& operator=(PinnedArray&& other) noexcept {
        std::swap(address_, other.address_);
        std::swap(length_, other.length_);
        std::swap(entries_, other.entries_);
        return *this;
    }
    ~PinnedArray();

    // `what` names the table in errors ("flow table"). kNotFound when nothing is pinned there,
    // kFailedPrecondition when it is no memory-mapped array of such values.
    static Result<PinnedArray> open(const std::string& path, std::uint32_t value_size, std::string_view what);

    // The programs write here too: read by the table's protocol.
    template <class Value>
    [[nodiscard]] Value* as() const {
        return static_cast<Value*>(address_);
    }
    [[nodiscard]] std::uint32_t entries() const { return entries_; }

private:
    void* address_ = nullptr;
    std::size_t length_ = 0;
    std::uint32_t entries_ = 0;
};

}  // namespace sluice::dataplane
