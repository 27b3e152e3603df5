// The eBPF engine: loads, pins and attaches the programs of bpf/progs and keeps the table image in
// memory-mapped BPF arrays. libbpf stays behind the .cc files.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "api/base/result.h"
#include "dataplane/engine.h"

namespace sluice::dataplane {

// Where the XDP program runs (dataplane/ebpf/xdp.h); what it does not take, tc does.
enum class XdpMode : std::uint8_t { kAuto, kNative, kGeneric, kOff };

// What flow_entries and flow_entries_max may be.
inline constexpr std::uint32_t kLeastFlowEntries = 1U << 10U;
inline constexpr std::uint32_t kMostFlowEntries = 1U << 26U;
// Likewise affinity_entries and affinity_entries_max.
inline constexpr std::uint32_t kLeastAffinityEntries = 1U << 10U;
inline constexpr std::uint32_t kMostAffinityEntries = 1U << 24U;

struct EbpfOptions {
    std::string object_dir;                      // where the .o files are: build/lib/bpf
    std::string bpffs = "/sys/fs/bpf";           // pins go to <bpffs>/sluice
    std::string cgroup_root = "/sys/fs/cgroup";  // socket hooks attach here (a cgroup2 directory)
    // Names or shell patterns of the devices for tc; empty: chosen by role (dataplane/netlink).
    std::vector<std::string> devices;
    bool socket_hooks = true;
    bool tc = true;
    XdpMode xdp = XdpMode::kAuto;  // on node devices; needs tc
    // Services that the first image has room for, whoever comes: programs are loaded for an image of that size before
    // the services are known, and again if more come. 10,000 take some 10 MiB.
    std::uint32_t expected_services = 10000;
    // Live flows to have room for, per family; rounded up to a power of two. The tables double by themselves, without
    // losing a flow, up to the larger number. Tables that an earlier agent left keep their size.
    std::uint32_t flow_entries = 1U << 19U;
    std::uint32_t flow_entries_max = 1U << 22U;
    // Clients with ClientIP affinity to have room for, both families together; likewise.
    std::uint32_t affinity_entries = 1U << 16U;
    std::uint32_t affinity_entries_max = 1U << 22U;
    std::uint16_t snat_port_min =
        1024;  // source ports for NAT, both ends included; keep them out of the
    std::uint16_t snat_port_max = 29999;  // node's ephemeral and NodePort ranges
};

// Probes the kernel and says what is missing and what to do (root or CAP_BPF and CAP_NET_ADMIN,
// bpffs mounted, cgroup2, kernel 5.15). Adopts pins of an earlier agent with the same layout
// version. Nothing is attached yet when there are none: that is replace_all's work, so that no
// packet sees an empty table.
Result<std::unique_ptr<Engine>> open_ebpf_engine(const EbpfOptions& options);

// Detaches and unpins everything under <bpffs>/sluice, and the tc programs on all links of this
// network namespace. Harmless when nothing is there. Returns what was removed, for people.
Result<std::vector<std::string>> cleanup_ebpf(const EbpfOptions& options);

}  // namespace sluice::dataplane
