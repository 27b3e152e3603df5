// DPDK ports as the engine uses them: opened with a queue a lcore as far as they have them, with what they lack made
// up for in software.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/base/result.h"
#include "dataplane/dpdk/routing/interfaces.h"
#include "dataplane/dpdk/runtime/options.h"

struct rte_mempool;

namespace sluice::dpdk {

inline constexpr std::uint16_t kDescriptors = 1024;  // of each queue, where the port has no wish of its own
inline constexpr std::uint16_t kMaxPorts = 64;
inline constexpr std::uint16_t kMaxLcores = 64;
// Room before a frame: a tunnel's IPv6 header with a destination option and a tag is 68 bytes.
inline constexpr std::uint16_t kHeadroom = 128;

struct Port {
    std::uint16_t id = 0;
    std::string device;  // EAL's name
    std::string driver;
    Mac mac{};
    std::uint16_t mtu = 0;
    std::uint16_t rx_queues = 0;
    std::uint16_t tx_queues = 0;
    std::uint16_t rx_descriptors = 0;
    std::uint16_t tx_descriptors = 0;
    bool rx_checksum = false;            // says which IPv4 headers are good
    bool rss = false;
    std::vector<std::string> offloads;   // in use
    std::vector<std::string> lacking;    // done in software
    std::optional<std::uint16_t> twin;   // exception port of an uplink, and the other way round
    bool exception = false;
    std::string kernel_device;           // of an exception port
};

// A port's figures, as the driver and the engine count them.
struct PortFigures {
    bool link_up = false;
    std::uint64_t received = 0, received_bytes = 0, sent = 0, sent_bytes = 0;
    std::uint64_t missed = 0, no_buffer = 0;
};

// Frames' memory for all ports, one pool a NUMA node would need NICs to show for; the ports here share one.
struct PoolPlan {
    std::uint32_t buffers = 0;
    std::uint16_t data_room = 0;
    [[nodiscard]] std::uint64_t bytes() const { return std::uint64_t{buffers} * (data_room + 256U); }
};
// What ports and lcores can hold at once: descriptors, bursts, rings between lcores, caches. Pure.
PoolPlan plan_pool(const std::vector<Port>& ports, std::size_t lcores, std::uint32_t frames_in_rings);

// The port that a --port names: EAL's name or number. kNotFound lists what there is.
Result<std::uint16_t> find_port(const std::string& device);

// What a port is and can do, before it is opened: MAC, queues, descriptors, offloads, MTU (0: its own).
Result<Port> inspect_port(std::uint16_t id, std::uint16_t mtu, std::size_t lcores);

// kResourceExhausted says how much memory there would have to be.
Result<rte_mempool*> make_pool(const PoolPlan& plan);

// Configures and starts it. The port is stopped again by close_port().
Result<void> open_port(Port* port, rte_mempool* pool);
void close_port(const Port& port);

PortFigures figures_of(const Port& port);

// Makes the device by which an uplink's frames reach the kernel, with its MAC and MTU. Not yet opened.
Result<Port> make_exception_port(const Port& uplink, const ExceptionPath& path);

// Which lcore looks after a port's queue, and which queue a lcore sends by: queues are dealt out in turn, the ports
// with few of them from another lcore each.
inline std::size_t lcore_of_queue(std::uint16_t port, std::uint16_t queue, std::size_t lcores) {
    return (std::size_t{port} + queue) % lcores;
}

}  // namespace sluice::dpdk
