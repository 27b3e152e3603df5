// Runs on ports of rings: what was done to the packets is found exactly, and ours and the ports' counts
// agree. The same tests are run with one lcore and with two.
#include "dataplane/pktgen/runner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>

#include "dataplane/pktgen/capture.h"
#include "dataplane/pktgen/frame_view.h"
#include "dataplane/pktgen/probe.h"
#include "dataplane/pktgen/test_ring_device.h"

#ifndef SLUICE_TEST_LCORES
#error "which lcores the EAL is to have"
#endif

namespace sluice::pktgen {
namespace {

IpAddress ip(const char* text) { return *IpAddress::parse(text); }

Profile small_profile() {
    Profile profile;
    profile.source = {ip("10.0.0.1"), ip("10.0.0.1")};
    profile.destination = {ip("10.1.0.1"), ip("10.1.0.1")};
    profile.destination_mac = "02:00:00:00:00:02";
    profile.count = 20'000;
    profile.packets_per_second = 200'000;
    profile.drain_s = 0.3;
    return profile;
}

// A step of the histogram is less than a hundredth of its values wide.
constexpr double kHistogramError = 1.01;

RunnerOptions quick_options() {
    RunnerOptions options;
    options.descriptors = 512;
    options.display_interval_s = 0.05;
    options.neighbour_wait_s = 2;
    return options;
}

class RunnerTest : public testing::Test {
protected:
    void SetUp() override { ensure_eal(SLUICE_TEST_LCORES); }

