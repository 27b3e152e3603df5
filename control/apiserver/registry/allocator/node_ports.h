// The node ports: which are taken, per protocol, and which comes next. Health check ports are TCP ports of the same
// space. Dynamic picks stay above a static band (KEP-3668). Not thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "api/base/ip_address.h"
#include "control/apiserver/registry/allocator/ip_range.h"

namespace sluice::registry {

class NodePorts {
public:
    // Both ends included.
    NodePorts(std::uint16_t min, std::uint16_t max, std::uint64_t seed);

    // Ports for which it holds are taken too, for somebody else.
    void set_elsewhere(std::function<bool(Protocol, std::int64_t)> taken) { elsewhere_ = std::move(taken); }
    [[nodiscard]] std::uint16_t min() const { return min_; }
    [[nodiscard]] std::uint16_t max() const { return max_; }
    TakeResult take(Protocol protocol, std::int64_t port);
    // A port that no protocol uses, if there is one; else one that this protocol does not use.
    std::optional<std::uint16_t> take_any(Protocol protocol);
    void release(Protocol protocol, std::int64_t port);
    [[nodiscard]] std::uint32_t static_band() const { return band_; }

private:
    [[nodiscard]] static std::uint8_t bit(Protocol protocol);
    [[nodiscard]] bool is_free(std::uint32_t at, std::uint8_t mask) const;
    std::optional<std::uint32_t> first_without(std::uint8_t mask, std::uint32_t begin,
                                               std::uint32_t end);

    std::uint16_t min_;
    std::uint16_t max_;
    std::uint32_t band_ = 0;
    std::vector<std::uint8_t> used_;  // [port - min_], one bit for each protocol
    std::function<bool(Protocol, std::int64_t)> elsewhere_;
    std::mt19937_64 random_;
};

}  // namespace sluice::registry
