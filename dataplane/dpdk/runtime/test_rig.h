// What tests of lcores share: EAL without hardware, and without hugepages unless a benchmark asks for them, ports that
// are two rings each, an image with a service, routes to its backends; lcores are turned by hand, so that nothing
// depends on time.
#pragma once

#include <gtest/gtest.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

#include <memory>
#include <string>
#include <vector>

#include "bpf/lib/packet_builder.h"
#include "dataplane/dpdk/routing/test_routing.h"
#include "dataplane/dpdk/runtime/eal.h"
#include "dataplane/dpdk/runtime/lcores_internal.h"
#include "dataplane/dpdk/shared/segment.h"
#include "dataplane/image/test_image.h"

namespace sluice::dpdk {

using packets::Bytes;

// memory: EAL's arguments about it; those of the first call count.
inline Eal& test_eal(std::vector<std::string> memory = {"--no-huge", "-m", "256"}) {
    static const auto eal = [&memory] {
        memory.insert(memory.end(), {"--no-pci", "--no-telemetry", "-l", "0", "--file-prefix",
                                     fmt::format("sluice-test-{}", getpid()), "--log-level", "error"});
        return Eal::start(memory);
    }();
    if (!eal) {
        std::fprintf(stderr, "%s\n", eal.error().to_string().c_str());
        std::abort();
    }
    return **eal;
}

// A port whose far end is the test.
class RingPort {
public:
    explicit RingPort(std::uint32_t capacity = 512) {
        test_eal();
        static int number = 0;
        const std::string name = fmt::format("t{}", number++);
        to_ = rte_ring_create((name + "rx").c_str(), capacity, SOCKET_ID_ANY, 0);
        from_ = rte_ring_create((name + "tx").c_str(), capacity, SOCKET_ID_ANY, 0);
        EXPECT_TRUE(to_ != nullptr && from_ != nullptr);
        id_ = rte_eth_from_rings(name.c_str(), &to_, 1, &from_, 1, 0);
        EXPECT_GE(id_, 0);
    }
    ~RingPort() {
        rte_eth_dev_stop(id());
        rte_eth_dev_close(id());
        for (rte_ring* ring : {to_, from_}) {
            void* frame = nullptr;
            while (rte_ring_dequeue(ring, &frame) == 0) rte_pktmbuf_free(static_cast<rte_mbuf*>(frame));
            rte_ring_free(ring);
        }
    }
    RingPort(const RingPort&) = delete;
    RingPort& operator=(const RingPort&) = delete;

    [[nodiscard]] std::uint16_t id() const { return static_cast<std::uint16_t>(id_); }
    // segment_bytes: 0, or the frame comes in pieces of as many bytes.
    void put(rte_mempool* pool, const Bytes& bytes, std::size_t segment_bytes = 0) {
        rte_mbuf* first = nullptr;
        for (std::size_t at = 0; at < bytes.size();) {
            const std::size_t size = segment_bytes == 0 ? bytes.size() : std::min(segment_bytes, bytes.size() - at);
            rte_mbuf* piece = rte_pktmbuf_alloc(pool);
            ASSERT_NE(piece, nullptr);
            std::memcpy(rte_pktmbuf_append(piece, static_cast<std::uint16_t>(size)), bytes.data() + at, size);
            at += size;
            if (first == nullptr) {
                first = piece;
            } else {
                ASSERT_EQ(rte_pktmbuf_chain(first, piece), 0);
            }
        }
        first->port = id();
        ASSERT_EQ(rte_ring_enqueue(to_, first), 0);
    }
    std::vector<Bytes> take() {
        std::vector<Bytes> out;
        void* entry = nullptr;
        while (rte_ring_dequeue(from_, &entry) == 0) {
            auto* frame = static_cast<rte_mbuf*>(entry);
            const auto* data = rte_pktmbuf_mtod(frame, const std::uint8_t*);
            out.emplace_back(data, data + frame->data_len);
            rte_pktmbuf_free(frame);
        }
        return out;
    }

private:
    int id_ = -1;
    rte_ring* to_ = nullptr;
    rte_ring* from_ = nullptr;
};

inline constexpr char kGateway[] = "02:00:00:00:09:09";
inline constexpr char kSender[] = "02:00:00:00:05:05";

// Uplink 0 and pod port 1, each a RingPort; a service 10.96.0.10:80 with the backend 10.0.0.1:8080 beyond the uplink's
// gateway; a client pod 10.244.1.5 behind the pod port.
class Rig {
public:
    explicit Rig(std::size_t count = 1) : image_(node()) {
        image_.upsert(image::service(1, {image::backend(0)},
                                     {image::cluster_ip("10.96.0.10"), image::node_port(30080)}));
        // Its backend is on the uplink's link, and nobody knows it.
        image_.upsert(image::service(2, {image::Backend{image::ip("192.0.2.77"), 8080, false, false, ""}},
                                     {image::cluster_ip("10.96.0.11")}));
        for (RingPort* ring : {&uplink, &pod}) {
            auto port = inspect_port(ring->id(), 0, count);
            EXPECT_TRUE(port) << port.error().to_string();
            ports_.push_back(*port);
        }
        PoolPlan plan = plan_pool(ports_, count, frames_in_rings(count));
        auto pool = make_pool(plan);
        EXPECT_TRUE(pool) << pool.error().to_string();
        pool_ = *pool;
        for (Port& port : ports_) {
            const auto opened = open_port(&port, pool_);
            EXPECT_TRUE(opened) << opened.error().to_string();
        }
        make_forwarding();
        make_lcores(count);
    }
    ~Rig() {
        lcores.reset();
        static_cast<void>(remove_state_directory(directory_));
        rte_mempool_free(pool_);
    }
    Rig(const Rig&) = delete;
    Rig& operator=(const Rig&) = delete;

