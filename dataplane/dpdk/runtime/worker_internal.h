// One forwarding lcore: receives, hands frames to the lcore that they belong to, asks the pipeline, sends. It runs each
// burst to completion and writes nothing that another lcore writes; what it shares are rings and what is published to
// it, which stays until it has passed a quiescent state.
//
//   ports --rx--> classify --mine--> process --> verdicts --> send buffers --tx--> ports
//                    |  ^                            |  '--> outgoing ring of the lcore that has a queue
//        other's inbox  '-- own inbox                '-----> control ring (ARP, ND, unresolved)
#pragma once

#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "dataplane/dpdk/pipeline/dispatch.h"
#include "dataplane/dpdk/pipeline/pipeline.h"
#include "dataplane/dpdk/routing/forwarding.h"
#include "dataplane/dpdk/runtime/ports.h"
#include "dataplane/image/layout.h"

struct rte_rcu_qsbr;

namespace sluice::dpdk {

class Capture;

inline constexpr unsigned kBufferCache = 256;
inline constexpr std::uint32_t kInboxFrames = 2048;     // of frames that another lcore received
inline constexpr std::uint32_t kOutgoingFrames = 1024;  // that others want sent
inline constexpr std::uint32_t kControlFrames = 512;    // for the control thread
inline constexpr unsigned kSendTries = 8;               // looks at a full send queue before frames are dropped
inline constexpr std::uint16_t kNoPort = 0xffff;

// What goes along with a frame that leaves the lcore for the control thread.
struct alignas(8) FrameNote {
    std::uint32_t neighbour = kNoNeighbour;
    std::uint16_t interface = 0;
    std::uint16_t out = 0;
    bool unresolved = false;  // else ARP or ND
};

inline FrameNote* note_of(rte_mbuf* frame) {
    return static_cast<FrameNote*>(rte_mbuf_to_priv(frame));
}

// One writer, any reader.
class Counter {
public:
    void add(std::uint64_t amount) {
        value_.store(value_.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
    }
    [[nodiscard]] std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }

private:
    std::atomic<std::uint64_t> value_{0};
};

// What lcores know of a port; written before they start.
struct PortShape {
    std::uint64_t mac = 0;  // the six bytes as they lie in a frame
    std::uint16_t untagged = kMaxInterfaces;  // interface of frames without a tag; of an exception port its uplink's
    std::uint16_t twin = kNoPort;             // the exception port of an uplink, and the other way round
    std::uint16_t tx_queues = 0;  // 0: no such port
    bool exception = false;
    bool rx_checksum = false;
};

class Worker;

// What is published to lcores, and how often: what came later may lie where something freed lay, so who has slept tells
// by the number whether it is new. One writer at a time.
template <class T>
class Published {
public:
    // Returns the number that this one has.
    std::uint64_t publish(const T* value) {
        value_.store(value, std::memory_order_release);
        return number_.fetch_add(1, std::memory_order_release) + 1;
    }
    [[nodiscard]] std::uint64_t number() const { return number_.load(std::memory_order_acquire); }
    [[nodiscard]] const T* value() const { return value_.load(std::memory_order_acquire); }

private:
    std::atomic<const T*> value_{nullptr};
    std::atomic<std::uint64_t> number_{0};
};
// A lcore's view of it.
template <class T>
struct Taken {
    const T* value = nullptr;
    std::uint64_t number = 0;

