// All forwarding lcores with what they share: made from opened ports, started and stopped together.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "dataplane/dpdk/routing/interfaces.h"
#include "dataplane/dpdk/runtime/grace.h"
#include "dataplane/dpdk/runtime/ports.h"
#include "dataplane/dpdk/runtime/worker_internal.h"

namespace sluice::dpdk {

struct LcoreSetup {
    std::vector<unsigned> lcores;        // EAL's numbers, the calling thread's first
    std::vector<Port> ports;             // opened
    std::vector<Interface> interfaces;
    rte_mempool* pool = nullptr;
    FlowSet flows;                       // one a lcore
    SharedMemory shared;
    std::vector<EventMemory> events;     // one a lcore; empty: no flow log
    std::uint64_t cycles_per_second = 1;
    std::uint32_t idle_sleep_us = 0;
    std::uint64_t random_seed = 1;
};

// What rings between lcores can hold, for plan_pool().
std::uint32_t frames_in_rings(std::size_t lcores);

class Lcores {
public:
    // kResourceExhausted: rings. kInvalidArgument: more lcores than kMaxLcores.
    static Result<std::unique_ptr<Lcores>> make(const LcoreSetup& setup);
    // REQUIRES: stopped.
    ~Lcores();
    Lcores(const Lcores&) = delete;
    Lcores& operator=(const Lcores&) = delete;

    // Runs on all lcores, the calling thread's included, until stop(). On EAL's main thread.
    Result<void> run();
    // Any thread; run() returns when each lcore has finished its burst.
    void stop();

    // Of each kind any one thread at a time. What was published before is free when the grace period is over.
    void publish(const image::Tables* tables);
    void publish(const Forwarding* forwarding);
    void publish(Capture* capture);
    // As many as there are lcores. Returns what Worker::has_carried() is asked by.
    std::uint64_t publish(const FlowSet* flows);
    void publish(const SharedMemory* shared);
    void set_draining(bool draining);
    Grace& grace() { return *grace_; }

    // Frames that lcores left for the control thread; and its own to send, taken when true.
    std::uint32_t take_control(rte_mbuf** frames, std::uint32_t most);
    bool send(std::uint16_t port, rte_mbuf* frame);
    // Before frames are taken, so that none that come after is missed.
    void control_awake() { shape_.control_woken.store(false, std::memory_order_release); }
    [[nodiscard]] int control_event() const { return shape_.control_event; }

    [[nodiscard]] std::size_t size() const { return workers_.size(); }
    [[nodiscard]] const std::vector<unsigned>& numbers() const { return numbers_; }
    [[nodiscard]] Worker& worker(std::size_t index) { return *workers_[index]; }
    [[nodiscard]] const Worker& worker(std::size_t index) const { return *workers_[index]; }
    [[nodiscard]] rte_mempool* pool() const { return shape_.pool; }
    // Frames of the control thread that no lcore had room for.
    [[nodiscard]] std::uint64_t control_send_failed() const { return control_send_failed_.value(); }

private:
    Lcores() = default;
    Result<void> make_rings(std::size_t lcores);
    void describe(const LcoreSetup& setup);

    Shape shape_;
    // What lcores begin with.
    FlowSet first_flows_;
    SharedMemory first_shared_;
    std::vector<unsigned> numbers_;
    std::unique_ptr<Grace> grace_;
    std::vector<rte_ring*> rings_;
    std::vector<std::unique_ptr<Worker>> workers_;
    Counter control_send_failed_;
};

}  // namespace sluice::dpdk
