// The links of this network namespace as the dataplane sees them: which are there, what part each plays, and a
// file descriptor that says when to look again. libnl stays behind the .cc file.
//
// Which role a link has decides the tc programs it gets: kPod gets tc/pod_ingress and tc/pod_egress, kNode gets
// tc/node_ingress and tc/node_egress. The rule is classify(); `--devices` overrides it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "api/base/ip_address.h"
#include "api/base/result.h"

namespace sluice::netlink {

// More links than this in one namespace are refused rather than half listed.
inline constexpr std::size_t kMaxLinks = 65536;

struct Link {
    int ifindex = 0;
    std::string name;
    std::string kind;  // "veth", "bridge", "vxlan", ...; empty for a physical (or virtio) device
    bool up = false;   // administratively up
    std::vector<IpAddress> addresses;  // global scope only, sorted
    bool has_default_route = false;    // in the main table, either family, any next hop
    int master_ifindex = 0;            // 0: none
    bool loopback = false;
    bool ethernet = true;  // frames start with an Ethernet header
    // Some global address has neighbours on the link: its prefix is shorter than the address (/32, /128).
    bool has_subnet = false;
    std::string master_kind;  // "bridge", "bond", "vrf", ...; empty without a master
    std::string master_name;
    std::uint32_t mtu = 0;    // bytes
};

// All links, by ifindex. Costs one dump of links, of addresses and of routes; not for a hot path.
Result<std::vector<Link>> list_links();

enum class Role : std::uint8_t {
    kIgnore,
    kPod,   // the host's end of a pod's link: what comes in was sent by a pod
    kNode,  // an uplink: other nodes, outside clients and the overlay are behind it
};

[[nodiscard]] std::string_view role_name(Role role);

// The rule, first match wins:
//   1. down, loopback, or without Ethernet header (wireguard, ipip, tun): ignored.
//   2. a port of a bridge: pod if it is a veth, netkit or tap, else ignored (the bridge sees its traffic).
//      A port of a bond or team: ignored (the bond sees it). A member of a VRF: as if it had no master.
//   3. carries a default route: node, whatever its kind.
//   4. dummy, ifb, and bridges (which then hold at most the pods' gateway address): ignored.
//   5. vxlan, geneve: node, for replies from other nodes' pods come in there.
//   6. veth, netkit: node if it has an address with neighbours (has_subnet), else pod. The address that some
//      network plugins put on the pod's link is a host address (/32, /128) and does not count.
//   7. anything else (physical, vlan, bond, macvlan): node with a global address, else ignored.
[[nodiscard]] Role classify(const Link& link);

// What the user says about pods' devices (detectLocal BridgeInterface, InterfaceNamePrefix); at most one is set.
struct PodDevices {
    std::string bridge;
    std::string prefix;
    bool operator==(const PodDevices&) const = default;
};

// The rule above without PodDevices. With them they alone say what is a pod's: the bridge itself, whose ports are then
// ignored (it sees their traffic), or the links whose names begin so; what the rule takes for a pod's besides is a
// node's. Down, loopback and without Ethernet header stays ignored.
[[nodiscard]] Role classify(const Link& link, const PodDevices& pods);

// Says when links, addresses or routes may have changed.
class Monitor {
public:
    Monitor(const Monitor&) = delete;
    Monitor& operator=(const Monitor&) = delete;
    Monitor(Monitor&& other) noexcept;
    Monitor& operator=(Monitor&& other) noexcept;
    ~Monitor();

    // Watches the network namespace of the calling thread.
    static Result<Monitor> create();
    // Readable when drain() has something to say. Owned by the monitor.
    [[nodiscard]] int fd() const;
    // Reads all that is pending without blocking; true if anything may have changed. A lost message (the kernel's
    // buffer overflowed) counts as a change.
    Result<bool> drain();

private:
    struct Impl;
    explicit Monitor(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

// A setting under /proc/sys of the calling thread's namespaces; name as sysctl(8) writes it
// ("net.ipv4.ip_forward"). Values come back without the trailing newline.
Result<std::string> read_sysctl(std::string_view name);
Result<void> write_sysctl(std::string_view name, std::string_view value);

// Whether this namespace forwards packets of the family between its links.
Result<bool> forwarding(IpFamily family);
Result<void> set_forwarding(IpFamily family, bool enabled);

// net.ipv4.ip_local_port_range: the ports that sockets without a bind use, for both families, both ends included.
struct PortRange {
    std::uint16_t min = 0;
    std::uint16_t max = 0;
};
Result<PortRange> local_port_range();

}  // namespace sluice::netlink
