// Which engine's tables are looked at: those pinned in a BPF file system, or those in a DPDK engine's shared memory.
#pragma once

#include <memory>
#include <string>

#include "api/base/result.h"
#include "dataplane/ebpf/inspect.h"

namespace sluice::cli {

struct TableSource {
    std::string engine = "auto";  // "ebpf", "dpdk"; "auto": whichever has tables, the eBPF engine's first
    std::string bpffs = "/sys/fs/bpf";
    std::string state_directory = "/dev/shm/sluice";
    std::string socket = "/run/sluice/dpdk.sock";

    // kNotFound says what to start.
    [[nodiscard]] Result<std::unique_ptr<dataplane::Inspector>> open() const;
    // Whether it is a DPDK engine's, "auto" decided.
    [[nodiscard]] bool is_dpdk() const;
};

}  // namespace sluice::cli
