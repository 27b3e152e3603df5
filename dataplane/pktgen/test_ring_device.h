// Ports of rings, and a device between two of them that loses, doubles, reorders and delays as told, and
// counts what it did. For tests on the EAL.
#pragma once

#include <gtest/gtest.h>
#include <pthread.h>
#include <rte_bus_vdev.h>
#include <rte_cycles.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "dataplane/pktgen/probe.h"
#include "dataplane/pktgen/runner.h"

namespace sluice::pktgen {

inline void ensure_eal(const char* lcores) {
    static const bool started = [&] {
        const auto result =
            start_eal("pktgen_test", {"-l", lcores, "--no-huge", "-m", "512", "--no-pci", "--no-telemetry",
                                      "--log-level=4"});
        return result.has_value();
    }();
    ASSERT_TRUE(started);
}

inline rte_ring* make_ring(unsigned slots) {
    static unsigned number = 0;
    return rte_ring_create(fmt::format("test_ring_{}", number++).c_str(), slots, SOCKET_ID_ANY, 0);
}

// A port that goes with the object.
class RingPort {
public:
    RingPort(rte_ring* in, rte_ring* out) {
        static unsigned number = 0;
        id_ = rte_eth_from_rings(fmt::format("test{}", number++).c_str(), &in, 1, &out, 1, 0);
        EXPECT_GE(id_, 0);
    }
    ~RingPort() { rte_eth_dev_close(static_cast<std::uint16_t>(id_)); }
    RingPort(const RingPort&) = delete;
    RingPort& operator=(const RingPort&) = delete;

private:
    int id_ = -1;
};

// One direction. What is done to a frame depends on its number alone, so that a run can be told again.
struct Wire {
    rte_ring* from = nullptr;
    rte_ring* to = nullptr;
    std::uint64_t delay_ns = 0;
    std::uint64_t slow_every = 0, slow_ns = 0;  // such a frame, and what comes behind it, so much more
    bool record = false;                        // probes' ages, below
    std::uint64_t lose_every = 0, double_every = 0;
    std::uint64_t hold_every = 0, hold_for = 0;  // such a frame is let go after so many others
    std::uint64_t corrupt_every = 0;             // a byte of the payload is changed
    std::function<void(rte_mbuf*)> rewrite;      // like a device that translates

    // [frame]: how old it was, in ticks, when it was about to be given, and when the receiver had come
    // back for more than one burst after it: its time of receipt lies between the two.
    std::vector<std::uint64_t> given_age, taken_age;
    std::uint64_t seen = 0, lost = 0, doubled = 0, held = 0, corrupted = 0, overflown = 0;

    void forget() { sent_at.clear(); }

private:
    friend class RingDevice;
    struct Waiting {
        rte_mbuf* mbuf;
        std::uint64_t due;  // of the delay
    };
    std::deque<Waiting> waiting;
    std::vector<std::uint64_t> sent_at;  // [frame], of the probe
    std::deque<Waiting> holding;  // due: the number of the frame after which it goes
};

// A thread, on another CPU than the lcores of a test with one lcore. Frames wait in it as long as the
// ring behind it is full: it never loses what it was not told to lose.
class RingDevice {
public:
    explicit RingDevice(std::vector<Wire*> wires) : wires_(std::move(wires)) {
        thread_ = std::thread([this] { work(); });
        cpu_set_t cpus;
        CPU_ZERO(&cpus);
        CPU_SET(1, &cpus);
        pthread_setaffinity_np(thread_.native_handle(), sizeof cpus, &cpus);
    }
    ~RingDevice() { stop(); }
    RingDevice(const RingDevice&) = delete;
    RingDevice& operator=(const RingDevice&) = delete;

    void stop() {
        if (!thread_.joinable()) {
            return;
        }
        stop_ = true;
        thread_.join();
        for (Wire* wire : wires_) {
            for (auto* queue : {&wire->waiting, &wire->holding}) {
                for (const Wire::Waiting& waiting : *queue) {
                    rte_pktmbuf_free(waiting.mbuf);
                }
                queue->clear();
            }
            drain(wire->from);
            drain(wire->to);
        }
    }

