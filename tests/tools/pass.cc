// An XDP program that passes everything. The far end of a veth takes the frames that its peer sends back by XDP only
// while it runs a program itself.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>

#include <array>

#include "tests/tools/modes.h"
#include "tests/tools/sockets.h"

namespace sluice::testpeer {

Result<void> pass(const std::string& device) {
    const unsigned ifindex = if_nametoindex(device.c_str());
    if (ifindex == 0) return errno_error(errno, "device {}", device);
    const std::array<bpf_insn, 2> code{{
        {BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, XDP_PASS},
        {BPF_JMP | BPF_EXIT, 0, 0, 0, 0},
    }};
    const Fd program(bpf_prog_load(BPF_PROG_TYPE_XDP, "pass", "GPL", code.data(), code.size(), nullptr));
    if (!program) return errno_error(errno, "loading the program");
    const int error = bpf_xdp_attach(static_cast<int>(ifindex), program.get(), XDP_FLAGS_DRV_MODE, nullptr);
    if (error != 0) return errno_error(-error, "attaching to {}", device);
    return {};
}

}  // namespace sluice::testpeer
