// What a second lcore adds, and what publishing takes away: rates of lcores on net_null, in millions of packets
// a second of the lcores' own processor time, so that others who use the machine count for less. Everything in
// turn in one process: one lcore, two that the port spreads frames to, two of which each receives everybody's,
// and the same number of threads that only swap MACs; then a lcore alone beside one whose services change a
// thousand times a second.
//
// Each frame that leaves is checked: an endpoint that its service does not have (any more) is a mis-steered packet.
//
// usage: lcores_bench [ROUNDS]
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <pthread.h>
#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_ethdev.h>
#include <rte_launch.h>
#include <sched.h>

#include <cstdio>
#include <cstring>
#include <functional>
#include <thread>
#include <utility>

#include "dataplane/dpdk/runtime/bench_memory.h"
#include "dataplane/dpdk/runtime/test_rig.h"

namespace sluice::dpdk {
namespace {

constexpr std::size_t kStampBytes = 64;
constexpr std::uint32_t kFlows = 1024;        // established, of services that do not change
constexpr std::uint32_t kSteady = 64;         // such services
constexpr std::uint32_t kChanging = 16;       // services whose endpoints change
constexpr std::uint32_t kNewEvery = 32;       // one frame in so many is for one of those
constexpr std::uint32_t kTableFlows = 1U << 18U;
constexpr std::uint32_t kWindowMs = 100;
constexpr std::uint32_t kWarmTurns = 2 * kFlows / kMaxBurst + 2;
constexpr std::size_t kIp = 14;

using Stamp = std::array<std::uint8_t, kStampBytes>;

// The frames that a queue receives, over and over.
struct Source {
    std::vector<Stamp> stamps;
    std::vector<Stamp> changing;  // in between, each with another client's port
    std::size_t next = 0;
    std::size_t next_changing = 0;
    std::uint32_t until_new = kNewEvery;
    std::uint16_t port = 1024;
    std::uint16_t length = 0;
};

// What leaves, checked. allowed: by changing service, a bit for each of its endpoints that a packet may go to.
struct Check {
    std::array<std::atomic<std::uint32_t>, kChanging> allowed{};
    std::atomic<std::uint64_t> wrong{0};
};

std::uint16_t stamp(std::uint16_t, std::uint16_t, rte_mbuf** frames, std::uint16_t count, std::uint16_t, void* of) {
    auto& source = *static_cast<Source*>(of);
    for (std::uint16_t i = 0; i < count; ++i) {
        auto* data = rte_pktmbuf_mtod(frames[i], std::uint8_t*);
        if (!source.changing.empty() && --source.until_new == 0) {
            source.until_new = kNewEvery;
            std::memcpy(data, source.changing[source.next_changing].data(), kStampBytes);
            if (++source.next_changing == source.changing.size()) source.next_changing = 0;
            if (++source.port < 1024) source.port = 1024;
            data[kIp + 20] = static_cast<std::uint8_t>(source.port >> 8U);
            data[kIp + 21] = static_cast<std::uint8_t>(source.port);
        } else {
            std::memcpy(data, source.stamps[source.next].data(), kStampBytes);
            if (++source.next == source.stamps.size()) source.next = 0;
        }
        frames[i]->data_len = source.length;
        frames[i]->pkt_len = source.length;
    }
    return count;
}

// Clients of steady service s are 11.s.x.y and its endpoint 10.77.s.1; of changing ones 12.s.x.y and 10.78.s.1 to 4.
std::uint16_t look(std::uint16_t, std::uint16_t, rte_mbuf** frames, std::uint16_t count, void* of) {
    auto& check = *static_cast<Check*>(of);
    std::uint64_t wrong = 0;
    for (std::uint16_t i = 0; i < count; ++i) {
        const auto* ip = rte_pktmbuf_mtod(frames[i], const std::uint8_t*) + kIp;
        const std::uint8_t service = ip[13];
        const bool port = ip[22] == (8080 >> 8) && ip[23] == (8080 & 0xff);
        bool right = port && ip[16] == 10 && ip[18] == service;
        if (ip[12] == 12) {
            const std::uint32_t bits = check.allowed[service % kChanging].load(std::memory_order_acquire);
            right = right && ip[17] == 78 && (bits >> ip[19] & 1U) != 0;
        } else {
            right = right && ip[17] == 77 && ip[19] == 1;
        }
        wrong += right ? 0 : 1;
    }
    if (wrong != 0) check.wrong.fetch_add(wrong, std::memory_order_relaxed);
    return count;
}

// What a bench needs is there, or it ends here and says what is not.
template <class T>
T must(Result<T> result) {
    if (!result) {
        std::fprintf(stderr, "lcores_bench: %s\n", result.error().to_string().c_str());
        std::exit(1);
    }
    return std::move(*result);
}

double seconds_of(clockid_t clock) {
    timespec at{};
    clock_gettime(clock, &at);
    return static_cast<double>(at.tv_sec) + static_cast<double>(at.tv_nsec) * 1e-9;
}

image::Service service(std::uint32_t number, bool changing, std::uint32_t first, std::uint32_t last) {
    image::Service out;
    out.key = {fmt::format("default/{}{}", changing ? "c" : "s", number), "", Protocol::kUdp, IpFamily::kIpv4};
    out.port = 80;
    for (std::uint32_t i = first; i <= last; ++i) {
        const std::string at = fmt::format("10.{}.{}.{}", changing ? 78 : 77, number, i);
        out.internal.backends.push_back(image::Backend{image::ip(at), 8080, false, false, ""});
    }
    out.frontends = {image::cluster_ip(fmt::format("10.96.{}.{}", changing ? 1 : 0, number))};
    return out;
}

// Endpoints 1 and 2, or 3 and 4; and their bits.
image::Service changed(std::uint32_t number, bool odd) {
    return service(number, true, odd ? 3 : 1, odd ? 4 : 2);
}
std::uint32_t bits_of(bool odd) {
    return odd ? 3U << 3U : 3U << 1U;
}

image::Capacities roomy() {
    image::Capacities out;
    out.buckets = 1024;
    out.frontends = 4096;
    out.services = 1024;
    out.set_slots = 1U << 16U;
    out.backends = 1U << 14U;
    out.name_bytes = 1U << 16U;
    out.counter_rows = 2;
    return out;
}

class Bench {
public:
    explicit Bench(const Eal& eal) : numbers_(eal.lcores()), cycles_(eal.cycles_per_second()), image_({}, roomy()) {
        for (const char* name : {"net_null0", "net_null1"}) {
            std::uint16_t id = 0;
            SLUICE_ASSERT(rte_dev_probe(name) == 0 && rte_eth_dev_get_port_by_name(name, &id) == 0);
            ports_.push_back(must(inspect_port(id, 0, kMost)));
        }
        pool_ = must(make_pool(plan_pool(ports_, kMost, frames_in_rings(kMost))));
        for (Port& port : ports_) SLUICE_ASSERT(open_port(&port, pool_).has_value());
        for (std::uint16_t queue = 0; queue < kMost; ++queue) {
            rte_eth_add_rx_callback(ports_[0].id, queue, stamp, &sources_[queue]);
            rte_eth_add_tx_callback(ports_[1].id, queue, look, &check_);
        }
        Interface inside = make_interface("pod", ports_[0].id, 0, kGateway, {});
        Interface up = make_interface("up", ports_[1].id, 0, kGateway, {"192.0.2.1/24"});
        inside.place = Place::kPod;
        interfaces_ = {inside, up};
        forwarding_ = must(Forwarding::make(interfaces_, std::vector<Route>{route("0.0.0.0/0", "192.0.2.9", 1)},
                                            std::vector<Neighbour>{neighbour(1, "192.0.2.9", kGateway)}, 1));
        // As in the images of the engine: each lcore has a row of counters of its own.
        image_.tables().header->flags |= SLUICE_HEADER_OWN_ROWS;
        for (std::uint32_t i = 0; i < kSteady; ++i) image_.upsert(service(i, false, 1, 1));
        for (std::uint32_t i = 0; i < kChanging; ++i) {
            image_.upsert(changed(i, false));
            check_.allowed[i] = bits_of(false);
        }
    }

