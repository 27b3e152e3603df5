// A small world for tests and measurements of the pipeline: an image, routes, memory, and one pipeline a lcore.
//
//   interface 0  uplink      192.0.2.1, 2001:db8::1    other nodes' pods 10.244.2.0/24 fd02::/64; outside
//                                                      198.51.100.0/24, 2001:db8:1::/64, all by a gateway (0, 1)
//   interface 1  VLAN 100    192.0.3.1, 2001:db8:3::1  10.244.3.0/24 fd03::/64 by a gateway (2, 3)
//   interface 2  pods        10.244.1.1, fd01::1       10.244.1.5, 10.244.1.9, fd01::5, fd01::9 are there (4 to 7)
//   interface 3  MTU 1280    192.0.4.1, 2001:db8:4::1  10.244.4.0/24 fd04::/64 by a gateway (8, 9)
//   10.244.5.0/24 fd05::/64 are behind a gateway of interface 0 that has not answered (10, 11); there is no route to
//   10.244.6.0/24 and fd06::/64. The numbers are those of neighbours.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

// clang-format off: the views must come before what uses them.
#include "bpf/lib/view_memory.h"
#include "bpf/lib/flow_memory.h"
#include "bpf/lib/flow.h"
// clang-format on

#include "bpf/lib/packet_builder.h"
#include "dataplane/dpdk/pipeline/datagrams.h"
#include "dataplane/dpdk/pipeline/pipeline.h"
#include "dataplane/image/publisher.h"

