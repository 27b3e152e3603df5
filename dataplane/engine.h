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

// A port of a userspace engine, counted since it was opened.
struct PortStatus {
    std::string name;       // the device's
    std::string interface;  // as people call it
    std::string driver;
    std::string mac;
    std::uint32_t mtu = 0;
    bool link_up = false;
    std::uint64_t received = 0;
    std::uint64_t received_bytes = 0;
    std::uint64_t sent = 0;
    std::uint64_t sent_bytes = 0;
    std::uint64_t missed = 0;       // the port had no descriptor free
    std::uint64_t send_failed = 0;  // the port took no more
    std::uint64_t no_buffer = 0;
    std::vector<std::string> offloads;
    std::uint32_t queues = 0;
};

// A thread of it that polls.
struct LcoreStatus {
    std::uint32_t index = 0;  // among those that forward
    std::uint32_t lcore = 0;  // the engine's number
    std::uint64_t busy_cycles = 0;
    std::uint64_t idle_cycles = 0;
    std::uint64_t packets = 0;
    std::uint64_t bursts = 0;
    std::uint64_t dispatched = 0;       // handed to another lcore
    std::uint64_t dispatch_failed = 0;  // its ring was full
};

struct EngineStatus {
    std::string name;  // "ebpf", "dpdk"
    std::uint64_t generation = 0;
    std::size_t services = 0;   // service ports
    std::size_t frontends = 0;
    std::size_t backends = 0;
    std::vector<std::string> attached;  // "cgroup/connect4 /sys/fs/cgroup", "tc/ingress eth0 (tcx)"
    std::vector<std::string> missing;   // what this kernel lacks, and what follows
    std::vector<TableStatus> tables;
    StaleSockets stale_sockets;
    // Of an engine in a process of its own.
    std::vector<PortStatus> ports;
    std::vector<LcoreStatus> lcores;
    std::uint64_t cycles_per_second = 0;
    std::uint64_t engine_losses = 0;  // how often it went
    bool draining = false;
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
