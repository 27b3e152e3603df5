// ARP and neighbour discovery (RFC 826, RFC 4861): asking for a link address, answering for ours.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "api/base/ip_address.h"
#include "dataplane/pktgen/frame_view.h"
#include "dataplane/pktgen/profile.h"

namespace sluice::pktgen {

inline constexpr std::size_t kNeighbourRoom = 96;  // what a question or an answer needs at most

struct NeighbourMessage {
    bool question = false;
    IpAddress target;       // whose link address is asked for, or told
    IpAddress sender;       // of a question; "::" when it looks for duplicates of its own address
    std::optional<Mac> mac; // the sender's of a question, the target's of an answer
};

// What a frame of kArp or kIcmpv6 says; nothing if it is neither question nor answer, or not valid.
std::optional<NeighbourMessage> read_neighbour(const FrameView& view);

// Writes a question and returns its length. REQUIRES: both addresses of one family; vlan 0 is none.
std::size_t write_question(const Mac& mac, const IpAddress& sender, const IpAddress& target,
                           std::uint16_t vlan, std::uint8_t* out);

// Writes the answer to `message`, a question that `view` holds, with the VLAN tags that it came with.
std::size_t write_answer(const FrameView& view, const NeighbourMessage& message, const Mac& mac,
                         std::uint8_t* out);

// The addresses that a port answers for.
class OwnedAddresses {
public:
    void add(const AddressRange& range) { ranges_.push_back(range); }
    [[nodiscard]] bool contains(const IpAddress& address) const;

private:
    std::vector<AddressRange> ranges_;
};

}  // namespace sluice::pktgen