namespace sluice::dpdk {

using packets::Bytes;
using packets::Spec;

inline constexpr std::uint16_t kUplink = 0, kTagged = 1, kPods = 2, kNarrow = 3;
inline constexpr std::uint16_t kTag = 100;

inline IpAddress ip_of(std::string_view text) {
    return IpAddress::parse(text).value();
}
// What tests build is valid; else they end here.
template <class T>
T must(Result<T> result) {
    if (!result) {
        std::fprintf(stderr, "%s\n", result.error().to_string().c_str());
        std::abort();
    }
    if constexpr (!std::is_void_v<T>) return std::move(*result);
}

inline image::Node world_node(bool detect_local = true) {
    image::Node node;
    node.nodeport_addresses = {ip_of("192.0.2.1"), ip_of("2001:db8::1")};
    node.masquerade_v4 = ip_of("192.0.2.1");
    node.masquerade_v6 = ip_of("2001:db8::1");
    node.service_cidrs = {IpPrefix::parse("10.96.0.0/16").value(), IpPrefix::parse("fd00::/112").value()};
    if (detect_local) {
        node.cluster_cidrs = {IpPrefix::parse("10.244.0.0/16").value()};
        for (const char* pods : {"fd01::/64", "fd02::/64", "fd03::/64", "fd04::/64", "fd05::/64", "fd06::/64"}) {
            node.cluster_cidrs.push_back(IpPrefix::parse(pods).value());
        }
    }
    return node;
}

inline Interface world_interface(const char* name, std::uint16_t port, std::uint16_t vlan, Place place,
                                 std::uint16_t mtu, const char* v4, const char* v6, std::uint8_t number) {
    Interface out;
    out.name = name;
    out.port = port;
    out.vlan = vlan;
    out.place = place;
    out.mtu = mtu;
    out.mac = {2, 0, 0, 0, 1, number};
    out.addresses = {{ip_of(v4), 24}, {ip_of(v6), 64}};
    return out;
}

inline std::unique_ptr<Forwarding> world_routes(std::uint64_t generation = 1) {
    std::vector<Interface> interfaces = {
        world_interface("uplink", 0, 0, Place::kUplink, 1500, "192.0.2.1", "2001:db8::1", 0),
        world_interface("tagged", 0, kTag, Place::kUplink, 1500, "192.0.3.1", "2001:db8:3::1", 1),
        world_interface("pods", 1, 0, Place::kPod, 1500, "10.244.1.1", "fd01::1", 2),
        world_interface("narrow", 2, 0, Place::kUplink, 1280, "192.0.4.1", "2001:db8:4::1", 3)};
    std::vector<Route> routes;
    const auto route = [&](const char* prefix, const char* gateway, std::uint16_t out) {
        routes.push_back({IpPrefix::parse(prefix).value(), ip_of(gateway), out, 0});
    };
    for (const char* prefix : {"10.244.2.0/24", "198.51.100.0/24", "198.18.0.0/15"})
        route(prefix, "192.0.2.2", kUplink);
    for (const char* prefix : {"fd02::/64", "2001:db8:1::/64"}) route(prefix, "2001:db8::2", kUplink);
    route("10.244.3.0/24", "192.0.3.2", kTagged);
    route("fd03::/64", "2001:db8:3::2", kTagged);
    route("10.244.4.0/24", "192.0.4.2", kNarrow);
    route("fd04::/64", "2001:db8:4::2", kNarrow);
    route("10.244.5.0/24", "192.0.2.5", kUplink);
    route("fd05::/64", "2001:db8::5", kUplink);
    std::vector<Neighbour> neighbours;
    const auto neighbour = [&](std::uint16_t out, const char* at, bool resolved) {
        neighbours.push_back(
            {out, ip_of(at), Mac{2, 0, 0, 0, 2, static_cast<std::uint8_t>(neighbours.size())}, resolved});
    };
    neighbour(kUplink, "192.0.2.2", true);
    neighbour(kUplink, "2001:db8::2", true);
    neighbour(kTagged, "192.0.3.2", true);
    neighbour(kTagged, "2001:db8:3::2", true);
    neighbour(kPods, "10.244.1.5", true);
    neighbour(kPods, "10.244.1.9", true);
    neighbour(kPods, "fd01::5", true);
    neighbour(kPods, "fd01::9", true);
    neighbour(kNarrow, "192.0.4.2", true);
    neighbour(kNarrow, "2001:db8:4::2", true);
    neighbour(kUplink, "192.0.2.5", false);
    neighbour(kUplink, "2001:db8::5", false);
    return must(Forwarding::make(interfaces, routes, neighbours, generation));
}

// What became of a frame.
struct Outcome {
    Verdict verdict = Verdict::kDrop;
    std::uint8_t reason = 0;
    std::uint16_t out = 0;
    std::uint32_t neighbour = 0;
    Bytes frame;
    packets::View view;  // of frame
};

class World {
public:
    explicit World(std::uint32_t lcores = 1, const image::Node& node = world_node(), std::uint32_t flows = 1U << 12U,
                   image::Capacities capacities = roomy())
        : image_(capacities),
          lanes_(lcores),
          affinity_(SLUICE_AFFINITY_BUCKETS(4096)),
          datagrams_(SLUICE_DATAGRAM_SETS) {
        must(image::write_header(image_.tables(), capacities, {node, 1024, 29999, 0x9e3779b97f4a7c15ULL, 8}, 2));
        publisher_ = std::make_unique<image::Publisher>(image_.tables(), image::Carried{});
        must(publisher_->set_node_addresses(node.nodeport_addresses));
        affinity_config_.bucket_count = static_cast<__u32>(affinity_.size());
        affinity_config_.seed = 77;
        routes_ = world_routes();
        for (std::uint32_t i = 0; i < lcores; ++i) {
            Lane& lane = lanes_[i];
            lane.own.resize(SLUICE_FLOW_BUCKETS(flows));
            attach(i);
        }
    }
    // An lcore anew, with the flows that it had.
    void attach(std::uint32_t lcore, const EventMemory& events = {}) {
        Lane& lane = lanes_[lcore];
        const auto lcores = static_cast<std::uint32_t>(lanes_.size());
        lane.pipeline = Pipeline::make({lcore, lcores, 12345 + lcore}, memory(lcore), shared(), events);
        lane.pipeline->use(image_.tables());
        lane.pipeline->use(routes_.get());
    }
    static image::Capacities roomy() {
        image::Capacities out;
        out.counter_rows = 8;
        out.ring_lines = 1024;
        return out;
    }