    // first: which of EAL's lcores is the only one, or the first one. by_port: each queue is given only the flows of
    // its own lcore.
    void prepare(std::size_t count, std::size_t first, bool by_port, bool changing) {
        lcores_.reset();
        LcoreSetup setup;
        for (std::size_t i = 0; i < count; ++i) setup.lcores.push_back(numbers_[first + i]);
        setup.ports = ports_;
        setup.ports[0].rx_queues = static_cast<std::uint16_t>(count);
        setup.ports[1].rx_queues = 0;
        setup.interfaces = interfaces_;
        setup.pool = pool_;
        setup.cycles_per_second = cycles_;
        for (std::size_t i = 0; i < count; ++i) {
            flows_.clear(i);
            setup.flows.push_back(flows_.memory(i));
        }
        lcores_ = must(Lcores::make(setup));
        lcores_->publish(&image_.tables());
        lcores_->publish(forwarding_.get());
        // Each flow is seen both ways first, as one that is established. Answers go where they belong.
        for (const bool answers : {false, true}) {
            for (std::size_t i = 0; i < count; ++i) fill(sources_[i], i, count, by_port, answers);
            for (std::uint32_t turn = 0; turn < kWarmTurns * count; ++turn) {
                for (std::size_t i = 0; i < count; ++i) lcores_->worker(i).turn();
            }
        }
        for (std::size_t i = 0; i < count; ++i) {
            fill(sources_[i], i, count, by_port, false);
            if (changing) fill_changing(sources_[i]);
        }
        for (std::size_t i = 0; i < count; ++i) lcores_->worker(i).turn();
        check_.wrong = 0;
        rte_eth_stats_reset(ports_[0].id);
        rte_eth_stats_reset(ports_[1].id);
    }

