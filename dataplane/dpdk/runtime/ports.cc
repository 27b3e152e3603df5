#include "dataplane/dpdk/runtime/ports.h"

#include <net/if.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "api/base/fd.h"
#include "dataplane/dpdk/runtime/worker_internal.h"

namespace sluice::dpdk {
namespace {

// Ethernet, two tags and the checksum at the end, which some ports leave in the buffer.
constexpr std::uint32_t kFrameOverhead = 14 + 8 + 4;
constexpr std::uint16_t kDefaultMtu = 1500;
constexpr std::uint64_t kRssFields = RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP | RTE_ETH_RSS_SCTP;

// A port over a device of the kernel has that device's MTU, which not every driver asks for.
std::uint16_t kernel_mtu(unsigned if_index) {
    ifreq request{};
    if (if_index == 0 || if_indextoname(if_index, request.ifr_name) == nullptr) return 0;
    const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!socket || ioctl(socket.get(), SIOCGIFMTU, &request) != 0 || request.ifr_mtu < kMinMtu) return 0;
    return static_cast<std::uint16_t>(std::min<int>(request.ifr_mtu, kMaxMtu));
}

std::uint16_t within(const rte_eth_desc_lim& limit, std::uint16_t wanted) {
    std::uint32_t out = wanted;
    if (limit.nb_max != 0) out = std::min<std::uint32_t>(out, limit.nb_max);
    if (limit.nb_min != 0) out = std::max<std::uint32_t>(out, limit.nb_min);
    if (limit.nb_align > 1) out -= out % limit.nb_align;
    return static_cast<std::uint16_t>(out);
}

std::string device_of(std::uint16_t id) {
    char name[RTE_ETH_NAME_MAX_LEN] = {};
    return rte_eth_dev_get_name_by_port(id, name) == 0 ? name : fmt::format("port {}", id);
}

Error driver_error(const Port& port, int answer, const char* what) {
    return errno_error(-answer, "port {} ({}): {}", port.device, port.driver, what);
}

void name_offloads(const rte_eth_dev_info& info, Port* port) {
    const auto note = [&](bool has, const char* name) { (has ? port->offloads : port->lacking).emplace_back(name); };
    note(port->rx_checksum, "IPv4 checksum of received frames");
    if (port->rx_queues > 1) note(port->rss, "receive-side scaling");
    note((info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE) != 0, "bulk free of sent frames");
}

// For rings and the like, which have no address of their own: a locally administered one, the same after a restart.
Mac made_mac(const std::string& device) {
    std::uint32_t hash = 2166136261U;  // FNV-1a
    for (const char c : device) hash = (hash ^ static_cast<std::uint8_t>(c)) * 16777619U;
    return {0x02,
            0x5c,
            static_cast<std::uint8_t>(hash >> 24U),
            static_cast<std::uint8_t>(hash >> 16U),
            static_cast<std::uint8_t>(hash >> 8U),
            static_cast<std::uint8_t>(hash)};
}

Result<void> set_mtu(Port* port, std::uint16_t mtu) {
    std::uint16_t now = 0;
    rte_eth_dev_get_mtu(port->id, &now);
    if (now != mtu) {
        const int answer = rte_eth_dev_set_mtu(port->id, mtu);
        // A port that has no say in it (rings, pcap) takes what fits its buffers, and those are made for this MTU.
        if (answer != 0 && answer != -ENOTSUP) return driver_error(*port, answer, "setting its MTU");
    }
    port->mtu = mtu;
    return {};
}

}  // namespace

