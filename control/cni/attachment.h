// One attachment: what must lie on both ends of a pod's veth (a pure function of its addresses),
// and the operations that bring it about, take it away and look whether it is there. ADD applies
// the layout, CHECK compares with the same one.
#pragma once

#include "control/cni/allocator.h"
#include "control/cni/network.h"
#include "control/cni/types.h"

namespace sluice::cni {

// The pod's gateways: the host's end answers for them on every pod's link, so that no address of
// podCIDR is spent.
inline constexpr std::string_view kGatewayV4 = "169.254.1.1";
inline constexpr std::string_view kGatewayV6 = "fe80::1";

// "slc" and 48 bits of a hash of the identity: 15 characters. Two that collide are told apart by
// the link's alias, and the second ADD is refused.
[[nodiscard]] std::string host_link_name(const AttachmentId& id);
// "sluice-cni NETWORK/CONTAINERID/IFNAME": who owns the host's link, as `ip link` shows it.
[[nodiscard]] std::string host_link_alias(const std::string& network, const AttachmentId& id);
// Locally administered, unicast, from the same hash: known before the link is, so that each end can
// name the other.
[[nodiscard]] Mac mac_of(const AttachmentId& id, Side side);

// In the order in which they are applied.
struct EndLayout {
    std::vector<LinkAddress> addresses;
    std::vector<Neighbour> neighbours;
    std::vector<Route> routes;
};
struct Layout {
    EndLayout host;
    EndLayout pod;
};
// Pure. addresses: at most one of a family.
[[nodiscard]] Layout layout_of(const AttachmentId& id, const std::vector<IpAddress>& addresses);

struct Attached {
    std::string host_name;
    Mac host_mac;
    Mac pod_mac;
    std::uint32_t mtu = 0;
    std::vector<IpAddress> addresses;  // in the order of podCIDRs
};

// All or nothing: on an error all that this call made is gone. kAlreadyExists: the attachment is
// there; kResourceExhausted: no free address.
Result<Attached> attach(Network& network, Allocator& allocator, const Config& config,
                        const AttachmentId& id);

// Idempotent; needs the host's side only. Also releases the addresses of containers that vanished
// without a DEL. A link of the name that is not the attachment's is left alone.
Result<void> detach(Network& network, Allocator& allocator, const Config& config,
                    const AttachmentId& id);

// kFailedPrecondition names the first thing that is not as attach() left it.
Result<void> check(Network& network, Allocator& allocator, const Config& config,
                   const AttachmentId& id);

// Type loopback: the pod's lo set up, and what the kernel put on it. There is nothing to detach: lo
// goes with the pod.
Result<std::vector<LinkAddress>> attach_loopback(Network& network);
Result<void> check_loopback(Network& network);

// Detaches everything of the network but config.valid_attachments.
Result<void> collect(Network& network, Allocator& allocator, const Config& config);

}  // namespace sluice::cni