    // Millions of packets a second of all threads together, in a window of their own clocks.
    double engine_rate(std::size_t count) {
        return rate(count, [this](std::size_t i, std::uint64_t until) {
            Worker& worker = lcores_->worker(i);
            const std::uint64_t before = worker.counters().packets.value();
            while (rte_rdtsc() < until) worker.turn();
            return worker.counters().packets.value() - before;
        });
    }
    double control_rate(std::size_t count) {
        return rate(count, [this](std::size_t i, std::uint64_t until) {
            const auto queue = static_cast<std::uint16_t>(i);
            std::array<rte_mbuf*, kMaxBurst> frames;
            std::uint64_t done = 0;
            while (rte_rdtsc() < until) {
                const std::uint16_t got = rte_eth_rx_burst(ports_[0].id, queue, frames.data(), kMaxBurst);
                for (std::uint16_t frame = 0; frame < got; ++frame) {
                    auto* data = rte_pktmbuf_mtod(frames[frame], std::uint8_t*);
                    std::array<std::uint8_t, 6> mac;
                    std::memcpy(mac.data(), data, 6);
                    std::memcpy(data, data + 6, 6);
                    std::memcpy(data + 6, mac.data(), 6);
                }
                rte_eth_tx_burst(ports_[1].id, queue, frames.data(), got);
                done += got;
            }
            return done;
        });
    }

    struct Published {
        std::vector<double> none, some;  // rates
        std::vector<double> per_second;  // publishes
        std::uint64_t wrong = 0;
        std::uint64_t lost = 0;
    };
    // The second lcore forwards all the time; windows with and without publishes in turn.
    Published publishing(int rounds) {
        prepare(1, 1, true, true);
        Published out;
        std::atomic<bool> begun{false};
        clockid_t clock{};
        std::function<void()> work = [&] {
            pthread_getcpuclockid(pthread_self(), &clock);
            begun.store(true, std::memory_order_release);
            lcores_->worker(0).run();
        };
        launch(numbers_[1], &work);
        while (!begun.load(std::memory_order_acquire)) std::this_thread::yield();
        const Counter& packets = lcores_->worker(0).counters().packets;
        for (int round = 0; round < 2 * rounds; ++round) {
            const std::uint64_t before = packets.value();
            const double from = seconds_of(clock);
            if (round % 2 == 0) {
                std::this_thread::sleep_for(std::chrono::milliseconds(2 * kWindowMs));
            } else {
                out.per_second.push_back(publish_for(2 * kWindowMs));
            }
            const double rate = static_cast<double>(packets.value() - before) / (seconds_of(clock) - from) / 1e6;
            (round % 2 == 0 ? out.none : out.some).push_back(rate);
        }
        lcores_->stop();
        rte_eal_wait_lcore(numbers_[1]);
        out.wrong = check_.wrong;
        out.lost = figures_of(ports_[0]).received - figures_of(ports_[1]).sent;
        return out;
    }

private:
    static constexpr std::size_t kMost = 2;

