// ARP (RFC 826, RFC 5227) and neighbour discovery (RFC 4861) frames: read with every check that the
// RFCs demand, and written. Values only; who may say what is for responder.h and resolver.h to
// judge.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "dataplane/dpdk/pipeline/frame.h"
#include "dataplane/dpdk/routing/interfaces.h"
#include "dataplane/dpdk/routing/out_frame.h"

namespace sluice::dpdk {

struct Discovery {
    enum class Kind : std::uint8_t { kArpRequest, kArpReply, kSolicitation, kAdvertisement };
    Kind kind = Kind::kArpRequest;
    std::size_t l2_length = 0;  // Ethernet header and tags
    Mac source{};               // of the Ethernet header
    Mac destination{};
    IpAddress sender;  // unspecified: it is only asking whether somebody has the target (RFC 5227,
                       // RFC 4862)
    IpAddress target;
    IpAddress to;  // IPv6: the packet's destination
    std::optional<Mac>
        mac;  // ARP: the sender's; ND: of the link-layer option, the target's in an advertisement
    bool solicited = false;  // advertisements: their flags
    bool overrides = false;
    [[nodiscard]] bool is_arp() const {
        return kind == Kind::kArpRequest || kind == Kind::kArpReply;
    }
};

enum class Read : std::uint8_t {
    kDiscovery,
    kOther,      // something else, for the kernel: router advertisements, RARP, ND behind extension
                 // headers
    kMalformed,  // breaks its RFC
};

// Reads frame.data[0, frame.length); never beyond.
Read read_discovery(const Frame& frame, Discovery* out);

// Turns the request or solicitation into its answer: the target is at the interface's MAC address.
// False if the answer does not fit into the frame and its tailroom; the frame is then as it was.
// REQUIRES: `asked` was read from the frame, and is a request or solicitation.
bool write_answer(Frame& frame, const Discovery& asked, const Interface& interface);

// Who has `target`? From `source`, an address of the interface (IPv4: or unspecified, as a probe).
// With `unicast` to that station only, which is how a known neighbour is asked whether it is still
// there.
OutFrame make_question(std::uint16_t index, const Interface& interface, const IpAddress& source,
                       const IpAddress& target, const std::optional<Mac>& unicast);

// The address is here: an ARP announcement (RFC 5227, section 2.3), or an unsolicited advertisement
// to all nodes (RFC 4861, section 7.2.6). The caller limits how often.
OutFrame make_announcement(std::uint16_t index, const Interface& interface,
                           const IpAddress& address);

// Whether the address lies in a prefix of one of the interface's addresses; IPv6 link-local ones
// always.
[[nodiscard]] bool on_link(const Interface& interface, const IpAddress& address);
[[nodiscard]] bool has_address(const Interface& interface, const IpAddress& address);

}  // namespace sluice::dpdk
