// Frames through the programs that hang on a device at this moment, as its traffic goes: which one it is, is asked for
// each frame. For tests in which programs are exchanged under traffic.
#pragma once

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <net/if.h>

#include <cstdlib>
#include <string>

#include "bpf/lib/packet_builder.h"
#include "dataplane/ebpf/test_engine.h"

namespace sluice::dataplane {

// Uplink up0 (192.0.2.1/24, default route), a pod's link pod0 (10.244.1.0/24); other pods 10.244.2.0/24 by the uplink.
inline bool make_node_links() {
    return std::system("ip link add up0 type veth peer name up1 && "
                       "ip link add pod0 type veth peer name pod1 && ip link set up1 up && "
                       "ip link set pod1 up && ip link set up0 up && ip link set pod0 up && "
                       "ip addr add 192.0.2.1/24 dev up0 && ip addr add 10.244.1.1/32 dev pod0 && "
                       "ip route add 10.244.1.0/24 dev pod0 && "
                       "ip route add default via 192.0.2.254 && "
                       "ip route add 10.244.2.0/24 via 192.0.2.2 && "
                       "echo 1 > /proc/sys/net/ipv4/ip_forward") == 0;
}
inline void remove_node_links() {
    if (std::system("ip link del up0; ip link del pod0") != 0) {
        return;
    }
}

class Ingress {
public:
    Ingress(const PinPaths& paths, const std::string& device)
        : ifindex_(if_nametoindex(device.c_str())),
          link_(bpf_obj_get(fmt::format("{}/tcx_ingress_{}", paths.links, ifindex_).c_str())) {}

    // What came out; an empty view if it was dropped. A program that was exchanged between the question which one it is
    // and its run may be gone by then, as none can be that a packet has reached: then the next one is asked.
    [[nodiscard]] packets::View run(const packets::Spec& spec) const {
        return run(packets::build(spec));
    }
    [[nodiscard]] packets::View run(const packets::Bytes& frame) const {
        for (;;) {
            const std::uint32_t program = attached();
            packets::View out = run(program, frame);
            if (!out.dst.empty() || attached() == program) {
                return out;
            }
        }
    }

private:
    [[nodiscard]] std::uint32_t attached() const {
        bpf_link_info info{};
        std::uint32_t length = sizeof(info);
        return link_ && bpf_obj_get_info_by_fd(link_.get(), &info, &length) == 0 ? info.prog_id : 0;
    }
    [[nodiscard]] packets::View run(std::uint32_t id, const packets::Bytes& frame) const {
        const Fd program(bpf_prog_get_fd_by_id(id));
        packets::Bytes out(frame.size() + 256);
        __sk_buff context{};
        context.ifindex = ifindex_;
        LIBBPF_OPTS(bpf_test_run_opts, options);
        options.data_in = frame.data();
        options.data_size_in = static_cast<std::uint32_t>(frame.size());
        options.data_out = out.data();
        options.data_size_out = static_cast<std::uint32_t>(out.size());
        options.ctx_in = &context;
        options.ctx_size_in = sizeof(context);
        options.repeat = 1;
        if (!program || bpf_prog_test_run_opts(program.get(), &options) != 0 ||
            options.retval == 2) {
            return {};
        }
        out.resize(options.data_size_out);
        return packets::read(out);
    }

    std::uint32_t ifindex_;
    Fd link_;
};

}  // namespace sluice::dataplane
