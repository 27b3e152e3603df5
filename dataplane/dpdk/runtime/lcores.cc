#include <rte_errno.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "dataplane/dpdk/runtime/lcores_internal.h"

namespace sluice::dpdk {
namespace {

constexpr std::uint64_t kGolden = 0x9e3779b97f4a7c15ULL;

std::uint64_t mac_word(const Mac& mac) {
    std::uint64_t word = 0;
    std::memcpy(&word, mac.data(), mac.size());
    return word;
}

Result<rte_ring*> make_ring(const std::string& what, std::uint32_t frames, unsigned flags) {
    static std::atomic<unsigned> number{0};
    const std::string name = fmt::format("sluice_{}_{}", what, number.fetch_add(1));
    rte_ring* ring = rte_ring_create(name.c_str(), frames, SOCKET_ID_ANY, flags);
    if (ring == nullptr) {
        return make_error(Code::kResourceExhausted, "no memory for a ring of {} frames: {}", frames,
                          rte_strerror(rte_errno));
    }
    return ring;
}

void drain(rte_ring* ring) {
    void* frame = nullptr;
    while (rte_ring_dequeue(ring, &frame) == 0) rte_pktmbuf_free(static_cast<rte_mbuf*>(frame));
}

}  // namespace

std::uint32_t frames_in_rings(std::size_t lcores) {
    return static_cast<std::uint32_t>(lcores * (kInboxFrames + kOutgoingFrames)) + kControlFrames;
}

Result<std::unique_ptr<Lcores>> Lcores::make(const LcoreSetup& setup) {
    const std::size_t lcores = setup.lcores.size();
    if (lcores == 0 || lcores > kMaxLcores) {
        return make_error(Code::kInvalidArgument, "-l: {} lcores are not 1 to {}", lcores, kMaxLcores);
    }
    std::unique_ptr<Lcores> out(new Lcores());
    out->numbers_ = setup.lcores;
    SLUICE_TRY_ASSIGN(out->grace_, Grace::make(lcores));
    out->shape_.grace = out->grace_->variable();
    out->shape_.workers.resize(lcores);
    out->describe(setup);
    SLUICE_TRY(out->make_rings(lcores));
    for (std::size_t i = 0; i < lcores; ++i) {
        const auto index = static_cast<std::uint32_t>(i);
        auto pipeline = Pipeline::make(
            {index, static_cast<std::uint32_t>(lcores), (setup.random_seed + index * kGolden) | 1U}, setup.flows[i],
            setup.shared, setup.events.empty() ? EventMemory{} : setup.events[i]);
        out->workers_.push_back(std::make_unique<Worker>(out->shape_, index, std::move(pipeline), out->rings_[2 * i],
                                                         out->rings_[2 * i + 1]));
        out->shape_.workers[i] = out->workers_.back().get();
    }
    for (const Port& port : setup.ports) {
        for (std::uint16_t queue = 0; queue < port.rx_queues; ++queue) {
            out->workers_[lcore_of_queue(port.id, queue, lcores)]->receive_from(port.id, queue);
        }
    }
    return out;
}

// Rings 2n and 2n+1 are lcore n's inbox and outgoing ring, the last one is the control thread's.
Result<void> Lcores::make_rings(std::size_t lcores) {
    for (std::size_t i = 0; i < lcores; ++i) {
        SLUICE_TRY_ASSIGN(rte_ring * inbox, make_ring("inbox", kInboxFrames, RING_F_SC_DEQ));
        rings_.push_back(inbox);
        SLUICE_TRY_ASSIGN(rte_ring * outgoing, make_ring("outgoing", kOutgoingFrames, RING_F_SC_DEQ));
        rings_.push_back(outgoing);
    }
    SLUICE_TRY_ASSIGN(shape_.control, make_ring("control", kControlFrames, RING_F_SC_DEQ));
    rings_.push_back(shape_.control);
    shape_.control_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (shape_.control_event < 0) return errno_error(errno, "an event to wake the control thread by");
    return {};
}

void Lcores::describe(const LcoreSetup& setup) {
    shape_.pool = setup.pool;
    first_shared_ = setup.shared;
    first_flows_ = setup.flows;
    publish(&first_shared_);
    publish(&first_flows_);
    shape_.cycles_per_second = setup.cycles_per_second;
    shape_.idle_sleep_us = setup.idle_sleep_us;
    shape_.port_of.fill(kMaxPorts - 1);
    for (const Port& port : setup.ports) {
        PortShape& shape = shape_.ports[port.id];
        shape.mac = mac_word(port.mac);
        shape.tx_queues = port.tx_queues;
        shape.exception = port.exception;
        shape.rx_checksum = port.rx_checksum;
        shape.twin = port.twin.value_or(kNoPort);
        if (port.exception && shape_.kernel_port == kNoPort) shape_.kernel_port = port.id;
    }
    for (std::size_t i = 0; i < setup.interfaces.size(); ++i) {
        const Interface& interface = setup.interfaces[i];
        shape_.port_of[i] = interface.port;
        if (interface.vlan != 0) continue;
        PortShape& shape = shape_.ports[interface.port];
        shape.untagged = static_cast<std::uint16_t>(i);
        if (shape.twin != kNoPort) shape_.ports[shape.twin].untagged = static_cast<std::uint16_t>(i);
    }
}

Lcores::~Lcores() {
    for (rte_ring* ring : rings_) {
        drain(ring);
        rte_ring_free(ring);
    }
    if (shape_.control_event >= 0) ::close(shape_.control_event);
}

Result<void> Lcores::run() {
    const auto on_lcore = [](void* self) {
        auto& lcores = *static_cast<Lcores*>(self);
        const auto found = std::find(lcores.numbers_.begin(), lcores.numbers_.end(), rte_lcore_id());
        lcores.workers_[static_cast<std::size_t>(found - lcores.numbers_.begin())]->run();
        return 0;
    };
    for (std::size_t i = 1; i < numbers_.size(); ++i) {
        if (const int answer = rte_eal_remote_launch(on_lcore, this, numbers_[i]); answer != 0) {
            stop();
            rte_eal_mp_wait_lcore();
            return errno_error(-answer, "lcore {} does not start", numbers_[i]);
        }
    }
    on_lcore(this);
    rte_eal_mp_wait_lcore();
    return {};
}

void Lcores::stop() {
    shape_.stop.store(true, std::memory_order_relaxed);
}
void Lcores::publish(const image::Tables* tables) {
    shape_.tables.publish(tables);
}
void Lcores::publish(const Forwarding* forwarding) {
    shape_.forwarding.publish(forwarding);
}
void Lcores::publish(Capture* capture) {
    shape_.capture.store(capture, std::memory_order_release);
}
std::uint64_t Lcores::publish(const FlowSet* flows) {
    SLUICE_ASSERT(flows->size() == shape_.workers.size());
    return shape_.flows.publish(flows);
}
void Lcores::publish(const SharedMemory* shared) {
    shape_.shared.publish(shared);
}
void Lcores::set_draining(bool draining) {
    shape_.draining.store(draining, std::memory_order_release);
}

std::uint32_t Lcores::take_control(rte_mbuf** frames, std::uint32_t most) {
    return rte_ring_sc_dequeue_burst(shape_.control, reinterpret_cast<void**>(frames), most, nullptr);
}

bool Lcores::send(std::uint16_t port, rte_mbuf* frame) {
    frame->port = port;
    if (rte_ring_mp_enqueue(workers_[0]->outgoing(), frame) == 0) return true;
    control_send_failed_.add(1);
    return false;
}

}  // namespace sluice::dpdk