PoolPlan plan_pool(const std::vector<Port>& ports, std::size_t lcores, std::uint32_t frames_in_rings) {
    PoolPlan out;
    std::uint32_t largest = 0;
    for (const auto& port : ports) {
        out.buffers += std::uint32_t{port.rx_queues} * port.rx_descriptors;
        out.buffers += std::uint32_t{port.tx_queues} * port.tx_descriptors;
        out.buffers += static_cast<std::uint32_t>(lcores * kMaxBurst);  // what a lcore gathers before it sends
        largest = std::max<std::uint32_t>(largest, port.mtu);
    }
    // A lcore's burst, and its cache of free buffers, which may hold half as much again.
    out.buffers += static_cast<std::uint32_t>(lcores * (kMaxBurst + kBufferCache + kBufferCache / 2));
    out.buffers += frames_in_rings;
    const std::uint32_t room = std::max<std::uint32_t>(largest + kFrameOverhead, 2048) + kHeadroom;
    out.data_room = static_cast<std::uint16_t>((room + 63U) / 64U * 64U);
    return out;
}

Result<std::uint16_t> find_port(const std::string& device) {
    std::uint16_t id = 0;
    if (rte_eth_dev_get_port_by_name(device.c_str(), &id) == 0) return id;
    const auto [end, error] = std::from_chars(device.data(), device.data() + device.size(), id);
    if (error == std::errc{} && end == device.data() + device.size() && rte_eth_dev_is_valid_port(id) != 0) return id;
    std::string known;
    for (id = 0; id < RTE_MAX_ETHPORTS; ++id) {
        if (rte_eth_dev_is_valid_port(id) == 0) continue;
        known += fmt::format("{}{} {}", known.empty() ? "" : ", ", id, device_of(id));
    }
    return make_error(Code::kNotFound, "--port {}: EAL has no such port; it has {}", device,
                      known.empty() ? "none: give it devices after `--`, by --vdev or -a" : known);
}

Result<Port> inspect_port(std::uint16_t id, std::uint16_t mtu, std::size_t lcores) {
    Port port;
    port.id = id;
    port.device = device_of(id);
    if (id >= kMaxPorts) {
        return make_error(Code::kResourceExhausted, "port {}: more than {} ports", port.device, kMaxPorts);
    }
    rte_eth_dev_info info{};
    if (const int answer = rte_eth_dev_info_get(id, &info); answer != 0) {
        return driver_error(port, answer, "what it can do");
    }
    port.driver = info.driver_name;
    const auto wanted = static_cast<std::uint16_t>(std::min<std::size_t>(lcores, kMaxLcores));
    port.rx_queues = std::min(info.max_rx_queues, wanted);
    port.tx_queues = std::min(info.max_tx_queues, wanted);
    if (port.rx_queues == 0 || port.tx_queues == 0) {
        return make_error(Code::kFailedPrecondition, "port {} ({}): needs a receive and a send queue, has {} and {}",
                          port.device, port.driver, info.max_rx_queues, info.max_tx_queues);
    }
    // Some drivers have queues in pairs only; a queue more or less of one direction is no use.
    port.rx_queues = port.tx_queues = std::min(port.rx_queues, port.tx_queues);
    const auto descriptors = [](std::uint16_t own, const rte_eth_desc_lim& limit) {
        return within(limit, std::max(own, kDescriptors));
    };
    port.rx_descriptors = descriptors(info.default_rxportconf.ring_size, info.rx_desc_lim);
    port.tx_descriptors = descriptors(info.default_txportconf.ring_size, info.tx_desc_lim);
    const std::uint16_t own = kernel_mtu(info.if_index);
    port.mtu = mtu != 0 ? mtu : own != 0 ? own : kDefaultMtu;
    if (info.max_mtu != 0 && port.mtu > info.max_mtu) {
        return make_error(Code::kInvalidArgument, "--port {}: mtu: {} is more than the {} that it can have",
                          port.device, port.mtu, info.max_mtu);
    }
    port.rx_checksum = (info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_IPV4_CKSUM) != 0;
    port.rss = port.rx_queues > 1 && (info.flow_type_rss_offloads & kRssFields) != 0;
    rte_ether_addr mac{};
    if (const int answer = rte_eth_macaddr_get(id, &mac); answer != 0) return driver_error(port, answer, "its MAC");
    std::copy(std::begin(mac.addr_bytes), std::end(mac.addr_bytes), port.mac.begin());
    if (port.mac == Mac{}) port.mac = made_mac(port.device);
    name_offloads(info, &port);
    return port;
}