    static void launch(unsigned lcore, std::function<void()>* work) {
        const auto call = [](void* of) {
            (*static_cast<std::function<void()>*>(of))();
            return 0;
        };
        SLUICE_ASSERT(rte_eal_remote_launch(call, work, lcore) == 0);
    }

    template <class Loop>
    double rate(std::size_t count, Loop loop) {
        std::array<double, kMost> out{};
        const std::uint64_t until = rte_rdtsc() + cycles_ * kWindowMs / 1000;
        const auto one = [&](std::size_t i) {
            const double from = seconds_of(CLOCK_THREAD_CPUTIME_ID);
            const std::uint64_t packets = loop(i, until);
            out[i] = static_cast<double>(packets) / (seconds_of(CLOCK_THREAD_CPUTIME_ID) - from) / 1e6;
        };
        std::function<void()> second = [&] { one(1); };
        if (count > 1) launch(numbers_[1], &second);
        one(0);
        if (count > 1) rte_eal_wait_lcore(numbers_[1]);
        return out[0] + out[1];
    }

    // A publish a millisecond, each of another service, what it replaced freed when no lcore can use it. How many a
    // second there were.
    double publish_for(std::uint32_t ms) {
        const auto begun = std::chrono::steady_clock::now();
        const image::Tables* const tables = &image_.tables();
        for (std::uint32_t i = 0; i < ms; ++i) {
            std::this_thread::sleep_until(begun + std::chrono::milliseconds(i));
            const std::uint32_t number = published_ % kChanging;
            const bool odd = published_++ / kChanging % 2 == 0;
            check_.allowed[number].store(bits_of(odd) | bits_of(!odd), std::memory_order_release);
            image_.upsert(changed(number, odd));
            SLUICE_ASSERT(&image_.tables() == tables && image_.growths == 0);
            const image::Retired retired = image_.publisher().take_retired();
            SLUICE_ASSERT(lcores_->grace().wait().has_value());
            check_.allowed[number].store(bits_of(odd), std::memory_order_release);
            image_.publisher().release(retired);
        }
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
        return ms / took.count();
    }

    // The frame of a client, or of an endpoint's answer to it.
    Stamp frame_of(const packets::Spec& spec, std::uint16_t* length) const {
        Bytes frame = packets::build(spec);
        *length = static_cast<std::uint16_t>(frame.size());
        std::copy(ports_[0].mac.begin(), ports_[0].mac.end(), frame.begin());
        Stamp out{};
        SLUICE_ASSERT(frame.size() <= out.size());
        std::copy(frame.begin(), frame.end(), out.begin());
        return out;
    }
    void fill(Source& source, std::size_t queue, std::size_t count, bool by_port, bool answers) const {
        source = {};
        source.next_changing = queue;
        for (std::uint32_t i = 0; i < kFlows; ++i) {
            packets::Spec spec;
            spec.protocol = 17;
            spec.src = fmt::format("11.{}.{}.{}", i % kSteady, i / kSteady, i % 250 + 1);
            spec.dst = fmt::format("10.96.0.{}", i % kSteady);
            spec.sport = 40000;
            spec.dport = 80;
            spec.payload = "sixteen bytes...";
            Stamp stamp = frame_of(spec, &source.length);
            if (by_port) {
                Frame frame;
                frame.data = stamp.data();
                frame.length = source.length;
                const auto lanes = static_cast<std::uint32_t>(count);
                if (lcore_of(frame, image_.tables(), {}, lanes) != queue) continue;
            }
            if (answers) {
                spec.dst = std::exchange(spec.src, fmt::format("10.77.{}.1", i % kSteady));
                spec.dport = std::exchange(spec.sport, std::uint16_t{8080});
                stamp = frame_of(spec, &source.length);
            }
            source.stamps.push_back(stamp);
        }
    }
    void fill_changing(Source& source) const {
        for (std::uint32_t i = 0; i < kChanging; ++i) {
            packets::Spec spec;
            spec.protocol = 17;
            spec.src = fmt::format("12.{}.1.1", i);
            spec.dst = fmt::format("10.96.1.{}", i);
            spec.dport = 80;
            spec.payload = "sixteen bytes...";
            source.changing.push_back(frame_of(spec, &source.length));
        }
    }

