// What the agent asks of a dataplane, whichever it is: the eBPF engine, or DPDK in its own process.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "api/base/result.h"
#include "dataplane/image/desired.h"

namespace sluice::dataplane {

// How full a table is that packets write.
struct TableStatus {
    std::string name;  // "flows4", "flows6", "affinity", "peers", ...
    std::uint64_t capacity = 0;
    std::uint64_t used = 0;
    std::uint64_t displaced = 0;  // in use, and given up or put elsewhere for want of room
    std::uint64_t refused = 0;    // not taken in for want of room
};

// Connected UDP sockets of backends that left (dataplane/ebpf/stale_peers.h).
struct StaleSockets {
    std::uint64_t destroyed = 0;
    std::uint64_t missing = 0;  // ended by themselves meanwhile
    std::uint64_t errors = 0;
    std::uint64_t missed = 0;   // backends not looked for: too many at once
    std::string last_error;
};

struct EngineStatus {
    std::string name;  // "ebpf"
    std::uint64_t generation = 0;
    std::size_t services = 0;   // service ports
    std::size_t frontends = 0;
    std::size_t backends = 0;
    std::vector<std::string> attached;  // "cgroup/connect4 /sys/fs/cgroup", "tc/ingress eth0 (tcx)"
    std::vector<std::string> missing;   // what this kernel lacks, and what follows
    std::vector<TableStatus> tables;
    StaleSockets stale_sockets;
};

// One thread calls it. Every call leaves the dataplane forwarding, whatever it returns.
class Engine {
public:
    virtual ~Engine() = default;

    // The whole state, as at start: whatever an earlier agent left is replaced by it without a gap; flows, counters
    // and affinity of services that stay are kept. kResourceExhausted names the limit reached.
    virtual Result<void> replace_all(const image::Node& node,
                                     std::span<const image::Service> services) = 0;
    // REQUIRES: replace_all has succeeded. When it returns, packets follow the change. Each service changes
    // atomically. On error nothing of the service named in it is changed, the others are in force.
    virtual Result<void> apply(const image::Change& change) = 0;
    // Node addresses, ranges or masquerading changed.
    virtual Result<void> set_node(const image::Node& node) = 0;
    // Links came or went; attaches to what `--devices` names. Cheap when nothing changed.
    virtual Result<void> sync_devices() = 0;
    // Frees what was retired, where its grace period is over. Call now and then.
    virtual void reclaim() = 0;

    [[nodiscard]] virtual EngineStatus status() const = 0;
};

}  // namespace sluice::dataplane
