// A range of addresses, cut into equal shares that are handed out and taken back.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "api/base/ip_address.h"
#include "api/base/result.h"

namespace sluice::controllers::nodes {

// Shares of one range; a range with more is refused.
inline constexpr int kMaxShareBits = 16;

// One thread.
class CidrSet {
public:
    // kInvalidArgument when a share is larger than the range, or the range has more than
    // 2^kMaxShareBits of them.
    static Result<CidrSet> make(const IpPrefix& range, int share_bits);

    [[nodiscard]] const IpPrefix& range() const { return range_; }
    // The free share after the one handed out last, so that addresses are not used again at once;
    // nullopt: none is free.
    std::optional<IpPrefix> take();
    // Marks all shares that overlap; false if none does.
    bool occupy(const IpPrefix& prefix);
    // Frees what occupy() or take() marked. Shares under a reserve() stay taken.
    void release(const IpPrefix& prefix);
    // Never handed out.
    void reserve(const IpPrefix& prefix);
    [[nodiscard]] std::uint32_t used() const;

private:
    enum class Share : std::uint8_t { kFree, kUsed, kReserved };
    CidrSet(const IpPrefix& range, int share_bits)
        : range_(range),
          share_bits_(share_bits),
          shares_(std::size_t{1} << static_cast<unsigned>(share_bits - range.bits)) {}
    // The shares that the prefix overlaps: first and one past the last.
    [[nodiscard]] std::pair<std::size_t, std::size_t> overlap(const IpPrefix& prefix) const;
    [[nodiscard]] IpPrefix share_at(std::size_t index) const;

    IpPrefix range_;
    int share_bits_;
    std::vector<Share> shares_;
    std::size_t next_ = 0;
};

}  // namespace sluice::controllers::nodes
