// What senders, readers and stateful ports have in common.
#include <rte_ethdev.h>

#include "dataplane/pktgen/task_private.h"

namespace sluice::pktgen {

void Task::deliver_mail() {
    if (rte_ring_empty(port_.mail.get()) != 0) {
        return;
    }
    rte_mbuf* mbufs[kBurst];
    const unsigned count = rte_ring_dequeue_burst(port_.mail.get(), reinterpret_cast<void**>(mbufs), kBurst, nullptr);
    if (count != 0) {
        send_or_drop(mbufs, static_cast<std::uint16_t>(count));
    }
}

void Task::send_or_drop(rte_mbuf** mbufs, std::uint16_t count) {
    std::uint32_t bytes[kBurst];
    for (std::uint16_t i = 0; i < count; ++i) {
        bytes[i] = mbufs[i]->pkt_len + static_cast<std::uint32_t>(kChecksumBytes);
    }
    const std::uint16_t sent = rte_eth_tx_burst(port_.id, queue_, mbufs, count);
    for (std::uint16_t i = 0; i < sent; ++i) {
        tally_.sent_bytes.add(bytes[i]);
    }
    tally_.sent.add(sent);
    if (sent < count) {
        tally_.refused.add(static_cast<std::uint64_t>(count - sent));
        rte_pktmbuf_free_bulk(mbufs + sent, static_cast<unsigned>(count - sent));
    }
}

bool Task::answer_neighbour(const FrameView& view, const OwnedAddresses& owned) {
    const auto message = read_neighbour(view);
    if (!message) {
        return false;
    }
    if (!message->question || !owned.contains(message->target)) {
        return true;
    }
    rte_mbuf* mbuf = rte_pktmbuf_alloc(pool_);
    if (mbuf == nullptr) {
        tally_.starved.add(1);
        return true;
    }
    const std::size_t bytes =
        write_answer(view, *message, port_.mac, rte_pktmbuf_mtod(mbuf, std::uint8_t*));
    mbuf->data_len = static_cast<std::uint16_t>(bytes);
    mbuf->pkt_len = static_cast<std::uint32_t>(bytes);
    if (rte_ring_enqueue(port_.mail.get(), mbuf) != 0) {
        tally_.refused.add(1);
        rte_pktmbuf_free(mbuf);
    }
    return true;
}

const std::uint8_t* Task::flat(const rte_mbuf* mbuf, std::vector<std::uint8_t>& scratch) {
    if (mbuf->nb_segs == 1) {
        return rte_pktmbuf_mtod(mbuf, const std::uint8_t*);
    }
    scratch.resize(mbuf->pkt_len);
    return static_cast<const std::uint8_t*>(
        rte_pktmbuf_read(mbuf, 0, mbuf->pkt_len, scratch.data()));
}

}  // namespace sluice::pktgen
