#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>

#include <algorithm>
#include <array>
#include <bit>

#include "dataplane/pktgen/runner_ports_private.h"

namespace sluice::pktgen {
namespace {

constexpr unsigned kPoolCache = 256;
constexpr unsigned kMailSlots = 256;
// What devices may hold besides their queues: a device under test in the same memory, with a delay.
constexpr std::uint32_t kSpareBuffers = 16384;
// Of a receive queue: net_af_xdp gives the kernel 2,048 of them, whatever its descriptors are.
constexpr std::uint32_t kDriverBuffers = 4096;
constexpr std::uint16_t kMinDescriptors = 64;
constexpr std::uint16_t kMaxDescriptors = 16384;
constexpr std::uint32_t kPlainFrame = 1518;
constexpr unsigned kLinkPoll_us = 10'000;
constexpr std::uint64_t kSpread = RTE_ETH_RSS_IP | RTE_ETH_RSS_UDP | RTE_ETH_RSS_TCP;

std::string unique_name(const char* what) {
    static unsigned number = 0;
    return fmt::format("pktgen_{}_{}", what, number++);
}

Result<rte_eth_dev_info> info_of(const Port& port) {
    rte_eth_dev_info info{};
    if (const int error = rte_eth_dev_info_get(port.id, &info); error != 0) {
        return errno_error(-error, "port {}: it says nothing about itself", port.name);
    }
    return info;
}

// `wanted` buffers, and what lcores keep to themselves.
Result<std::unique_ptr<rte_mempool, PoolFree>> make_pool(const char* what, std::uint32_t wanted,
                                                         std::uint32_t room) {
    wanted += rte_lcore_count() * (kPoolCache + 4U * kBurst);
    const std::uint32_t buffers = std::bit_ceil(wanted) - 1;  // what rte_mempool stores best
    std::unique_ptr<rte_mempool, PoolFree> out(
        rte_pktmbuf_pool_create(unique_name(what).c_str(), buffers, kPoolCache, 0,
                                static_cast<std::uint16_t>(room), SOCKET_ID_ANY));
    if (out == nullptr) {
        return make_error(Code::kResourceExhausted,
                          "runner: no memory for {} buffers of {} bytes ({}); give the EAL more "
                          "(-m, hugepages)",
                          buffers, room, rte_strerror(rte_errno));
    }
    return out;
}

}  // namespace

Result<std::unique_ptr<Ports>> Ports::make(const RunnerOptions& options) {
    if (options.max_frame_bytes < kMinFrame || options.max_frame_bytes > kMaxFrameBytes) {
        return make_error(Code::kInvalidArgument, "runner: max_frame_bytes: {} is not {} to {}",
                          options.max_frame_bytes, kMinFrame, kMaxFrameBytes);
    }
    if (options.descriptors < kMinDescriptors || options.descriptors > kMaxDescriptors) {
        return make_error(Code::kInvalidArgument, "runner: descriptors: {} is not {} to {}",
                          options.descriptors, kMinDescriptors, kMaxDescriptors);
    }
    std::unique_ptr<Ports> out(new Ports());
    SLUICE_TRY(out->choose_roles(options));
    SLUICE_TRY(out->choose_lcores(options));
    SLUICE_TRY(out->choose_queues());
    SLUICE_TRY(out->make_pools(options));
    for (Port& port : out->ports_) {
        SLUICE_TRY(out->configure(port, options));
    }
    return out;
}

Ports::~Ports() {
    for (const Port& port : ports_) {
        if (port.started) {
            static_cast<void>(rte_eth_dev_stop(port.id));
        }
    }
}

Result<void> Ports::choose_roles(const RunnerOptions& options) {
    // Ports that belong to another one (of a bond) are not ours to use.
    for (std::uint64_t next = 0;; ++next) {
        next = rte_eth_find_next_owned_by(static_cast<std::uint16_t>(next), RTE_ETH_DEV_NO_OWNER);
        if (next >= RTE_MAX_ETHPORTS) {
            break;
        }
        const auto id = static_cast<std::uint16_t>(next);
        Port port;
        port.id = id;
        std::array<char, RTE_ETH_NAME_MAX_LEN> name{};
        if (rte_eth_dev_get_name_by_port(id, name.data()) == 0) {
            port.name = name.data();
        }
        ports_.push_back(std::move(port));
    }
    if (ports_.empty()) {
        return make_error(Code::kFailedPrecondition,
                          "runner: the EAL has no ports; name some, such as "
                          "--vdev=net_af_packet0,iface=eth0");
    }
    if (ports_.size() > kMaxPorts) {
        return make_error(Code::kResourceExhausted, "runner: {} ports are more than {}",
                          ports_.size(), kMaxPorts);
    }
    if (!options.roles.empty() && options.roles.size() != ports_.size()) {
        return make_error(Code::kInvalidArgument, "runner: roles: {} of them for {} ports",
                          options.roles.size(), ports_.size());
    }
    bool sends = false;
    bool reversed = false;
    for (std::size_t i = 0; i < ports_.size(); ++i) {
        Port& port = ports_[i];
        port.role = !options.roles.empty() ? options.roles[i]
                    : ports_.size() == 1   ? Role::kBoth
                    : i == 0               ? Role::kSend
                                           : Role::kReceive;
        if (port.role == Role::kBoth) {
            port.reversed = reversed;
            reversed = !reversed;
        }
        sends = sends || port.sends();
    }
    if (!sends) {
        return make_error(Code::kInvalidArgument, "runner: roles: no port sends");
    }
    return {};
}

Result<void> Ports::choose_lcores(const RunnerOptions& options) {
    const unsigned lcores = rte_lcore_count();
    senders_ = options.send_lcores;
    receivers_ = options.receive_lcores;
    if (lcores == 1) {
        if (senders_ > 1 || receivers_ > 1) {
            return make_error(Code::kInvalidArgument,
                              "runner: send_lcores, receive_lcores: the EAL has one lcore alone");
        }
        senders_ = receivers_ = 1;
        return {};
    }
    const unsigned workers = lcores == 2 ? 2 : lcores - 1;
    if (senders_ == 0 && receivers_ == 0) {
        receivers_ = workers / 2;
        senders_ = workers - receivers_;
    } else if (senders_ == 0) {
        senders_ = workers - std::min(workers, receivers_);
    } else if (receivers_ == 0) {
        receivers_ = workers - std::min(workers, senders_);
    }
    if (senders_ == 0 || receivers_ == 0 || senders_ + receivers_ > workers) {
        return make_error(Code::kInvalidArgument,
                          "runner: send_lcores, receive_lcores: {} and {} of the {} that the EAL has "
                          "for them",
                          senders_, receivers_, workers);
    }
    return {};
}

// Lcores beyond the ports become further queues of them, where they have such.
Result<void> Ports::choose_queues() {
    const auto count = [&](bool (Port::*does)() const) {
        return static_cast<unsigned>(std::count_if(
            ports_.begin(), ports_.end(), [&](const Port& port) { return (port.*does)(); }));
    };
    const unsigned sending = count(&Port::sends);
    const unsigned receiving = count(&Port::receives);
    unsigned sender = 0;
    unsigned receiver = 0;
    for (Port& port : ports_) {
        SLUICE_TRY_ASSIGN(const rte_eth_dev_info info, info_of(port));
        if (port.sends()) {
            const unsigned wanted =
                senders_ > sender ? (senders_ - sender + sending - 1) / sending : 1;
            port.send_queues =
                static_cast<std::uint16_t>(std::clamp<unsigned>(wanted, 1, info.max_tx_queues));
            ++sender;
        }
        if (port.receives()) {
            const unsigned wanted =
                receivers_ > receiver ? (receivers_ - receiver + receiving - 1) / receiving : 1;
            const bool spreads = (info.flow_type_rss_offloads & kSpread) != 0;
            port.receive_queues = static_cast<std::uint16_t>(
                spreads ? std::clamp<unsigned>(wanted, 1, info.max_rx_queues) : 1);
            ++receiver;
        }
    }
    return {};
}

Result<void> Ports::make_pools(const RunnerOptions& options) {
    std::uint32_t sending = kSpareBuffers;
    std::uint32_t receiving = 0;
    for (const Port& port : ports_) {
        sending += std::uint32_t{options.descriptors} * port.send_queues + kMailSlots;
        receiving += (std::uint32_t{options.descriptors} + kDriverBuffers) * port.receive_queues;
    }
    // Templates are copied in steps of 64 bytes, so a frame may write to the end of its last step.
    const std::uint32_t room = std::max<std::uint32_t>(
        RTE_PKTMBUF_HEADROOM + (options.max_frame_bytes + 63) / 64 * 64, RTE_MBUF_DEFAULT_BUF_SIZE);
    SLUICE_TRY_ASSIGN(pool_, make_pool("send", sending, room));
    SLUICE_TRY_ASSIGN(receive_pool_, make_pool("receive", receiving, room));
    return {};
}

Result<void> Ports::configure(Port& port, const RunnerOptions& options) {
    SLUICE_TRY_ASSIGN(const rte_eth_dev_info info, info_of(port));
    rte_eth_conf conf{};
    if (port.receive_queues > 1) {
        conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
        conf.rx_adv_conf.rss_conf.rss_hf = info.flow_type_rss_offloads & kSpread;
    }
    int error = rte_eth_dev_configure(port.id, port.receive_queues, port.send_queues, &conf);
    if (error != 0) {
        return errno_error(-error, "port {}: {} receive and {} send queues are refused", port.name,
                           port.receive_queues, port.send_queues);
    }
    if (options.max_frame_bytes > kPlainFrame + kVlanBytes) {
        const auto mtu =
            static_cast<std::uint16_t>(options.max_frame_bytes - kEthernetBytes - kChecksumBytes);
        error = rte_eth_dev_set_mtu(port.id, mtu);
        if (error != 0 && error != -ENOTSUP) {
            return errno_error(-error, "port {}: max_frame_bytes: an MTU of {} is refused", port.name,
                               mtu);
        }
    }
    std::uint16_t receive_slots = options.descriptors;
    std::uint16_t send_slots = options.descriptors;
    error = rte_eth_dev_adjust_nb_rx_tx_desc(port.id, &receive_slots, &send_slots);
    if (error != 0) {
        return errno_error(-error, "port {}: {} descriptors are refused", port.name,
                           options.descriptors);
    }
    const auto socket = static_cast<unsigned>(SOCKET_ID_ANY);
    for (std::uint16_t queue = 0; queue < port.receive_queues; ++queue) {
        error = rte_eth_rx_queue_setup(port.id, queue, receive_slots, socket, nullptr,
                                       receive_pool_.get());
        if (error != 0) {
            return errno_error(-error, "port {}: receive queue {} is refused", port.name, queue);
        }
    }
    for (std::uint16_t queue = 0; queue < port.send_queues; ++queue) {
        error = rte_eth_tx_queue_setup(port.id, queue, send_slots, socket, nullptr);
        if (error != 0) {
            return errno_error(-error, "port {}: send queue {} is refused", port.name, queue);
        }
    }
    port.mail.reset(
        rte_ring_create(unique_name("mail").c_str(), kMailSlots, SOCKET_ID_ANY, RING_F_SC_DEQ));
    if (port.mail == nullptr) {
        return errno_error(rte_errno, "port {}: no memory for its ring", port.name);
    }
    error = rte_eth_dev_start(port.id);
    if (error != 0) {
        return errno_error(-error, "port {}: it does not start", port.name);
    }
    port.started = true;
    // A device that changes or keeps destination addresses is not to hide packets from us; ports that
    // have no filter have nothing to turn off.
    error = rte_eth_promiscuous_enable(port.id);
    if (error != 0 && error != -ENOTSUP) {
        return errno_error(-error, "port {}: it cannot be made promiscuous", port.name);
    }
    rte_ether_addr address{};
    if (rte_eth_macaddr_get(port.id, &address) == 0) {
        std::copy_n(address.addr_bytes, port.mac.size(), port.mac.begin());
    }
    return {};
}

Result<void> Ports::wait_for_links(double seconds) const {
    const std::uint64_t end =
        rte_rdtsc() + static_cast<std::uint64_t>(seconds * static_cast<double>(rte_get_tsc_hz()));
    for (const Port& port : ports_) {
        while (true) {
            rte_eth_link link{};
            if (rte_eth_link_get_nowait(port.id, &link) == 0 &&
                link.link_status == RTE_ETH_LINK_UP) {
                break;
            }
            if (rte_rdtsc() >= end) {
                return make_error(Code::kUnavailable, "port {}: its link is down after {} s",
                                  port.name, seconds);
            }
            rte_delay_us_sleep(kLinkPoll_us);
        }
    }
    return {};
}

std::vector<PortCounts> Ports::counted() const {
    std::vector<PortCounts> out;
    for (const Port& port : ports_) {
        PortCounts counts;
        counts.name = port.name;
        rte_eth_stats stats{};
        if (rte_eth_stats_get(port.id, &stats) == 0) {
            counts.port_sent = stats.opackets;
            counts.port_sent_bytes = stats.obytes;
            counts.port_received = stats.ipackets;
            counts.port_received_bytes = stats.ibytes;
            counts.port_missed = stats.imissed + stats.rx_nombuf;
            counts.port_errors = stats.ierrors + stats.oerrors;
        }
        out.push_back(counts);
    }
    return out;
}

}  // namespace sluice::pktgen