    static void drain(rte_ring* ring) {
        void* mbuf = nullptr;
        while (rte_ring_dequeue(ring, &mbuf) == 0) {
            rte_pktmbuf_free(static_cast<rte_mbuf*>(mbuf));
        }
    }

private:
    void work() {
        while (!stop_) {
            bool idle = true;
            for (Wire* wire : wires_) {
                idle = !take(*wire) && idle;
                give(*wire);
            }
            if (idle) {
                sched_yield();
            }
        }
    }

    static bool take(Wire& wire) {
        void* mbufs[32];
        const unsigned count = rte_ring_dequeue_burst(wire.from, mbufs, 32, nullptr);
        const std::uint64_t due = rte_rdtsc() + ticks(wire.delay_ns);
        for (unsigned i = 0; i < count; ++i) {
            auto* mbuf = static_cast<rte_mbuf*>(mbufs[i]);
            const std::uint64_t number = ++wire.seen;
            if (wire.lose_every != 0 && number % wire.lose_every == 0) {
                ++wire.lost;
                rte_pktmbuf_free(mbuf);
                continue;
            }
            if (wire.rewrite) {
                wire.rewrite(mbuf);
            }
            if (wire.corrupt_every != 0 && number % wire.corrupt_every == 0) {
                ++wire.corrupted;
                *rte_pktmbuf_mtod_offset(mbuf, std::uint8_t*, mbuf->data_len - 1) ^= 0x40;
            }
            if (wire.hold_every != 0 && number % wire.hold_every == 0) {
                ++wire.held;
                wire.holding.push_back({mbuf, number + wire.hold_for});
                continue;
            }
            const bool slow = wire.slow_every != 0 && number % wire.slow_every == 0;
            wire.waiting.push_back({mbuf, slow ? due + ticks(wire.slow_ns) : due});
            if (wire.double_every != 0 && number % wire.double_every == 0) {
                ++wire.doubled;
                wire.waiting.push_back({rte_pktmbuf_copy(mbuf, mbuf->pool, 0, UINT32_MAX), due});
            }
            while (!wire.holding.empty() && wire.holding.front().due <= number) {
                wire.waiting.push_back({wire.holding.front().mbuf, due});
                wire.holding.pop_front();
            }
        }
        return count != 0;
    }

    static std::uint64_t ticks(std::uint64_t ns) { return ns * rte_get_tsc_hz() / 1'000'000'000; }

    // Bursts have at most so many frames, so that one which is so far behind the last one that was
    // taken was stamped before that.
    static void watch(Wire& wire) {
        constexpr std::size_t kMostInABurst = 32;
        const std::size_t given = wire.sent_at.size();
        const std::size_t gone = given - std::min<std::size_t>(given, rte_ring_count(wire.to));
        const std::uint64_t now = rte_rdtsc();
        while (wire.taken_age.size() + kMostInABurst < gone) {
            wire.taken_age.push_back(probe_age(now, wire.sent_at[wire.taken_age.size()]));
        }
    }

    static void give(Wire& wire) {
        if (wire.record) {
            watch(wire);
        }
        const std::uint64_t now = rte_rdtsc();
        while (!wire.waiting.empty() && wire.waiting.front().due <= now) {
            if (wire.record && rte_ring_full(wire.to) == 0) {
                // Of a frame of UDP over IPv4 without a tag.
                const auto* payload = rte_pktmbuf_mtod_offset(wire.waiting.front().mbuf, const std::uint8_t*, 42);
                const std::uint64_t at = read_probe(payload).time;
                wire.sent_at.push_back(at);
                wire.given_age.push_back(probe_age(now, at));
            }
            if (rte_ring_enqueue(wire.to, wire.waiting.front().mbuf) != 0) {
                return;
            }
            wire.waiting.pop_front();
        }
    }

    std::vector<Wire*> wires_;
    std::atomic<bool> stop_{false};
    std::thread thread_;
};

}  // namespace sluice::pktgen