    Outcome run(const Bytes& bytes, std::uint16_t interface, bool from_kernel = false, std::uint32_t lcore = 0) {
        return run_burst({bytes}, interface, from_kernel, lcore).front();
    }
    Outcome run(const Spec& spec, std::uint16_t interface, bool from_kernel = false) {
        return run(packets::build(spec), interface, from_kernel);
    }
    // Each frame in memory of its size and some room around it, so that a sanitizer sees what is read beside it.
    std::vector<Outcome> run_burst(const std::vector<Bytes>& bursts, std::uint16_t interface,
                                   bool from_kernel = false, std::uint32_t lcore = 0) {
        std::vector<Bytes> memory;
        std::vector<Frame> frames(bursts.size());
        for (std::size_t i = 0; i < bursts.size(); ++i) {
            memory.emplace_back(headroom + bursts[i].size() + tailroom);
            memory[i].shrink_to_fit();
            std::memcpy(memory[i].data() + headroom, bursts[i].data(), bursts[i].size());
            frames[i].data = memory[i].data() + headroom;
            frames[i].length = static_cast<std::uint32_t>(bursts[i].size());
            frames[i].headroom = headroom;
            frames[i].tailroom = tailroom;
            frames[i].interface = interface;
            frames[i].from_kernel = from_kernel;
        }
        lanes_[lcore].pipeline->process(frames, now);
        std::vector<Outcome> out(frames.size());
        for (std::size_t i = 0; i < frames.size(); ++i) {
            const Frame& frame = frames[i];
            out[i] = {frame.verdict,
                      frame.reason,
                      frame.out,
                      frame.neighbour,
                      Bytes(frame.data, frame.data + frame.length),
                      {}};
            // The reader is for what has all its headers.
            sluice_packet packet{};
            const int parsed = sluice_parse_frame(frame.data, frame.data + frame.length, frame.length, &packet);
            if (parsed == SLUICE_PARSE_OK || parsed == SLUICE_PARSE_NO_PORTS)
                out[i].view = packets::read(out[i].frame);
        }
        return out;
    }

    void upsert(const image::Service& service) { must(publisher_->upsert(service)); }
    void remove(const image::ServiceKey& key) {
        must(publisher_->remove(key));
        publisher_->release(publisher_->take_retired());
    }

    [[nodiscard]] FlowMemory memory(std::uint32_t lcore) {
        Lane& lane = lanes_[lcore];
        if (lane.mode == SLUICE_FLOW_MOVE) return {lane.larger.table(), lane.own.table(), lane.mode};
        return {lane.own.table(), lane.larger.table(), lane.mode};
    }
    // A table of twice the size beside the lcore's own, and what is done with the two.
    void grow(std::uint32_t lcore, sluice_flow_mode mode) {
        Lane& lane = lanes_[lcore];
        if (lane.larger.buckets4.empty()) {
            lane.larger.resize(lane.own.config.bucket_count4 * 2);
            lane.larger.config.seed = lane.own.config.seed;
        }
        lane.mode = mode;
        lane.pipeline->use(memory(lcore));
    }
    // The smaller one goes, with what is left in it.
    void end_growth(std::uint32_t lcore) {
        Lane& lane = lanes_[lcore];
        lane.own = std::move(lane.larger);
        lane.larger = {};
        lane.mode = SLUICE_FLOW_ALONE;
        lane.pipeline->use(memory(lcore));
    }
    [[nodiscard]] SharedMemory shared() { return {&affinity_config_, affinity_.data(), datagrams_.data()}; }
    [[nodiscard]] const image::Tables& tables() const { return image_.tables(); }
    [[nodiscard]] const Forwarding* routes() const { return routes_.get(); }
    [[nodiscard]] Pipeline& pipeline(std::uint32_t lcore = 0) { return *lanes_[lcore].pipeline; }
    [[nodiscard]] std::uint64_t drops(std::uint32_t reason) const { return image::sum_drops(tables(), reason); }
    [[nodiscard]] sluice_backend_counters served() const {
        sluice_backend_counters sum{};
        for (std::uint32_t i = 0; i < tables().header->backend_capacity; ++i) {
            const sluice_backend_counters one = image::sum_served(tables(), i);
            sum.connections += one.connections;
            sum.packets += one.packets;
            sum.bytes += one.bytes;
        }
        return sum;
    }

    Now now{1000, 5000};
    std::uint16_t headroom = 128;
    std::uint16_t tailroom = 128;

private:
    struct Table {
        sluice_flow_config config{};
        std::vector<sluice_flow_bucket4> buckets4;
        std::vector<sluice_flow_bucket6> buckets6;

        void resize(std::uint32_t buckets) {
            buckets4.resize(buckets);
            buckets6.resize(buckets);
            config.bucket_count4 = config.bucket_count6 = buckets;
        }
        [[nodiscard]] FlowTable table() { return {&config, buckets4.data(), buckets6.data()}; }
    };
    struct Lane {
        Table own;
        Table larger;
        sluice_flow_mode mode = SLUICE_FLOW_ALONE;
        std::unique_ptr<Pipeline> pipeline;
    };
    image::MemoryImage image_;
    std::unique_ptr<image::Publisher> publisher_;
    std::unique_ptr<Forwarding> routes_;
    std::vector<Lane> lanes_;
    sluice_affinity_config affinity_config_{};
    std::vector<sluice_affinity_bucket> affinity_;
    std::vector<sluice_datagram_set> datagrams_;
};

}  // namespace sluice::dpdk
