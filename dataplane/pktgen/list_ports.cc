#include "dataplane/pktgen/list_ports.h"

#include <fmt/format.h>
#include <rte_ethdev.h>
#include <rte_ether.h>

#include <array>

namespace sluice::pktgen {

std::vector<PortInfo> list_ports() {
    std::vector<PortInfo> out;
    for (std::uint16_t number = rte_eth_find_next(0); number < RTE_MAX_ETHPORTS;
         number = rte_eth_find_next(static_cast<std::uint16_t>(number + 1))) {
        PortInfo port;
        port.number = number;
        std::array<char, RTE_ETH_NAME_MAX_LEN> name{};
        if (rte_eth_dev_get_name_by_port(number, name.data()) == 0) {
            port.name = name.data();
        }
        rte_eth_dev_info info{};
        if (rte_eth_dev_info_get(number, &info) == 0) {
            constexpr std::uint64_t kChecksums = RTE_ETH_TX_OFFLOAD_IPV4_CKSUM |
                                                 RTE_ETH_TX_OFFLOAD_UDP_CKSUM |
                                                 RTE_ETH_TX_OFFLOAD_TCP_CKSUM;
            port.driver = info.driver_name == nullptr ? "" : info.driver_name;
            port.max_frame_bytes = info.max_rx_pktlen;
            port.max_send_queues = info.max_tx_queues;
            port.max_receive_queues = info.max_rx_queues;
            port.sends_checksums = (info.tx_offload_capa & kChecksums) == kChecksums;
            port.spreads_flows = info.flow_type_rss_offloads != 0;
        }
        rte_ether_addr mac{};
        if (rte_eth_macaddr_get(number, &mac) == 0) {
            const std::uint8_t* b = mac.addr_bytes;
            port.mac = fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", b[0], b[1], b[2],
                                   b[3], b[4], b[5]);
        }
        rte_eth_link link{};
        if (rte_eth_link_get_nowait(number, &link) == 0) {
            port.link_up = link.link_status == RTE_ETH_LINK_UP;
            port.link_mbps = link.link_speed == RTE_ETH_SPEED_NUM_UNKNOWN ? 0 : link.link_speed;
        }
        out.push_back(std::move(port));
    }
    return out;
}

std::string ports_text(const std::vector<PortInfo>& ports) {
    if (ports.empty()) {
        return "no ports; give some to DPDK: -- --vdev=net_af_packet0,iface=eth1, for example\n";
    }
    std::string out =
        fmt::format("{:>4}  {:<20} {:<16} {:<18} {:<12} {:>9}  {:<9} {}\n", "port", "name",
                    "driver", "mac", "link", "max bytes", "queues", "offloads");
    for (const PortInfo& port : ports) {
        const std::string speed =
            port.link_mbps == 0 ? "" : fmt::format(" {} Gb/s", port.link_mbps / 1000.0);
        const std::string queues =
            fmt::format("{}/{}", port.max_send_queues, port.max_receive_queues);
        // Virtual devices have no limit of their own.
        const std::string longest =
            port.max_frame_bytes > 0xffff ? "any" : std::to_string(port.max_frame_bytes);
        std::string offloads = port.sends_checksums ? "checksums" : "";
        offloads += port.spreads_flows ? (offloads.empty() ? "rss" : ", rss") : "";
        out += fmt::format("{:>4}  {:<20} {:<16} {:<18} {:<12} {:>9}  {:<9} {}\n", port.number,
                           port.name, port.driver, port.mac, (port.link_up ? "up" : "down") + speed,
                           longest, queues, offloads.empty() ? "-" : offloads);
    }
    return out;
}

}  // namespace sluice::pktgen