    const std::vector<unsigned> numbers_;
    const std::uint64_t cycles_;
    std::vector<Port> ports_;
    std::vector<Interface> interfaces_;
    rte_mempool* pool_ = nullptr;
    std::array<Source, kMost> sources_;
    Check check_;
    std::unique_ptr<Forwarding> forwarding_;
    image::Image image_;
    BenchFlows flows_{kMost, kTableFlows, 1024};
    std::unique_ptr<Lcores> lcores_;
    std::uint32_t published_ = 0;
};

std::string list(const std::vector<double>& figures) {
    return fmt::format("[{:.3f}]", fmt::join(figures, ","));
}

// {"rates":{"engine, 1 lcore":[Mpps...],...},"publishes":[a second...],"wrong":0,"lost":0}
int measure(const Eal& eal, int rounds) {
    struct Kind {
        const char* name;
        std::size_t lcores;
        bool by_port;
    };
    Bench bench(eal);
    std::string rates;
    for (const Kind& kind : {Kind{"1 lcore", 1, true}, Kind{"2 lcores, spread by the port", 2, true},
                             Kind{"2 lcores, spread by lcores", 2, false}}) {
        bench.prepare(kind.lcores, 0, kind.by_port, false);
        std::vector<double> engine, control;
        for (int round = 0; round < rounds; ++round) {
            engine.push_back(bench.engine_rate(kind.lcores));
            control.push_back(bench.control_rate(kind.lcores));
        }
        rates += fmt::format("\"engine, {}\":{},\"control, {}\":{},", kind.name, list(engine), kind.name, list(control));
    }
    const auto published = bench.publishing(rounds);
    std::printf("{\"rates\":{%s\"no publishes\":%s,\"publishes\":%s},\"publishes\":%s,\"wrong\":%llu,\"lost\":%llu}\n",
                rates.c_str(), list(published.none).c_str(), list(published.some).c_str(),
                list(published.per_second).c_str(), static_cast<unsigned long long>(published.wrong),
                static_cast<unsigned long long>(published.lost));
    if (published.wrong == 0 && published.lost == 0) return 0;
    std::fprintf(stderr, "lcores_bench: %llu packets went where they must not, %llu were lost\n",
                 static_cast<unsigned long long>(published.wrong), static_cast<unsigned long long>(published.lost));
    return 1;
}

}  // namespace
}  // namespace sluice::dpdk

int main(int argc, char** argv) {
    const int rounds = argc > 1 ? std::atoi(argv[1]) : 9;
    if (argc > 2 || rounds < 1 || rounds > 100) {
        std::fputs("usage: lcores_bench [ROUNDS]\n", stderr);
        return 2;
    }
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    sched_getaffinity(0, sizeof allowed, &allowed);
    std::string cpus;
    for (int i = 0, found = 0; i < CPU_SETSIZE && found < 2; ++i) {
        if (!CPU_ISSET(i, &allowed)) continue;
        cpus += fmt::format("{}{}", found++ == 0 ? "" : ",", i);
    }
    std::vector<std::string> arguments = sluice::dpdk::bench_memory_arguments();
    arguments.insert(arguments.end(), {"--no-pci", "--no-telemetry", "-l", cpus, "--file-prefix",
                                       fmt::format("sluice-lcores-{}", getpid()), "--log-level", "error"});
    const auto eal = sluice::dpdk::Eal::start(arguments);
    if (!eal || (*eal)->lcores().size() < 2) {
        std::fprintf(stderr, "lcores_bench: %s\n",
                     eal ? "needs two processors" : eal.error().to_string().c_str());
        return 1;
    }
    return sluice::dpdk::measure(**eal, rounds);
}
