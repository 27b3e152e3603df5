// What an lcore does again and again: one turn of sending, of receiving, or of both halves of TCP.
// Tasks share nothing but the Control, the windows and the ports' mail; what they count others may read.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "dataplane/pktgen/capture.h"
#include "dataplane/pktgen/counter.h"
#include "dataplane/pktgen/neighbours.h"
#include "dataplane/pktgen/packets.h"
#include "dataplane/pktgen/runner_ports_private.h"
#include "dataplane/pktgen/rate.h"
#include "dataplane/pktgen/receive.h"
#include "dataplane/pktgen/tcp_client.h"
#include "dataplane/pktgen/tcp_server.h"

namespace sluice::pktgen {

// In this order; the main lcore moves it on. kWarmup is left out if there is none.
enum class Phase : std::uint8_t { kReady, kWarmup, kCounted, kDrain, kEnd };

struct Control {
    std::atomic<Phase> phase{Phase::kReady};
    std::atomic<std::uint64_t> phase_at{0};  // time stamp counter when it began; written before it
    std::atomic<std::uint32_t> sample{0};  // raised to have Task::published() made anew
};

// All that a task put onto its port and took from it, neighbour messages and warm-up included.
struct Tally {
    Counter sent, sent_bytes, received, received_bytes, refused, starved;
};

// Of the counted time.
struct SendCounts {
    Counter sent, sent_bytes, opened, closed;
    Counter behind;  // packets that were due and not sent
};

class Task {
public:
    virtual ~Task() = default;
    Task(const Task&) = delete;
    Task& operator=(const Task&) = delete;
    // One turn, on the lcore that the task belongs to.
    virtual void step(const Control& control) = 0;
    // After the last turn, on the main lcore: gives back what it holds.
    virtual void finish() {}
    [[nodiscard]] virtual bool done() const { return true; }  // has sent as many as it was to

    [[nodiscard]] const Tally& tally() const { return tally_; }
    [[nodiscard]] const Port& port() const { return port_; }
    // Latencies between the last two samples; REQUIRES: published_sample() is the sample asked for.
    [[nodiscard]] const Histogram& published() const { return published_; }
    [[nodiscard]] std::uint32_t published_sample() const {
        return published_sample_.load(std::memory_order_acquire);
    }
    [[nodiscard]] virtual bool publishes() const { return false; }

protected:
    Task(Port& port, std::uint16_t queue, rte_mempool* pool) : port_(port), queue_(queue), pool_(pool) {}
    // Sends what others left in the port's mail.
    void deliver_mail();
    // Offers frames to the port; what it refuses is given back to the pool.
    void send_or_drop(rte_mbuf** mbufs, std::uint16_t count);
    // Answers a question for an address of ours. True if the frame was a neighbour message.
    bool answer_neighbour(const FrameView& view, const OwnedAddresses& owned);
    // The frame's bytes in one piece: of an mbuf of several segments copied into `scratch`.
    static const std::uint8_t* flat(const rte_mbuf* mbuf, std::vector<std::uint8_t>& scratch);
    void publish(std::uint32_t sample) { published_sample_.store(sample, std::memory_order_release); }

    Port& port_;
    std::uint16_t queue_;
    rte_mempool* pool_;
    Tally tally_;
    Histogram published_;

private:
    std::atomic<std::uint32_t> published_sample_{0};
};

struct SendPlan {
    Port* port = nullptr;
    std::uint16_t queue = 0;
    rte_mempool* pool = nullptr;
    unsigned index = 0, senders = 1;  // which of all senders
    std::uint16_t run = 0, warmup_run = 0;
    Mac destination{};
};

// Of profiles: flows or scripts.
std::unique_ptr<Task> make_flow_sender(const SendPlan& plan, const Profile& profile,
                                       const FlowSpace& flows, const SendCounts*& counts);
// Of captures: every `senders`th frame, so that together they send the capture.
std::unique_ptr<Task> make_capture_sender(const SendPlan& plan, const Profile& profile,
                                          const Capture& capture, const SendCounts*& counts);

struct ReadPlan {
    Port* port = nullptr;
    std::uint16_t queue = 0;
    rte_mempool* pool = nullptr;
    OwnedAddresses owned;
    ReceiveOptions receive;
    Windows* windows = nullptr;
};
std::unique_ptr<Task> make_reader(const ReadPlan& plan, const Receiver*& receiver);

// Both halves of kStateful on one port, or the one that its role wants.
struct StatefulPlan {
    SendPlan send;
    OwnedAddresses owned;
    bool client = false, server = false;
    std::uint64_t first_flow = 0, flows = 1;  // this client's share
    double connections_per_second = 0;
    std::uint64_t connections = 0;  // to open; 0: by time
};
struct StatefulCounts {
    Counter sent, sent_bytes, received, received_bytes, corrupted, foreign;
    Counter behind;  // connections that were due and not opened
};
// The counts when counting began: what the warm-up did is to be taken off.
struct StatefulBase {
    Counter sent, sent_bytes, received, received_bytes, corrupted, foreign;
    Counter opened, established, closed, timed_out, reset, retransmitted;
};
struct StatefulView {
    const StatefulCounts* counts = nullptr;
    const StatefulBase* base = nullptr;
    const TcpClient* client = nullptr;  // null: none
    const Histogram* connect_ns = nullptr;
};
Result<std::unique_ptr<Task>> make_stateful(const StatefulPlan& plan, const Profile& profile,
                                            const FlowSpace& flows, StatefulView& view);

}  // namespace sluice::pktgen