    // Whether there is another one.
    bool take(const Published<T>& from) {
        const std::uint64_t now = from.number();
        if (now == number) [[likely]] return false;
        number = now;
        value = from.value();
        return true;
    }
};

// The flow tables of all lcores, in their order.
using FlowSet = std::vector<FlowMemory>;

// Buckets of each family whose flows a lcore carries to a larger table between two bursts: few while there is
// traffic, so that its queues do not run over.
inline constexpr std::uint32_t kCarryBusy = 1;
inline constexpr std::uint32_t kCarryIdle = 32;

// What all lcores read. Rings and the pool live as long as EAL.
struct Shape {
    std::array<PortShape, kMaxPorts> ports;
    std::array<std::uint16_t, kMaxInterfaces> port_of{};  // by interface
    std::uint16_t kernel_port = kNoPort;  // exception port of those that have none of their own
    rte_mempool* pool = nullptr;
    rte_ring* control = nullptr;
    int control_event = -1;                    // eventfd that wakes the control thread
    std::atomic<bool> control_woken{false};
    std::vector<Worker*> workers;
    rte_rcu_qsbr* grace = nullptr;
    std::uint64_t cycles_per_second = 1;
    std::uint32_t idle_sleep_us = 0;
    // Published by the control thread.
    Published<image::Tables> tables;
    Published<Forwarding> forwarding;
    Published<FlowSet> flows;
    Published<SharedMemory> shared;
    std::atomic<Capture*> capture{nullptr};
    std::atomic<bool> draining{false};
    std::atomic<bool> stop{false};
};

struct WorkerCounters {
    Counter busy_cycles, idle_cycles, packets, bursts, sleeps;
    Counter dispatched, dispatch_failed;
    Counter send_failed;       // all ports
    Counter outgoing_failed;   // the ring of the lcore with the queue was full
    Counter control_failed;    // the control thread was too slow
    Counter no_exception;      // for the kernel, and there is no way to it
    Counter exception_failed;  // the kernel took no more
    Counter foreign;           // neither our MAC nor a group's
    Counter no_interface;      // a tag that no interface has
    Counter malformed;         // shorter than a header, or in pieces too large
    Counter flows_moved, flows_expired, flows_lost;  // carried to a larger table; CarriedFlows
    std::array<Counter, kMaxPorts> port_send_failed;
};

class alignas(64) Worker {
public:
    Worker(Shape& shape, unsigned index, std::unique_ptr<Pipeline> pipeline, rte_ring* inbox, rte_ring* outgoing);

    void receive_from(std::uint16_t port, std::uint16_t queue) { sources_.push_back({port, queue}); }
    // Until Shape::stop; on its lcore.
    void run();
    // One turn of the loop; how many frames there were.
    std::uint32_t turn();

    [[nodiscard]] const WorkerCounters& counters() const { return counters_; }
    // Of the flow tables that were published with this number, the last one, whether all flows are in the one in use.
    // Any thread.
    [[nodiscard]] bool has_carried(std::uint64_t number) const {
        return carried_.load(std::memory_order_acquire) == number;
    }
    [[nodiscard]] rte_ring* inbox() const { return inbox_; }
    [[nodiscard]] rte_ring* outgoing() const { return outgoing_; }

private:
    struct Source {
        std::uint16_t port;
        std::uint16_t queue;
    };
    struct Gathered {
        std::uint16_t count = 0;
        std::array<rte_mbuf*, kMaxBurst> frames;
    };

    void take_changes();
    // Whether there is more to carry at once.
    bool carry_flows(bool busy);
    void tell_time(std::uint64_t cycles);
    void sleep_if_idle(bool idle);
    void handle(rte_mbuf** frames, std::uint32_t count, bool dispatched);
    // Whether the frame is for process(); else it has gone another way.
    bool classify(rte_mbuf* frame, bool dispatched, Frame* out);
    void process(std::span<Frame> frames);
    // What their verdicts ask for.
    void follow(std::span<const Frame> frames);
    void follow_otherwise(const Frame& frame);
    void to_kernel(rte_mbuf* frame, const Frame& answer);
    void to_control(rte_mbuf* frame, const Frame& answer, bool unresolved);
    void send(std::uint16_t port, rte_mbuf* frame);
    void flush(std::uint16_t port);
    void flush_all();
    void flush_inbox(std::uint32_t lcore);
    void send_failed(std::uint16_t port, rte_mbuf** frames, std::uint32_t count);
    void capture_all(std::span<const Frame> frames);

    Shape& shape_;
    const unsigned index_;
    std::unique_ptr<Pipeline> pipeline_;
    rte_ring* inbox_;
    rte_ring* outgoing_;
    std::vector<Source> sources_;
    Taken<image::Tables> tables_;
    Taken<Forwarding> forwarding_;
    Taken<FlowSet> flows_;
    Taken<SharedMemory> shared_;
    bool carrying_ = false;
    std::atomic<std::uint64_t> carried_{0};
    Capture* capture_ = nullptr;
    Now now_;
    std::uint64_t next_time_ = 0;  // cycles at which the clock is read again
    std::uint64_t last_cycles_ = 0;
    std::uint32_t idle_turns_ = 0;
    std::uint32_t lcores_;
    std::array<Frame, kMaxBurst> frames_;  // of the burst at hand
    std::array<Gathered, kMaxPorts> sending_;
    std::uint64_t sending_mask_ = 0;  // ports with frames gathered
    std::vector<Gathered> others_;    // by lcore
    std::uint64_t others_mask_ = 0;
    FrontendMemo frontends_;
    WorkerCounters counters_;
};

}  // namespace sluice::dpdk
