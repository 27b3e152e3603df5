#include <rte_cycles.h>
#include <rte_ethdev.h>

#include "dataplane/pktgen/resolve_private.h"

namespace sluice::pktgen {
namespace {

constexpr double kAskAgain_s = 0.2;
constexpr unsigned kPause_us = 100;

void send_one(Port& port, rte_mbuf* mbuf, std::size_t bytes, PortCounts& counts) {
    mbuf->data_len = static_cast<std::uint16_t>(bytes);
    mbuf->pkt_len = static_cast<std::uint32_t>(bytes);
    if (rte_eth_tx_burst(port.id, 0, &mbuf, 1) == 1) {
        counts.sent += 1;
        counts.sent_bytes += bytes + kChecksumBytes;
        return;
    }
    counts.refused += 1;
    rte_pktmbuf_free(mbuf);
}

// What one frame tells about the target; answers it if it asks.
std::optional<Mac> hear(Port& port, rte_mempool* pool, const rte_mbuf* mbuf, const OwnedAddresses& owned,
                        const IpAddress& target, PortCounts& counts) {
    if (mbuf->nb_segs != 1) {
        return std::nullopt;
    }
    const FrameView view = view_frame(rte_pktmbuf_mtod(mbuf, const std::uint8_t*), mbuf->data_len);
    const auto message = read_neighbour(view);
    if (!message) {
        return std::nullopt;
    }
    if (!message->question) {
        return message->target == target ? message->mac : std::nullopt;
    }
    if (owned.contains(message->target)) {
        rte_mbuf* answer = rte_pktmbuf_alloc(pool);
        if (answer == nullptr) {
            counts.starved += 1;
            return std::nullopt;
        }
        const std::size_t bytes =
            write_answer(view, *message, port.mac, rte_pktmbuf_mtod(answer, std::uint8_t*));
        send_one(port, answer, bytes, counts);
    }
    return std::nullopt;
}

}  // namespace

Result<Mac> ask_neighbour(Ports& ports, const NeighbourQuestion& question,
                          const std::vector<OwnedAddresses>& owned, double wait_s,
                          std::vector<PortCounts>& counts) {
    const auto hz = static_cast<double>(rte_get_tsc_hz());
    const std::uint64_t end = rte_rdtsc() + static_cast<std::uint64_t>(wait_s * hz);
    std::uint64_t ask_at = 0;
    std::optional<Mac> found;
    while (!found) {
        const std::uint64_t now = rte_rdtsc();
        if (now >= end) {
            return make_error(Code::kUnavailable,
                              "port {}: nobody answers for {} within {} s; give destination_mac, or a "
                              "next_hop that answers",
                              question.port->name, question.target.to_string(), wait_s);
        }
        if (now >= ask_at) {
            ask_at = now + static_cast<std::uint64_t>(kAskAgain_s * hz);
            rte_mbuf* mbuf = rte_pktmbuf_alloc(ports.pool());
            if (mbuf != nullptr) {
                const std::size_t bytes =
                    write_question(question.mac, question.sender, question.target, question.vlan,
                                   rte_pktmbuf_mtod(mbuf, std::uint8_t*));
                send_one(*question.port, mbuf, bytes,
                         counts[static_cast<std::size_t>(question.port - ports.all().data())]);
            }
        }
        bool idle = true;
        for (std::size_t i = 0; i < ports.all().size(); ++i) {
            Port& port = ports.all()[i];
            for (std::uint16_t queue = 0; queue < port.receive_queues; ++queue) {
                rte_mbuf* mbufs[kBurst];
                const std::uint16_t count = rte_eth_rx_burst(port.id, queue, mbufs, kBurst);
                for (std::uint16_t k = 0; k < count; ++k) {
                    idle = false;
                    counts[i].received += 1;
                    counts[i].received_bytes += mbufs[k]->pkt_len + kChecksumBytes;
                    const auto mac = hear(port, ports.pool(), mbufs[k], owned[i], question.target, counts[i]);
                    if (mac && &port == question.port) {
                        found = mac;
                    }
                    rte_pktmbuf_free(mbufs[k]);
                }
            }
        }
        if (idle) {
            rte_delay_us_sleep(kPause_us);
        }
    }
    return *found;
}

}  // namespace sluice::pktgen
