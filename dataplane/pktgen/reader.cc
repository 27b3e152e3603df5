// Takes frames from a queue of a port and says what they are.
#include <rte_cycles.h>
#include <rte_ethdev.h>

#include "dataplane/pktgen/task_private.h"

namespace sluice::pktgen {
namespace {

// Bursts of one turn: more than a sender on the same lcore sends, so that duplicates do not pile up.
constexpr int kMaxBursts = 4;

class Reader final : public Task {
public:
    explicit Reader(const ReadPlan& plan)
        : Task(*plan.port, plan.queue, plan.pool),
          owned_(plan.owned),
          receiver_(plan.receive, plan.windows) {}

    void step(const Control& control) override {
        const std::uint32_t sample = control.sample.load(std::memory_order_relaxed);
        if (sample != published_sample()) {
            published_ = receiver_.recent();
            receiver_.turn();
            publish(sample);
        }
        if (queue_ == 0 && !port_.sends()) {
            deliver_mail();
        }
        for (int i = 0; i < kMaxBursts && read_burst(); ++i) {
        }
    }

    void finish() override { receiver_.turn(); }
    [[nodiscard]] bool publishes() const override { return true; }
    [[nodiscard]] const Receiver& receiver() const { return receiver_; }

private:
    bool read_burst() {
        rte_mbuf* mbufs[kBurst];
        const std::uint16_t count = rte_eth_rx_burst(port_.id, queue_, mbufs, kBurst);
        if (count == 0) {
            return false;
        }
        const std::uint64_t now = rte_rdtsc();
        for (std::uint16_t i = 0; i < count; ++i) {
            __builtin_prefetch(rte_pktmbuf_mtod(mbufs[i], const void*));
        }
        std::uint64_t bytes = 0;
        for (std::uint16_t i = 0; i < count; ++i) {
            const std::uint32_t length = mbufs[i]->pkt_len;
            bytes += length + kChecksumBytes;
            const FrameView view = view_frame(flat(mbufs[i], scratch_), length);
            if ((view.kind == FrameKind::kArp || view.kind == FrameKind::kIcmpv6) &&
                answer_neighbour(view, owned_)) {
                continue;
            }
            if (port_.receives()) {
                receiver_.take(view, length, now);
            }
        }
        tally_.received.add(count);
        tally_.received_bytes.add(bytes);
        rte_pktmbuf_free_bulk(mbufs, count);
        return count == kBurst;
    }

    OwnedAddresses owned_;
    Receiver receiver_;
    std::vector<std::uint8_t> scratch_;
};

}  // namespace

std::unique_ptr<Task> make_reader(const ReadPlan& plan, const Receiver*& receiver) {
    auto out = std::make_unique<Reader>(plan);
    receiver = &out->receiver();
    return out;
}

}  // namespace sluice::pktgen