    static RunResult run(const Profile& profile, const RunnerOptions& options = quick_options()) {
        auto runner = make_runner(options);
        EXPECT_TRUE(runner) << (runner ? "" : runner.error().to_string());
        if (!runner) {
            return {};
        }
        auto result = (*runner)->run(profile, Observer{});
        EXPECT_TRUE(result) << (result ? "" : result.error().to_string());
        return result ? *result : RunResult{};
    }
};

void expect_ports_agree(const RunResult& result) {
    for (const PortCounts& port : result.ports) {
        EXPECT_EQ(port.sent, port.port_sent) << port.name;
        EXPECT_EQ(port.received, port.port_received) << port.name;
    }
}

void expect_clean(const RunResult& result, std::uint64_t sent) {
    EXPECT_EQ(result.sent, sent);
    EXPECT_EQ(result.received, sent);
    EXPECT_EQ(result.received_bytes, result.sent_bytes);
    EXPECT_EQ(result.lost, 0U);
    EXPECT_EQ(result.duplicated, 0U);
    EXPECT_EQ(result.reordered, 0U);
    EXPECT_EQ(result.corrupted, 0U);
    EXPECT_EQ(result.foreign, 0U);
    EXPECT_EQ(result.late, 0U);
    expect_ports_agree(result);
}

// One ring: what the port sends it receives.
TEST_F(RunnerTest, LoopLosesNothing) {
    rte_ring* ring = make_ring(4096);
    const RingPort port(ring, ring);
    const RunResult result = run(small_profile());
    expect_clean(result, 20'000);
    EXPECT_EQ(result.sent_bytes, 20'000U * 64);
    EXPECT_EQ(result.latency.count(), 20'000U);
    std::uint64_t sent = 0;
    std::uint64_t received = 0;
    for (const Sample& sample : result.samples) {
        sent += sample.sent;
        received += sample.received;
        EXPECT_EQ(sample.lost, 0U);
    }
    EXPECT_EQ(sent, 20'000U);
    EXPECT_LE(received, 20'000U);
}

// What a port of net_pcap wrote is what was asked for, and can be sent again from the file.
TEST_F(RunnerTest, CaptureIsWrittenAndReplayed) {
    const std::string path = testing::TempDir() + "pktgen_runner_test.pcap";
    Profile profile = small_profile();
    profile.source_port = {1024, 1027};
    profile.flows = 0;
    profile.sizes = {{128, 1}, {600, 1}};
    profile.count = 1'000;
    ASSERT_EQ(rte_vdev_init("net_pcap_test", ("tx_pcap=" + path).c_str()), 0);
    const RunResult written = run(profile);
    EXPECT_EQ(written.sent, 1'000U);
    ASSERT_EQ(rte_vdev_uninit("net_pcap_test"), 0);

    const auto capture = load_capture(path, 1518);
    ASSERT_TRUE(capture) << capture.error().to_string();
    ASSERT_EQ(capture->frames.size(), 1'000U);
    std::uint64_t bytes = 0;
    std::uint32_t next[4] = {0, 0, 0, 0};
    for (const CapturedFrame& frame : capture->frames) {
        const std::uint8_t* raw = capture->bytes.data() + frame.offset;
        const FrameView view = view_frame(raw, frame.bytes);
        ASSERT_EQ(view.kind, FrameKind::kUdp);
        EXPECT_TRUE(view.checksum_good());
        EXPECT_EQ(raw[5], 2);
        const auto flow = static_cast<std::uint32_t>(view.tuple().source_port - 1024);
        ASSERT_LT(flow, 4U);
        const Probe probe = read_probe(view.payload);
        EXPECT_EQ(probe.stream, flow);
        EXPECT_EQ(probe.sequence, next[flow]++);
        bytes += frame.bytes + 4;
    }
    EXPECT_EQ(bytes, written.sent_bytes);

    rte_ring* ring = make_ring(4096);
    const RingPort port(ring, ring);
    Profile replay = small_profile();
    replay.pcap = path;
    replay.count = 2'500;  // two and a half times the file
    for (const bool timing : {false, true}) {
        replay.pcap_timing = timing;
        replay.packets_per_second = timing ? 0 : 100'000;
        const RunResult result = run(replay);
        EXPECT_EQ(result.sent, 2'500U);
        EXPECT_EQ(result.received, 2'500U);
        EXPECT_EQ(result.lost, 0U);
        expect_ports_agree(result);
    }
    std::remove(path.c_str());
}

struct Shape {
    bool v6;
    L4 l4;
    std::uint16_t vlan;
    bool probe;
    Choice choice;
};

TEST_F(RunnerTest, EveryShapeIsKnownAgain) {
    rte_ring* ring = make_ring(4096);
    const RingPort port(ring, ring);
    for (const Shape shape : {Shape{false, L4::kUdp, 0, false, Choice::kRoundRobin},
                              Shape{true, L4::kUdp, 0, true, Choice::kUniform},
                              Shape{false, L4::kTcp, 7, true, Choice::kZipf},
                              Shape{true, L4::kTcp, 4094, false, Choice::kRoundRobin}}) {
        Profile profile = small_profile();
        if (shape.v6) {
            profile.source = {ip("fd00::ffff"), ip("fd00::1:8")};
            profile.destination = {ip("fd01::1"), ip("fd01::1")};
        } else {
            profile.source = {ip("10.0.0.250"), ip("10.0.1.3")};
        }
        profile.source_port = {1024, 1123};
        profile.flows = 0;
        profile.l4 = shape.l4;
        profile.vlan = shape.vlan;
        profile.probe = shape.probe;
        profile.choice = shape.choice;
        profile.sizes = {{128, 7}, {594, 4}, {1518, 1}};
        profile.count = 5'000;
        const RunResult result = run(profile);
        expect_clean(result, 5'000);
        EXPECT_EQ(result.latency.count(), shape.probe ? 5'000U : 0U);
    }
}

class DeviceTest : public RunnerTest {
protected:
    void SetUp() override {
        RunnerTest::SetUp();
        there_.from = make_ring(8192);
        there_.to = make_ring(8192);
        back_.from = make_ring(8192);
        back_.to = make_ring(8192);
        a_ = std::make_unique<RingPort>(back_.to, there_.from);
        b_ = std::make_unique<RingPort>(there_.to, back_.from);
    }
    // The device ends before the runner's buffers do.
    RunResult run_through(const Profile& profile, const RunnerOptions& options = quick_options()) {
        auto runner = make_runner(options);
        EXPECT_TRUE(runner) << (runner ? "" : runner.error().to_string());
        RingDevice device({&there_, &back_});
        auto result = (*runner)->run(profile, Observer{});
        EXPECT_TRUE(result) << (result ? "" : result.error().to_string());
        device.stop();
        return result ? *result : RunResult{};
    }

    Wire there_, back_;
    std::unique_ptr<RingPort> a_, b_;
};

TEST_F(DeviceTest, LossIsFoundExactly) {
    there_.lose_every = 97;
    const RunResult result = run_through(small_profile());
    EXPECT_EQ(result.sent, 20'000U);
    EXPECT_EQ(there_.lost, 20'000U / 97);
    EXPECT_EQ(result.lost, there_.lost);
    EXPECT_EQ(result.received, 20'000U - there_.lost);
    EXPECT_EQ(result.duplicated + result.reordered + result.corrupted + result.late, 0U);
    expect_ports_agree(result);
}

TEST_F(DeviceTest, DuplicatesAreFoundExactly) {
    there_.double_every = 11;
    there_.lose_every = 1000;
    const RunResult result = run_through(small_profile());
    EXPECT_GT(there_.doubled, 1000U);
    EXPECT_EQ(result.duplicated, there_.doubled);
    EXPECT_EQ(result.lost, there_.lost);
    EXPECT_EQ(result.received, 20'000U - there_.lost + there_.doubled);
    EXPECT_EQ(result.reordered, 0U);
}

// One flow: each frame that was held comes after those that overtook it, and is the only one out of order.
TEST_F(DeviceTest, ReorderingIsFoundExactly) {
    there_.hold_every = 50;
    there_.hold_for = 20;
    const RunResult result = run_through(small_profile());
    // The last one is never let go: no other frame follows it.
    EXPECT_EQ(there_.held, 20'000U / 50);
    EXPECT_EQ(result.reordered, there_.held - 1);
    EXPECT_EQ(result.lost, 1U);
    EXPECT_EQ(result.duplicated, 0U);
    EXPECT_EQ(result.late, 0U);
}

TEST_F(DeviceTest, CorruptedFramesAreCountedAndLost) {
    there_.corrupt_every = 100;
    Profile profile = small_profile();
    profile.sizes = {{256, 1}};
    const RunResult result = run_through(profile);
    EXPECT_EQ(there_.corrupted, 200U);
    EXPECT_EQ(result.corrupted, 200U);
    EXPECT_EQ(result.lost, 200U);
    EXPECT_EQ(result.received, 19'800U);
}

TEST_F(DeviceTest, KnownDelayIsTheLatency) {
    constexpr std::uint64_t kDelay_ns = 100'000'000;
    there_.delay_ns = kDelay_ns;
    Profile profile = small_profile();
    profile.packets_per_second = 20'000;
    profile.count = 10'000;
    const RunResult result = run_through(profile);
    EXPECT_EQ(result.lost, 0U);
    EXPECT_EQ(result.latency.count(), 10'000U);
    EXPECT_GE(result.latency.min(), kDelay_ns);
    EXPECT_GE(result.latency.percentile(50), kDelay_ns);
    // A machine that is busy adds to it, but not to the luckiest one of 10,000.
    EXPECT_LE(result.latency.min(), kDelay_ns * 3 / 2);
}

struct Delay {
    std::uint64_t ns, slow_every, slow_ns;
};

// Each latency lies between what the device saw of that frame before it gave it and after it was taken,
// so each percentile lies between theirs, however busy the machine is.
TEST_F(DeviceTest, PercentilesAreWithinTheDevicesRecord) {
    for (const Delay delay : {Delay{100'000, 0, 0}, {1'000'000, 0, 0}, {100'000, 2'000, 5'000'000}}) {
        there_.delay_ns = delay.ns;
        there_.slow_every = delay.slow_every;
        there_.slow_ns = delay.slow_ns;
        there_.record = true;
        there_.given_age.clear();
        there_.taken_age.clear();
        there_.forget();
        const RunResult result = run_through(small_profile());
        ASSERT_EQ(result.received, 20'000U);
        ASSERT_EQ(result.latency.count(), 20'000U);
        ASSERT_EQ(there_.given_age.size(), 20'000U);
        // Of the last ones it is not known when they were taken.
        there_.taken_age.resize(20'000, UINT64_MAX / 4);
        std::sort(there_.given_age.begin(), there_.given_age.end());
        std::sort(there_.taken_age.begin(), there_.taken_age.end());
        const double ns_per_tick = 1e9 / static_cast<double>(rte_get_tsc_hz());
        for (const int percent : {10, 50, 90, 95, 99}) {
            const auto at = static_cast<std::size_t>(20'000 / 100 * percent - 1);
            const double low = static_cast<double>(there_.given_age[at]) * ns_per_tick;
            const double high = static_cast<double>(there_.taken_age[at]) * ns_per_tick;
            const auto measured = static_cast<double>(result.latency.percentile(percent));
            EXPECT_GE(measured, low - 1) << percent;
            EXPECT_LE(measured, high * kHistogramError + 1) << percent;
            EXPECT_GE(low + 1, static_cast<double>(delay.ns)) << percent;
        }
        EXPECT_GE(result.latency.min() + 1, delay.ns);
        // Of two modes the slower is there too: every slow frame, and those behind it.
        if (delay.slow_every != 0) {
            EXPECT_GE(result.latency.max() + 1, delay.ns + delay.slow_ns);
            EXPECT_GE(result.latency.percentile(100 - 100.0 * 9 / 20'000) + 1,
                      static_cast<double>(delay.ns + delay.slow_ns));
        }
    }
}

// Sent and behind together are what was asked for, whatever the machine had to spare.
TEST_F(RunnerTest, WhatWasNotSentIsBehind) {
    rte_ring* ring = make_ring(4096);
    const RingPort port(ring, ring);
    Profile profile = small_profile();
    profile.count = 0;
    profile.duration_s = 0.5;
    profile.warmup_s = 0.1;
    for (const double rate : {5'000.0, 100e6}) {
        profile.packets_per_second = rate;
        const RunResult result = run(profile);
        EXPECT_NEAR(static_cast<double>(result.sent + result.behind), rate * result.seconds, 2);
        EXPECT_EQ(result.behind > 0, result.sent + 2 < static_cast<std::uint64_t>(rate * result.seconds));
        EXPECT_EQ(result.lost, 0U);
        if (rate > 1e6) {
            EXPECT_GT(result.behind, 0U);
        }
    }
    profile.packets_per_second = 0;
    profile.bits_per_second = 20e6;
    profile.sizes = {{128, 1}, {594, 1}};
    const RunResult result = run(profile);
    const double bits = 8 * (static_cast<double>(result.sent_bytes) + 20 * static_cast<double>(result.sent)) +
                        static_cast<double>(result.behind) * 8 * ((128 + 594) / 2.0 + 20);
    EXPECT_NEAR(bits, 20e6 * result.seconds, 3.0 * 8 * 614);
}

// A port that invents packets, from whatever lies in the buffers that it is given, brings none of ours.
TEST_F(RunnerTest, InventedPacketsAreForeign) {
    ASSERT_EQ(rte_vdev_init("net_null_test", ""), 0);
    Profile profile = small_profile();
    for (int again = 0; again < 2; ++again) {
        const RunResult result = run(profile);
        EXPECT_EQ(result.sent, 20'000U);
        EXPECT_EQ(result.received, 0U);
        EXPECT_EQ(result.lost, 20'000U);
        EXPECT_EQ(result.duplicated + result.corrupted + result.late, 0U);
        EXPECT_GT(result.foreign, 0U);
        expect_ports_agree(result);
    }
    ASSERT_EQ(rte_vdev_uninit("net_null_test"), 0);
}

// A ring that nobody empties: each frame is refused once, not as often as it is offered.
TEST_F(RunnerTest, FullRingIsNotAskedAllTheTime) {
    rte_ring* full = make_ring(256);
    rte_ring* empty = make_ring(256);
    const RingPort port(empty, full);
    Profile profile = small_profile();
    profile.packets_per_second = 0;
    profile.count = 0;
    profile.duration_s = 0.3;
    const RunResult result = run(profile);
    EXPECT_EQ(result.sent, 255U);
    EXPECT_EQ(result.ports[0].refused, 32U);
    EXPECT_EQ(result.behind, 0U);
    RingDevice::drain(full);
}

TEST_F(DeviceTest, WarmupIsSentAndNotCounted) {
    Profile profile = small_profile();
    profile.warmup_s = 0.1;
    const RunResult result = run_through(profile);
    EXPECT_EQ(result.sent, 20'000U);
    EXPECT_EQ(result.received, 20'000U);
    EXPECT_EQ(result.lost, 0U);
    EXPECT_EQ(result.foreign, 0U);
    EXPECT_GT(result.ports[0].sent, 20'000U);
    expect_ports_agree(result);
}

TEST_F(DeviceTest, NeighboursAreAskedAndAnswered) {
    for (const bool v6 : {false, true}) {
        Profile profile = small_profile();
        if (v6) {
            profile.source = {ip("fd00::1"), ip("fd00::1")};
            profile.destination = {ip("fd01::1"), ip("fd01::1")};
            profile.sizes = {{84, 1}};
        }
        profile.vlan = v6 ? 5 : 0;
        profile.sizes[0].frame_bytes += v6 ? 4 : 0;
        profile.destination_mac.clear();
        profile.count = 1'000;
        const RunResult result = run_through(profile);
        EXPECT_EQ(result.sent, 1'000U);
        EXPECT_EQ(result.lost, 0U);
        // The question there and the answer back are in the ports' counts and in ours.
        EXPECT_GT(result.ports[0].sent, 1'000U);
        EXPECT_GT(result.ports[1].sent, 0U);
        expect_ports_agree(result);
    }
}

TEST_F(DeviceTest, SilentNeighbourIsNamed) {
    Profile profile = small_profile();
    profile.destination_mac.clear();
    profile.next_hop = ip("10.9.9.9");
    RunnerOptions options = quick_options();
    options.neighbour_wait_s = 0.3;
    auto runner = make_runner(options);
    ASSERT_TRUE(runner);
    RingDevice device({&there_, &back_});
    const auto result = (*runner)->run(profile, Observer{});
    device.stop();
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::kUnavailable);
    EXPECT_NE(result.error().message.find("10.9.9.9"), std::string::npos);
}

TEST_F(DeviceTest, ConnectionsOpenAndCloseInSpiteOfLoss) {
    Profile profile = small_profile();
    profile.l4 = L4::kTcp;
    profile.life_cycle = LifeCycle::kStateful;
    profile.source_port = {1024, 3071};
    profile.flows = 0;
    profile.data_packets = 3;
    profile.sizes = {{128, 1}, {512, 1}};
    profile.packets_per_second = 0;
    profile.connections_per_second = 5'000;
    profile.count = 2'000;
    RunResult result = run_through(profile);
    EXPECT_EQ(result.connections.opened, 2'000U);
    EXPECT_EQ(result.connections.established, 2'000U);
    EXPECT_EQ(result.connections.closed, 2'000U);
    EXPECT_EQ(result.connections.timed_out + result.connections.reset, 0U);
    EXPECT_EQ(result.latency.count(), 2'000U);
    EXPECT_EQ(result.lost, 0U);
    EXPECT_EQ(result.corrupted + result.foreign, 0U);
    expect_ports_agree(result);

    there_.lose_every = 50;
    back_.lose_every = 61;
    result = run_through(profile);
    EXPECT_EQ(result.connections.opened, 2'000U);
    EXPECT_EQ(result.connections.closed + result.connections.timed_out, 2'000U);
    EXPECT_GT(result.connections.closed, 1'950U);
    EXPECT_GT(result.connections.retransmitted, 100U);
    EXPECT_EQ(result.lost, there_.lost + back_.lost);
}

TEST_F(DeviceTest, ScriptsAndFloods) {
    Profile profile = small_profile();
    profile.l4 = L4::kTcp;
    profile.life_cycle = LifeCycle::kScripted;
    profile.source_port = {1024, 1033};
    profile.flows = 0;
    profile.data_packets = 2;
    profile.sizes = {{128, 1}};
    profile.count = 4'000;  // 10 flows, 100 connections of 4 packets each
    RunResult result = run_through(profile);
    EXPECT_EQ(result.sent, 4'000U);
    EXPECT_EQ(result.received, 4'000U);
    EXPECT_EQ(result.connections.opened, 1'000U);
    EXPECT_EQ(result.connections.closed, 1'000U);
    EXPECT_EQ(result.latency.count(), 3'000U);  // SYNs have no probe
    EXPECT_EQ(result.foreign, 0U);

    profile.life_cycle = LifeCycle::kSynOnly;
    profile.sizes = {{64, 1}};
    there_.lose_every = 100;
    there_.seen = there_.lost = 0;
    result = run_through(profile);
    EXPECT_EQ(result.sent, 4'000U);
    EXPECT_EQ(result.lost, 40U);
    EXPECT_EQ(result.connections.opened, 4'000U);
}

TEST_F(DeviceTest, PairOfPortsLoadsBothDirections) {
    RunnerOptions options = quick_options();
    options.roles = {Role::kBoth, Role::kBoth};
    back_.lose_every = 10;
    Profile profile = small_profile();
    const RunResult result = run_through(profile, options);
    EXPECT_EQ(result.sent, 20'000U);
    EXPECT_EQ(result.ports[0].sent, 10'000U);
    EXPECT_EQ(result.ports[1].sent, 10'000U);
    EXPECT_EQ(result.lost, 1'000U);
    EXPECT_EQ(result.duplicated + result.reordered + result.foreign, 0U);
}

TEST_F(DeviceTest, ObserverEndsTheRun) {
    auto runner = make_runner(quick_options());
    ASSERT_TRUE(runner);
    RingDevice device({&there_, &back_});
    Profile profile = small_profile();
    profile.count = 0;
    profile.duration_s = 3600;
    int calls = 0;
    const auto result = (*runner)->run(profile, [&](const Sample& sample) {
        EXPECT_EQ(sample.ports.size(), 2U);
        return ++calls < 3;
    });
    device.stop();
    ASSERT_TRUE(result) << result.error().to_string();
    EXPECT_EQ(calls, 3);
    EXPECT_GT(result->sent, 0U);
    EXPECT_EQ(result->lost, 0U);
}

}  // namespace
}  // namespace sluice::pktgen