Result<rte_mempool*> make_pool(const PoolPlan& plan) {
    // One less than a power of two uses a pool's ring best.
    std::uint32_t buffers = 1;
    while (buffers < plan.buffers + 1) buffers *= 2;
    rte_mempool* pool = rte_pktmbuf_pool_create("sluice_frames", buffers - 1, kBufferCache, sizeof(FrameNote),
                                                plan.data_room, SOCKET_ID_ANY);
    if (pool == nullptr) {
        return make_error(Code::kResourceExhausted,
                          "no memory for {} frames of {} bytes: EAL needs {} MiB more (-m MEGABYTES after `--`, or "
                          "more hugepages): {}",
                          buffers - 1, plan.data_room, (std::uint64_t{buffers} * (plan.data_room + 256U)) >> 20U,
                          rte_strerror(rte_errno));
    }
    return pool;
}

Result<void> open_port(Port* port, rte_mempool* pool) {
    rte_eth_dev_info info{};
    if (const int answer = rte_eth_dev_info_get(port->id, &info); answer != 0) {
        return driver_error(*port, answer, "what it can do");
    }
    rte_eth_conf conf{};
    if (port->rx_checksum) conf.rxmode.offloads |= RTE_ETH_RX_OFFLOAD_IPV4_CKSUM;
    conf.rxmode.offloads &= info.rx_offload_capa;
    if (port->rss) {
        conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
        conf.rx_adv_conf.rss_conf.rss_hf = kRssFields & info.flow_type_rss_offloads;
    }
    conf.txmode.offloads = info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
    if (const int answer = rte_eth_dev_configure(port->id, port->rx_queues, port->tx_queues, &conf); answer != 0) {
        return driver_error(*port, answer, "configuring it");
    }
    SLUICE_TRY(set_mtu(port, port->mtu));
    const int socket = rte_eth_dev_socket_id(port->id);
    const unsigned node = socket < 0 ? static_cast<unsigned>(SOCKET_ID_ANY) : static_cast<unsigned>(socket);
    for (std::uint16_t queue = 0; queue < port->rx_queues; ++queue) {
        const int answer = rte_eth_rx_queue_setup(port->id, queue, port->rx_descriptors, node, nullptr, pool);
        if (answer != 0) return driver_error(*port, answer, "setting up a receive queue");
    }
    for (std::uint16_t queue = 0; queue < port->tx_queues; ++queue) {
        const int answer = rte_eth_tx_queue_setup(port->id, queue, port->tx_descriptors, node, nullptr);
        if (answer != 0) return driver_error(*port, answer, "setting up a send queue");
    }
    if (const int answer = rte_eth_dev_start(port->id); answer != 0) return driver_error(*port, answer, "starting it");
    // For neighbour discovery; a port that cannot choose receives them anyway.
    static_cast<void>(rte_eth_allmulticast_enable(port->id));
    return {};
}

void close_port(const Port& port) {
    // What fails here is the driver's loss: the process is about to end, or the port to be made anew.
    static_cast<void>(rte_eth_dev_stop(port.id));
    static_cast<void>(rte_eth_dev_close(port.id));
}

PortFigures figures_of(const Port& port) {
    PortFigures out;
    rte_eth_stats stats{};
    if (rte_eth_stats_get(port.id, &stats) == 0) {
        out.received = stats.ipackets;
        out.received_bytes = stats.ibytes;
        out.sent = stats.opackets;
        out.sent_bytes = stats.obytes;
        out.missed = stats.imissed;
        out.no_buffer = stats.rx_nombuf;
    }
    rte_eth_link link{};
    out.link_up = rte_eth_link_get_nowait(port.id, &link) == 0 && link.link_status != 0;
    return out;
}

}  // namespace sluice::dpdk
