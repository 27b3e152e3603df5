#include "control/apiserver/registry/allocator/ip_range.h"

#include <algorithm>

namespace sluice::registry {

namespace {

// Larger IPv6 ranges are used up to this many host bits.
constexpr unsigned kMaxHostBits = 62;

std::uint64_t low_bits(const IpAddress& address) {
    std::uint64_t out = 0;
    for (std::size_t i = 8; i < 16; ++i) out = (out << 8U) | address.bytes[i];
    return out;
}

}  // namespace

IpRange::IpRange(const IpPrefix& prefix, std::uint64_t seed) : prefix_(prefix), random_(seed) {
    const bool v4 = prefix.family() == IpFamily::kIpv4;
    const unsigned host_bits =
        std::min(kMaxHostBits, static_cast<unsigned>((v4 ? 32 : 128) - prefix.bits));
    const std::uint64_t size = std::uint64_t{1} << host_bits;
    // The network's own address is never handed out, nor is IPv4's broadcast address.
    const std::uint64_t reserved = v4 ? 2 : 1;
    count_ = size > reserved ? size - reserved : 0;
    constexpr std::uint64_t kMinBand = 16;
    constexpr std::uint64_t kMaxBand = 256;
    if (size > kMinBand) band_ = std::min(std::max(kMinBand, size / 16), kMaxBand);
    band_ = std::min(band_, count_);
}

std::optional<std::uint64_t> IpRange::offset_of(const IpAddress& address) const {
    if (address.family() != prefix_.family() || !prefix_.contains(address)) return std::nullopt;
    const std::uint64_t offset = low_bits(address) - low_bits(prefix_.address);
    if (offset < 1 || offset > count_) return std::nullopt;
    return offset;
}

IpAddress IpRange::address_at(std::uint64_t offset) const {
    IpAddress out = prefix_.address;
    std::uint64_t low = low_bits(out) + offset;
    for (std::size_t i = 16; i > 8; --i) {
        out.bytes[i - 1] = static_cast<std::uint8_t>(low & 0xffU);
        low >>= 8U;
    }
    return out;
}

TakeResult IpRange::take(const IpAddress& address) {
    const auto offset = offset_of(address);
    if (!offset) return TakeResult::kOutOfRange;
    if (elsewhere_ && elsewhere_(address)) return TakeResult::kAlreadyTaken;
    return used_.insert(*offset).second ? TakeResult::kTaken : TakeResult::kAlreadyTaken;
}

bool IpRange::is_free(std::uint64_t offset) const {
    return !used_.contains(offset) && !(elsewhere_ && elsewhere_(address_at(offset)));
}

std::optional<std::uint64_t> IpRange::first_free(std::uint64_t begin, std::uint64_t end) {
    if (begin > end) return std::nullopt;
    const std::uint64_t start = std::uniform_int_distribution<std::uint64_t>(begin, end)(random_);
    for (std::uint64_t offset = start; offset <= end; ++offset) {
        if (is_free(offset)) return offset;
    }
    for (std::uint64_t offset = begin; offset < start; ++offset) {
        if (is_free(offset)) return offset;
    }
    return std::nullopt;
}

std::optional<IpAddress> IpRange::take_any() {
    auto offset = first_free(band_ + 1, count_);
    if (!offset) offset = first_free(1, band_);
    if (!offset) return std::nullopt;
    used_.insert(*offset);
    return address_at(*offset);
}

void IpRange::release(const IpAddress& address) {
    if (const auto offset = offset_of(address)) used_.erase(*offset);
}

}  // namespace sluice::registry
