// What a packet costs in the whole of the engine: net_null gives frames, which are stamped from templates as they are
// received, the lcore's loop takes them to their verdicts and net_null swallows them. Beside it in turn the control:
// the same ports, stamps and bursts with nothing but the MAC addresses swapped. Printed as JSON: ns per packet of each
// round, the share of the engine's frames that were sent on, and why the others were not.
//
// usage: dpdk_bench [ROUNDS] [--quick] [--only TEXT]   cases whose name has TEXT
#include <rte_dev.h>
#include <rte_ethdev.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <map>
#include <utility>

#include "api/abi/drop_reasons.h"
#include "dataplane/dpdk/runtime/bench_memory.h"
#include "dataplane/dpdk/runtime/test_rig.h"
#include "dataplane/image/drop_reasons.h"

namespace sluice::dpdk {
namespace {

constexpr std::size_t kStampBytes = 96;
constexpr std::size_t kEthernetBytes = 14;
constexpr std::uint32_t kTableFlows = 1U << 21U;
// With the table half full, some flows of a thousand find no room among others that are established.
constexpr std::uint64_t kMostLostOf = 50;

struct Stamp {
    std::array<std::uint8_t, kStampBytes> bytes{};
};

// The frames that a port receives, over and over.
struct Templates {
    std::vector<Stamp> stamps;
    std::size_t next = 0;
    std::uint16_t length = 0;
    bool fresh = false;  // each frame is of a new client
    std::uint32_t client = 0;
    std::size_t client_at = 0;  // offset of the client's address' last three bytes
    bool v6 = false;
};

// The checksum of an IPv4 header without options.
void check_header(std::uint8_t* ip) {
    std::array<std::uint16_t, 10> words;
    std::memcpy(words.data(), ip, sizeof words);
    words[5] = 0;
    std::uint32_t sum = 0;
    for (const std::uint16_t word : words) sum += word;
    sum = (sum & 0xffff) + (sum >> 16U);
    const auto folded = static_cast<std::uint16_t>(~(sum + (sum >> 16U)));
    std::memcpy(ip + 10, &folded, sizeof folded);
}

std::uint16_t stamp(std::uint16_t, std::uint16_t, rte_mbuf** frames, std::uint16_t count, std::uint16_t, void* of) {
    auto& templates = *static_cast<Templates*>(of);
    for (std::uint16_t i = 0; i < count; ++i) {
        auto* data = rte_pktmbuf_mtod(frames[i], std::uint8_t*);
        std::memcpy(data, templates.stamps[templates.next].bytes.data(), kStampBytes);
        if (++templates.next == templates.stamps.size()) templates.next = 0;
        if (templates.fresh) {
            const std::uint32_t client = ++templates.client * 2654435761U;
            std::memcpy(data + templates.client_at, &client, 3);  // the rest keeps it a host's address
            // What is new is checked; the checksum of UDP is only changed by difference, so it may stay.
            if (!templates.v6) check_header(data + kEthernetBytes);
        }
        frames[i]->data_len = templates.length;
        frames[i]->pkt_len = templates.length;
    }
    return count;
}

// Of this thread alone: a machine that is shared counts for less.
double thread_ns() {
    timespec at{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
    return static_cast<double>(at.tv_sec) * 1e9 + static_cast<double>(at.tv_nsec);
}

std::uint16_t null_port(const char* name) {
    std::uint16_t id = 0;
    SLUICE_ASSERT(rte_dev_probe(name) == 0);
    SLUICE_ASSERT(rte_eth_dev_get_port_by_name(name, &id) == 0);
    return id;
}

// What became of the frames that the engine was measured with.
struct Outcome {
    std::uint64_t received = 0;
    std::uint64_t sent = 0;
    std::map<std::string, std::uint64_t> drops;
};

struct Case {
    std::string name;
    std::size_t flows;
    std::size_t services;
    bool v6;
    bool fresh;
};

class Bench {
public:
    Bench() {
        test_eal(bench_memory_arguments());
        for (const char* name : {"net_null0", "net_null1"}) {
            ports_.push_back(inspect_port(null_port(name), 0, 1).value());
        }
        pool_ = make_pool(plan_pool(ports_, 1, frames_in_rings(1))).value();
        for (Port& port : ports_) SLUICE_ASSERT(open_port(&port, pool_).has_value());
        rte_eth_add_rx_callback(ports_[0].id, 0, stamp, &templates_);
        Interface inside = make_interface("pod", ports_[0].id, 0, kGateway, {});
        Interface up = make_interface("up", ports_[1].id, 0, kGateway, {"192.0.2.1/24", "2001:db8::1/64"});
        inside.place = Place::kPod;
        inside.mac = ports_[0].mac;
        up.mac = ports_[1].mac;
        interfaces_ = {inside, up};
        forwarding_ = Forwarding::make(interfaces_,
                                       std::vector<Route>{route("0.0.0.0/0", "192.0.2.9", 1),
                                                          route("::/0", "2001:db8::9", 1)},
                                       std::vector<Neighbour>{neighbour(1, "192.0.2.9", kGateway),
                                                              neighbour(1, "2001:db8::9", kGateway)},
                                       1)
                          .value();
    }

    void prepare(const Case& of) {
        lcores_.reset();
        for (const Port& port : ports_) rte_eth_stats_reset(port.id);
        image_ = std::make_unique<image::Image>();
        for (std::size_t i = 0; i < of.services; ++i) image_->upsert(service(i, of.v6));
        // As in the images of the engine: each lcore has a row of counters of its own.
        image_->tables().header->flags |= SLUICE_HEADER_OWN_ROWS;
        flows_.clear(0);
        LcoreSetup setup;
        setup.lcores = {0};
        setup.ports = {ports_[0]};  // the other one only sends
        setup.interfaces = interfaces_;
        setup.pool = pool_;
        setup.flows.push_back(flows_.memory(0));
        setup.cycles_per_second = test_eal().cycles_per_second();
        Port silent = ports_[1];
        silent.rx_queues = 0;
        setup.ports.push_back(silent);
        lcores_ = Lcores::make(setup).value();
        lcores_->publish(&image_->tables());
        lcores_->publish(forwarding_.get());
        if (!of.fresh) {
            // Each flow is seen both ways first, as one that is established.
            fill(of, false);
            run(of.flows);
            fill(of, true);
            run(of.flows);
        }
        fill(of, false);
        templates_.fresh = of.fresh;
        outcome_ = {};
        before_ = dropped();
    }

    double engine_ns(std::size_t packets) {
        const std::uint64_t sent = figures_of(ports_[1]).sent;
        const double begun = thread_ns();
        run(packets);
        const double out = per_packet(begun, packets);
        outcome_.received += packets;
        outcome_.sent += figures_of(ports_[1]).sent - sent;
        return out;
    }
    double control_ns(std::size_t packets) {
        std::array<rte_mbuf*, kMaxBurst> frames;
        const double begun = thread_ns();
        for (std::size_t done = 0; done < packets;) {
            const std::uint16_t count = rte_eth_rx_burst(ports_[0].id, 0, frames.data(), kMaxBurst);
            for (std::uint16_t i = 0; i < count; ++i) {
                auto* data = rte_pktmbuf_mtod(frames[i], std::uint8_t*);
                std::array<std::uint8_t, 6> mac;
                std::memcpy(mac.data(), data, 6);
                std::memcpy(data, data + 6, 6);
                std::memcpy(data + 6, mac.data(), 6);
            }
            rte_eth_tx_burst(ports_[1].id, 0, frames.data(), count);
            done += count;
        }
        return per_packet(begun, packets);
    }
    // Of the engine's frames since prepare(); the bench's control has no share in it.
    [[nodiscard]] Outcome outcome() const {
        Outcome out = outcome_;
        for (const auto& [name, count] : dropped()) {
            if (count != before_.at(name)) out.drops[name] = count - before_.at(name);
        }
        return out;
    }

private:
    static image::Service service(std::size_t number, bool v6) {
        image::Service out;
        out.key = {fmt::format("default/s{}", number), "http", Protocol::kUdp, v6 ? IpFamily::kIpv6 : IpFamily::kIpv4};
        out.port = 80;
        out.internal.backends = {image::Backend{backend_of(v6), 8080, false, false, ""}};
        out.frontends = {image::cluster_ip(frontend_of(number, v6))};
        return out;
    }
    static std::string frontend_of(std::size_t number, bool v6) {
        return v6 ? fmt::format("fd00:10:96::{:x}:{:x}", number >> 16U, number & 0xffff)
                  : fmt::format("10.{}.{}.{}", 96 + (number >> 16U), number >> 8U & 0xff, number & 0xff);
    }
    static IpAddress backend_of(bool v6) { return image::ip(v6 ? "fd00:77::1" : "10.77.0.1"); }

    // answers: what backends send, else what clients do.
    void fill(const Case& of, bool answers) {
        const std::size_t count = of.fresh ? 1 : of.flows;
        templates_ = {};
        templates_.v6 = of.v6;
        templates_.client_at = kEthernetBytes + (of.v6 ? 8 + 13 : 13);
        for (std::size_t i = 0; i < count; ++i) {
            packets::Spec spec;
            spec.protocol = 17;
            spec.payload = "sixteen bytes...";
            spec.src = of.v6 ? fmt::format("fd00:55::{:x}:{:x}", i >> 16U, i & 0xffff)
                             : fmt::format("11.{}.{}.{}", i >> 16U & 0xff, i >> 8U & 0xff, i & 0xff);
            spec.dst = frontend_of(i % of.services, of.v6);
            spec.sport = 40000;
            spec.dport = 80;
            if (answers) {
                spec.dst = std::exchange(spec.src, backend_of(of.v6).to_string());
                spec.dport = std::exchange(spec.sport, std::uint16_t{8080});
            }
            Bytes frame = packets::build(spec);
            templates_.length = static_cast<std::uint16_t>(frame.size());
            std::copy(ports_[0].mac.begin(), ports_[0].mac.end(), frame.begin());
            frame.resize(kStampBytes);
            Stamp stamp_of;
            std::copy(frame.begin(), frame.end(), stamp_of.bytes.begin());
            templates_.stamps.push_back(stamp_of);
        }
    }
    // REQUIRES: packets is a multiple of a burst, which net_null always gives in full.
    void run(std::size_t packets) {
        for (std::size_t done = 0; done < packets;) done += lcores_->worker(0).turn();
    }
    // All that has been dropped, by name.
    [[nodiscard]] std::map<std::string, std::uint64_t> dropped() const {
        const WorkerCounters& counters = lcores_->worker(0).counters();
        std::map<std::string, std::uint64_t> out{{"lcore_send_failed", counters.send_failed.value()},
                                                 {"lcore_control_failed", counters.control_failed.value()},
                                                 {"lcore_no_exception", counters.no_exception.value()},
                                                 {"lcore_foreign", counters.foreign.value()}};
        for (std::uint32_t reason = SLUICE_DROP_NONE + 1; reason < SLUICE_DROP_REASON_COUNT; ++reason) {
            out[image::drop_name(reason)] = image::sum_drops(image_->tables(), reason);
        }
        return out;
    }
    static double per_packet(double begun, std::size_t packets) {
        return (thread_ns() - begun) / static_cast<double>(packets);
    }

    std::vector<Port> ports_;
    std::vector<Interface> interfaces_;
    rte_mempool* pool_ = nullptr;
    Templates templates_;
    std::unique_ptr<Forwarding> forwarding_;
    std::unique_ptr<image::Image> image_;
    BenchFlows flows_{1, kTableFlows, kTableFlows};
    std::unique_ptr<Lcores> lcores_;
    Outcome outcome_;
    std::map<std::string, std::uint64_t> before_;
};

// {"sent":0.98,"drops":{"flow_table_full":1234}}, without the braces.
std::string text_of(const Outcome& outcome) {
    std::string drops;
    for (const auto& [name, count] : outcome.drops) {
        drops += fmt::format("{}\"{}\":{}", drops.empty() ? "" : ",", name, count);
    }
    return fmt::format("\"sent\":{:.6f},\"drops\":{{{}}}",
                       static_cast<double>(outcome.sent) / static_cast<double>(outcome.received), drops);
}

// {"cases":{"NAT established, 64k flows, 1 services, IPv4":{"engine":[ns...],"control":[ns...],"sent":1,"drops":{}}},...}
int measure(int rounds, bool quick, const char* only) {
    std::vector<Case> cases;
    for (const bool v6 : {false, true}) {
        const char* family = v6 ? "IPv6" : "IPv4";
        for (const std::size_t flows : {std::size_t{1}, std::size_t{65536}, std::size_t{1} << 20U}) {
            if (quick && flows > 65536) continue;
            cases.push_back({fmt::format("NAT established, {} flows, 1 service, {}", flows, family), flows, 1, v6, false});
        }
        for (const std::size_t services : {std::size_t{10000}, std::size_t{50000}}) {
            if (quick) continue;
            cases.push_back({fmt::format("NAT established, 65536 flows, {} services, {}", services, family), 65536,
                             services, v6, false});
        }
        cases.push_back({fmt::format("NAT new flow, {}", family), 1, 1, v6, true});
    }
    const std::size_t packets = quick ? 1U << 18U : 1U << 21U;
    Bench bench;
    std::string out = fmt::format("{{\"memory\":\"{}\",\"cases\":{{", test_eal().memory());
    for (const Case& of : cases) {
        if (of.name.find(only) == std::string::npos) continue;
        bench.prepare(of);
        std::string engine, control;
        for (int round = 0; round < rounds; ++round) {
            const char* comma = round == 0 ? "" : ",";
            engine += fmt::format("{}{:.2f}", comma, bench.engine_ns(packets));
            control += fmt::format("{}{:.2f}", comma, bench.control_ns(packets));
        }
        const Outcome outcome = bench.outcome();
        out += fmt::format("{}\"{}\":{{\"engine\":[{}],\"control\":[{}],{}}}", out.back() == '{' ? "" : ",", of.name,
                           engine, control, text_of(outcome));
        const auto least = of.flows < kTableFlows / 4 ? outcome.received
                                                      : outcome.received - outcome.received / kMostLostOf;
        if (outcome.sent < least) {
            std::fprintf(stderr, "dpdk_bench: %s: too few of the frames were sent: %s\n", of.name.c_str(),
                         text_of(outcome).c_str());
            return 1;
        }
    }
    std::printf("%s}}\n", out.c_str());
    return 0;
}

}  // namespace
}  // namespace sluice::dpdk

int main(int argc, char** argv) {
    int rounds = 5;
    bool quick = false;
    const char* only = "";
    for (int i = 1; i < argc; ++i) {
        if (std::strcmp(argv[i], "--quick") == 0) {
            quick = true;
        } else if (std::strcmp(argv[i], "--only") == 0 && i + 1 < argc) {
            only = argv[++i];
        } else if (rounds = std::atoi(argv[i]); rounds < 1 || rounds > 100) {
            std::fputs("usage: dpdk_bench [ROUNDS] [--quick] [--only TEXT]\n", stderr);
            return 2;
        }
    }
    return sluice::dpdk::measure(rounds, quick, only);
}