    // Until nothing is under way.
    void turn() {
        for (std::uint32_t moved = 1; moved != 0;) {
            moved = 0;
            for (std::size_t i = 0; i < lcores->size(); ++i) moved += lcores->worker(i).turn();
        }
    }
    // As it would come in by the port: addressed to it, from the test.
    [[nodiscard]] Bytes framed(Bytes frame, const RingPort& port) const {
        const Mac& to = ports_[&port == &uplink ? 0 : 1].mac;
        std::copy(to.begin(), to.end(), frame.begin());
        const Mac from = mac(kSender);
        std::copy(from.begin(), from.end(), frame.begin() + 6);
        return frame;
    }
    void put(RingPort& port, const packets::Spec& spec) { port.put(pool_, framed(packets::build(spec), port)); }
    [[nodiscard]] rte_mempool* pool() const { return pool_; }
    [[nodiscard]] const image::Tables& tables() const { return image_.tables(); }
    [[nodiscard]] const std::vector<Port>& ports() const { return ports_; }
    [[nodiscard]] std::vector<std::unique_ptr<FlowSegment>>& flows() { return flows_; }
    [[nodiscard]] SharedSegment& shared() { return *shared_; }
    [[nodiscard]] const std::string& directory() const { return directory_; }
    [[nodiscard]] std::size_t buffers_in_use() const { return rte_mempool_in_use_count(pool_); }
    [[nodiscard]] std::uint64_t sum(Counter WorkerCounters::*counter) const {
        std::uint64_t out = 0;
        for (std::size_t i = 0; i < lcores->size(); ++i) out += (lcores->worker(i).counters().*counter).value();
        return out;
    }

    RingPort uplink, pod;
    std::unique_ptr<Lcores> lcores;

private:
    static image::Node node() {
        image::Node out;
        out.nodeport_addresses = {image::ip("192.0.2.1")};
        out.masquerade_v4 = image::ip("192.0.2.1");
        out.cluster_cidrs = {IpPrefix::parse("10.244.0.0/16").value()};
        return out;
    }
    void make_forwarding() {
        Interface up = make_interface("up", uplink.id(), 0, kGateway, {"192.0.2.1/24"});
        Interface tagged = make_interface("up.5", uplink.id(), 5, kGateway, {"198.51.100.1/24"});
        Interface inside = make_interface("pod", pod.id(), 0, kGateway, {});
        inside.place = Place::kPod;
        up.mac = tagged.mac = ports_[0].mac;
        inside.mac = ports_[1].mac;
        interfaces_ = {up, inside, tagged};
        auto made = Forwarding::make(
            interfaces_,
            std::vector<Route>{route("0.0.0.0/0", "192.0.2.9", 0), route("10.244.1.5/32", "", 1)},
            std::vector<Neighbour>{neighbour(0, "192.0.2.9", kGateway), neighbour(1, "10.244.1.5", kSender)}, 1);
        ASSERT_TRUE(made) << made.error().to_string();
        forwarding_ = std::move(*made);
    }
    void make_lcores(std::size_t count) {
        LcoreSetup setup;
        for (unsigned i = 0; i < count; ++i) setup.lcores.push_back(i);
        setup.ports = ports_;
        setup.interfaces = interfaces_;
        setup.pool = pool_;
        static int directory = 0;
        directory_ = fmt::format("/dev/shm/sluice-rig-{}-{}", getpid(), directory++);
        ASSERT_TRUE(make_state_directory(directory_));
        for (std::uint32_t i = 0; i < count; ++i) {
            auto flows = FlowSegment::open_or_create(directory_, i, 1024, 1024, static_cast<std::uint32_t>(count));
            ASSERT_TRUE(flows) << flows.error().to_string();
            setup.flows.push_back((*flows)->memory());
            flows_.push_back(std::move(*flows));
        }
        auto shared = SharedSegment::open_or_create(directory_, 64);
        ASSERT_TRUE(shared) << shared.error().to_string();
        shared_ = std::move(*shared);
        setup.shared = shared_->memory();
        setup.cycles_per_second = test_eal().cycles_per_second();
        auto made = Lcores::make(setup);
        ASSERT_TRUE(made) << made.error().to_string();
        lcores = std::move(*made);
        lcores->publish(&image_.tables());
        lcores->publish(forwarding_.get());
    }

    image::Image image_;
    std::vector<Port> ports_;
    std::vector<Interface> interfaces_;
    rte_mempool* pool_ = nullptr;
    std::unique_ptr<Forwarding> forwarding_;
    std::string directory_;
    std::vector<std::unique_ptr<FlowSegment>> flows_;
    std::unique_ptr<SharedSegment> shared_;
};

}  // namespace sluice::dpdk
