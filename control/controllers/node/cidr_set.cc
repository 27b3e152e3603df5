#include "control/controllers/node/cidr_set.h"

#include <algorithm>

namespace sluice::controllers::nodes {
namespace {

// Bit n of an address, counted from the left within its 16 bytes.
bool bit_at(const IpAddress& address, int n) {
    return ((address.bytes[static_cast<std::size_t>(n / 8)] >> static_cast<unsigned>(7 - n % 8)) & 1U) != 0;
}

// IPv4 addresses stand in the last 32 of the 128 bits.
int offset_of(const IpPrefix& prefix) { return prefix.address.is_v4() ? 96 : 0; }

}  // namespace

Result<CidrSet> CidrSet::make(const IpPrefix& range, int share_bits) {
    const int width = range.address.is_v4() ? 32 : 128;
    if (share_bits < range.bits || share_bits > width) {
        return make_error(Code::kInvalidArgument,
                          "cluster range {} cannot be cut into /{} for nodes", range.to_string(),
                          share_bits);
    }
    if (share_bits - range.bits > kMaxShareBits) {
        return make_error(Code::kInvalidArgument,
                          "cluster range {} has more than {} shares of /{}; use a longer prefix or "
                          "larger shares",
                          range.to_string(), 1 << kMaxShareBits, share_bits);
    }
    return CidrSet(range, share_bits);
}

IpPrefix CidrSet::share_at(std::size_t index) const {
    IpPrefix out{range_.address, static_cast<std::uint8_t>(share_bits_)};
    const int offset = offset_of(range_);
    const int bits = share_bits_ - range_.bits;
    for (int i = 0; i < bits; ++i) {
        if (((index >> static_cast<unsigned>(bits - 1 - i)) & 1U) == 0) continue;
        const int n = offset + range_.bits + i;
        auto& byte = out.address.bytes[static_cast<std::size_t>(n / 8)];
        byte = static_cast<std::uint8_t>(byte | (1U << static_cast<unsigned>(7 - n % 8)));
    }
    return out;
}

std::pair<std::size_t, std::size_t> CidrSet::overlap(const IpPrefix& prefix) const {
    if (prefix.family() != range_.family()) return {0, 0};
    if (prefix.bits <= range_.bits) {
        return prefix.contains(range_.address) ? std::pair<std::size_t, std::size_t>{0, shares_.size()}
                                               : std::pair<std::size_t, std::size_t>{0, 0};
    }
    if (!range_.contains(prefix.address)) return {0, 0};
    const int offset = offset_of(range_);
    const int bits = std::min<int>(prefix.bits, share_bits_) - range_.bits;
    std::size_t index = 0;
    for (int i = 0; i < bits; ++i) {
        index = index * 2 + (bit_at(prefix.address, offset + range_.bits + i) ? 1 : 0);
    }
    const auto rest = static_cast<unsigned>(share_bits_ - range_.bits - bits);
    return {index << rest, (index + 1) << rest};
}

std::optional<IpPrefix> CidrSet::take() {
    for (std::size_t i = 0; i < shares_.size(); ++i) {
        const std::size_t index = (next_ + i) % shares_.size();
        if (shares_[index] != Share::kFree) continue;
        shares_[index] = Share::kUsed;
        next_ = (index + 1) % shares_.size();
        return share_at(index);
    }
    return std::nullopt;
}

bool CidrSet::occupy(const IpPrefix& prefix) {
    const auto [first, end] = overlap(prefix);
    for (std::size_t i = first; i < end; ++i) {
        if (shares_[i] == Share::kFree) shares_[i] = Share::kUsed;
    }
    return first != end;
}

void CidrSet::release(const IpPrefix& prefix) {
    const auto [first, end] = overlap(prefix);
    for (std::size_t i = first; i < end; ++i) {
        if (shares_[i] == Share::kUsed) shares_[i] = Share::kFree;
    }
}

void CidrSet::reserve(const IpPrefix& prefix) {
    const auto [first, end] = overlap(prefix);
    for (std::size_t i = first; i < end; ++i) shares_[i] = Share::kReserved;
}

std::uint32_t CidrSet::used() const {
    return static_cast<std::uint32_t>(std::count(shares_.begin(), shares_.end(), Share::kUsed));
}

}  // namespace sluice::controllers::nodes
