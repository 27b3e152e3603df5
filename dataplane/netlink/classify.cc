// The rule that gives a link its role, apart from libnl so that it can be tested as a table.
#include "dataplane/netlink/links.h"

namespace sluice::netlink {

std::string_view role_name(Role role) {
    switch (role) {
        case Role::kPod: return "pod";
        case Role::kNode: return "node";
        case Role::kIgnore: break;
    }
    return "ignore";
}

Role classify(const Link& link) {
    if (!link.up || link.loopback || !link.ethernet) {
        return Role::kIgnore;
    }
    const bool pair = link.kind == "veth" || link.kind == "netkit";
    if (link.master_ifindex != 0 && link.master_kind != "vrf") {
        const bool tap = link.kind == "tun";
        return link.master_kind == "bridge" && (pair || tap) ? Role::kPod : Role::kIgnore;
    }
    if (link.has_default_route) {
        return Role::kNode;
    }
    if (link.kind == "dummy" || link.kind == "ifb" || link.kind == "bridge") {
        return Role::kIgnore;
    }
    if (link.kind == "vxlan" || link.kind == "geneve") {
        return Role::kNode;
    }
    if (pair) {
        return link.has_subnet ? Role::kNode : Role::kPod;
    }
    return link.addresses.empty() ? Role::kIgnore : Role::kNode;
}

Role classify(const Link& link, const PodDevices& pods) {
    const Role role = classify(link);
    if ((pods.bridge.empty() && pods.prefix.empty()) || !link.up || link.loopback ||
        !link.ethernet) {
        return role;
    }
    if (!pods.bridge.empty()) {
        if (link.name == pods.bridge) {
            return Role::kPod;
        }
        if (link.master_name == pods.bridge) {
            return Role::kIgnore;
        }
    } else if (link.name.starts_with(pods.prefix)) {
        return Role::kPod;
    }
    return role == Role::kPod ? Role::kNode : role;
}

}  // namespace sluice::netlink
