// Which programs are attached where.
#include <fnmatch.h>

#include <algorithm>

#include "dataplane/ebpf/engine_private.h"
#include "dataplane/netlink/links.h"

namespace sluice::dataplane {

Result<void> EbpfEngine::turn_to(const Images& images) {
    const Programs& programs = *images.programs;
    if (options_.tc) {
        SLUICE_TRY(attach_devices(images));
    } else {
        attachments_.retain_devices({});
        xdp_.turn_to({}, XdpMode::kOff, -1, -1);
    }
    // The hooks that follow translate alone: what they send to a backend is nothing that devices have to know.
    light(*images.tables);
    if (!options_.socket_hooks) {
        attachments_.drop_socket_hooks();
        return {};
    }
    for (const SocketHook& hook : socket_hooks()) {
        SLUICE_TRY(
            attachments_.socket_hook(hook, options_.cgroup_root, programs.socket_program(hook)));
    }
    return {};
}

Result<void> EbpfEngine::attach_devices(const Images& images) {
    const Programs& programs = *images.programs;
    SLUICE_TRY_ASSIGN(const std::vector<netlink::Link> links, netlink::list_links());
    std::vector<DeviceHook> keep;
    uplinks_.clear();
    Result<void> outcome;
    const auto attach = [&](const netlink::Link& link, bool egress, TcProgram program) {
        const DeviceHook hook{link.ifindex, egress};
        auto attached = attachments_.device(hook, link.name, programs.tc_program(program));
        if (attached) {
            keep.push_back(hook);
        } else if (attached.error().sys_errno != ENODEV) {
            // A device that went away meanwhile needs nothing; another must not keep the rest from
            // theirs.
            outcome = attached.error();
        }
    };
    const netlink::PodDevices pods{node_.pod_bridge, node_.pod_prefix};
    for (const netlink::Link& link : links) {
        netlink::Role role = netlink::classify(link, pods);
        if (!options_.devices.empty()) {
            const bool named = std::any_of(
                options_.devices.begin(), options_.devices.end(), [&](const std::string& pattern) {
                    return fnmatch(pattern.c_str(), link.name.c_str(), 0) == 0;
                });
            role = !named                        ? netlink::Role::kIgnore
                   : role == netlink::Role::kPod ? netlink::Role::kPod
                                                 : netlink::Role::kNode;
        }
        if (role == netlink::Role::kPod) {
            attach(link, false, TcProgram::kPodIngress);
            attach(link, true, TcProgram::kPodEgress);
        } else if (role == netlink::Role::kNode) {
            attach(link, false, TcProgram::kNodeIngress);
            attach(link, true, TcProgram::kNodeEgress);
            uplinks_.push_back({link.ifindex, link.name, link.kind});
        }
    }
    attachments_.retain_devices(keep);
    // After tc, which takes what XDP leaves.
    turn_xdp(images);
    return outcome;
}

void EbpfEngine::turn_xdp(const Images& images) {
    const Programs* programs = xdp_of(images);
    xdp_.turn_to(uplinks_, options_.xdp, programs == nullptr ? -1 : programs->xdp_program(),
                 programs == nullptr ? -1 : programs->map("sluice_xdp_out"));
}

}  // namespace sluice::dataplane
