#include "control/apiserver/registry/allocator/node_ports.h"

#include <algorithm>

namespace sluice::registry {

NodePorts::NodePorts(std::uint16_t min, std::uint16_t max, std::uint64_t seed)
    : min_(min), max_(max), used_(static_cast<std::size_t>(max) - min + 1), random_(seed) {
    constexpr std::uint32_t kMinBand = 16;
    constexpr std::uint32_t kMaxBand = 128;
    const auto size = static_cast<std::uint32_t>(used_.size());
    if (size > kMinBand) band_ = std::min(std::max(kMinBand, size / 32), kMaxBand);
}

std::uint8_t NodePorts::bit(Protocol protocol) {
    switch (protocol) {
        case Protocol::kTcp: return 1;
        case Protocol::kUdp: return 2;
        case Protocol::kSctp: return 4;
    }
    return 0;
}

TakeResult NodePorts::take(Protocol protocol, std::int64_t port) {
    if (port < min_ || port > max_) return TakeResult::kOutOfRange;
    std::uint8_t& used = used_[static_cast<std::size_t>(port - min_)];
    if (elsewhere_ && elsewhere_(protocol, port)) return TakeResult::kAlreadyTaken;
    if ((used & bit(protocol)) != 0) return TakeResult::kAlreadyTaken;
    used = static_cast<std::uint8_t>(used | bit(protocol));
    return TakeResult::kTaken;
}

bool NodePorts::is_free(std::uint32_t at, std::uint8_t mask) const {
    if ((used_[at] & mask) != 0) return false;
    if (!elsewhere_) return true;
    for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp, Protocol::kSctp}) {
        if ((bit(protocol) & mask) != 0 && elsewhere_(protocol, std::int64_t{min_} + at)) return false;
    }
    return true;
}

std::optional<std::uint32_t> NodePorts::first_without(std::uint8_t mask, std::uint32_t begin,
                                                      std::uint32_t end) {
    if (begin >= end) return std::nullopt;
    const std::uint32_t start =
        std::uniform_int_distribution<std::uint32_t>(begin, end - 1)(random_);
    for (std::uint32_t i = 0; i < end - begin; ++i) {
        const std::uint32_t at = begin + (start - begin + i) % (end - begin);
        if (is_free(at, mask)) return at;
    }
    return std::nullopt;
}

std::optional<std::uint16_t> NodePorts::take_any(Protocol protocol) {
    constexpr std::uint8_t kAnyProtocol = 7;
    const auto size = static_cast<std::uint32_t>(used_.size());
    for (const std::uint8_t mask : {kAnyProtocol, bit(protocol)}) {
        auto at = first_without(mask, band_, size);
        if (!at) at = first_without(mask, 0, band_);
        if (!at) continue;
        used_[*at] = static_cast<std::uint8_t>(used_[*at] | bit(protocol));
        return static_cast<std::uint16_t>(min_ + *at);
    }
    return std::nullopt;
}

void NodePorts::release(Protocol protocol, std::int64_t port) {
    if (port < min_ || port > max_) return;
    std::uint8_t& used = used_[static_cast<std::size_t>(port - min_)];
    used = static_cast<std::uint8_t>(used & ~bit(protocol));
}

}  // namespace sluice::registry
