// Frames in by a port, frames out by a port: bytes, ways and counters of the lcores' loop.
#include <gtest/gtest.h>

#include "dataplane/dpdk/runtime/capture_internal.h"
#include "dataplane/dpdk/runtime/test_rig.h"

namespace sluice::dpdk {
namespace {

using packets::Spec;
using packets::View;

Spec from_pod(std::uint16_t sport = 40000) {
    Spec out;
    out.src = "10.244.1.5";
    out.dst = "10.96.0.10";
    out.sport = sport;
    return out;
}
// What the backend answers to it.
Spec answer(std::uint16_t dport = 40000) {
    Spec out;
    out.src = "10.0.0.1";
    out.dst = "10.244.1.5";
    out.sport = 8080;
    out.dport = dport;
    out.tcp_flags = 0x12;
    return out;
}

TEST(Lcores, AClientsFrameLeavesForTheBackendAndTheAnswerComesBack) {
    Rig rig;
    rig.put(rig.pod, from_pod());
    rig.turn();
    const auto out = rig.uplink.take();
    ASSERT_EQ(out.size(), 1U);
    const View there = packets::read(out[0]);
    EXPECT_EQ(there.error, "");
    EXPECT_EQ(there.src, "10.244.1.5");
    EXPECT_EQ(there.dst, "10.0.0.1");
    EXPECT_EQ(there.dport, 8080);
    EXPECT_EQ(there.ttl, 63);
    EXPECT_EQ(hex(std::span(out[0]).first(6)), "020000000909");
    EXPECT_TRUE(rig.pod.take().empty());

    rig.put(rig.uplink, answer());
    rig.turn();
    const auto back = rig.pod.take();
    ASSERT_EQ(back.size(), 1U);
    const View view = packets::read(back[0]);
    EXPECT_EQ(view.error, "");
    EXPECT_EQ(view.src, "10.96.0.10");
    EXPECT_EQ(view.sport, 80);
    EXPECT_EQ(view.dport, 40000);
    EXPECT_EQ(hex(std::span(back[0]).first(6)), "020000000505");
}

TEST(Lcores, AFrameInPiecesIsPutTogether) {
    Rig rig;
    Spec spec = from_pod();
    spec.payload = std::string(900, 'x');
    rig.pod.put(rig.pool(), rig.framed(packets::build(spec), rig.pod), 200);
    rig.turn();
    const auto out = rig.uplink.take();
    ASSERT_EQ(out.size(), 1U);
    const View view = packets::read(out[0]);
    EXPECT_EQ(view.error, "");
    EXPECT_EQ(view.dst, "10.0.0.1");
    EXPECT_EQ(view.payload.size(), 900U);
}

TEST(Lcores, PiecesThatFitNoBufferAreDroppedAndCounted) {
    Rig rig;
    Spec spec = from_pod();
    spec.payload = std::string(4000, 'x');
    rig.pod.put(rig.pool(), rig.framed(packets::build(spec), rig.pod), 500);
    rig.put(rig.pod, from_pod());
    rig.turn();
    EXPECT_EQ(rig.uplink.take().size(), 1U);  // the one behind it is none the worse
    EXPECT_EQ(rig.sum(&WorkerCounters::malformed), 1U);
    EXPECT_EQ(rig.buffers_in_use(), 0U);
}

TEST(Lcores, ACaptureHasFramesAsTheyComeAndAsTheyLeave) {
    Rig rig;
    CaptureFilter filter;
    filter.source = IpAddress::parse("10.244.1.5").value();
    filter.source_port = 40000;
    filter.protocol = 6;
    auto capture = Capture::make(filter, 64);
    ASSERT_TRUE(capture) << capture.error().to_string();
    rig.lcores->publish(capture->get());
    rig.put(rig.pod, from_pod());
    rig.put(rig.pod, from_pod(40001));
    rig.turn();
    rig.put(rig.uplink, answer());
    rig.turn();
    rig.lcores->publish(static_cast<Capture*>(nullptr));
    rig.put(rig.pod, from_pod());
    rig.turn();
    struct Seen {
        std::uint16_t port;
        bool sent;
        std::string src, dst;
    };
    const std::vector<Seen> expected{{rig.pod.id(), false, "10.244.1.5", "10.96.0.10"},
                                     {rig.uplink.id(), true, "10.244.1.5", "10.0.0.1"},
                                     {rig.uplink.id(), false, "10.0.0.1", "10.244.1.5"},
                                     {rig.pod.id(), true, "10.96.0.10", "10.244.1.5"}};
    for (const Seen& seen : expected) {
        CaptureRecord* record = (*capture)->take();
        ASSERT_NE(record, nullptr);
        EXPECT_EQ(record->port, seen.port);
        EXPECT_EQ(record->sent != 0, seen.sent);
        const auto* bytes = reinterpret_cast<const std::uint8_t*>(record + 1);
        EXPECT_EQ(record->captured, std::min<std::uint32_t>(record->length, 64));
        const View view = packets::read(Bytes(bytes, bytes + record->captured));
        EXPECT_EQ(view.src, seen.src);
        EXPECT_EQ(view.dst, seen.dst);
        (*capture)->done(record);
    }
    EXPECT_EQ((*capture)->take(), nullptr);
}

TEST(Lcores, ACaptureThatNobodyReadsMissesFramesAndHoldsNoneUp) {
    Rig rig;
    auto capture = Capture::make({}, 64);
    ASSERT_TRUE(capture) << capture.error().to_string();
    rig.lcores->publish(capture->get());
    constexpr std::uint32_t kFrames = kCaptureSlots;  // each is offered twice
    for (std::uint32_t i = 0; i < kFrames; ++i) {
        rig.put(rig.pod, from_pod(static_cast<std::uint16_t>(1024 + i % 256)));
        rig.turn();
        ASSERT_EQ(rig.uplink.take().size(), 1U);
    }
    EXPECT_EQ((*capture)->missed(), 2 * kFrames - kCaptureSlots);
}

TEST(Lcores, FramesForOthersAreDroppedAndCounted) {
    Rig rig;
    Bytes frame = rig.framed(packets::build(from_pod()), rig.pod);
    frame[5] ^= 1;
    rig.pod.put(rig.pool(), frame);
    rig.turn();
    EXPECT_TRUE(rig.uplink.take().empty());
    EXPECT_EQ(rig.sum(&WorkerCounters::foreign), 1U);
    EXPECT_EQ(rig.buffers_in_use(), 0U);
}

TEST(Lcores, ShortFramesAndUnknownVlansAreDroppedAndCounted) {
    Rig rig;
    Bytes frame = rig.framed(packets::build(from_pod()), rig.pod);
    for (std::size_t length = 1; length < 14; ++length) {
        rig.pod.put(rig.pool(), Bytes(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(length)));
    }
    rig.turn();
    EXPECT_EQ(rig.sum(&WorkerCounters::malformed), 13U);
    Spec spec = from_pod();
    spec.vlans = {77};
    rig.put(rig.pod, spec);
    rig.turn();
    EXPECT_EQ(rig.sum(&WorkerCounters::no_interface), 1U);
    EXPECT_TRUE(rig.uplink.take().empty());
    EXPECT_EQ(rig.buffers_in_use(), 0U);
}

TEST(Lcores, WithoutAWayToTheKernelItsFramesAreDroppedAndCounted) {
    Rig rig;
    Spec spec = from_pod();
    spec.dst = "192.0.2.1";
    spec.dport = 22;
    rig.put(rig.uplink, spec);
    rig.turn();
    EXPECT_EQ(rig.sum(&WorkerCounters::no_exception), 1U);
    EXPECT_EQ(rig.buffers_in_use(), 0U);
}

TEST(Lcores, DiscoveryGoesToTheControlThread) {
    Rig rig;
    Bytes arp = rig.framed(Bytes(42, 0), rig.uplink);
    arp[12] = 0x08;
    arp[13] = 0x06;
    rig.uplink.put(rig.pool(), arp);
    rig.turn();
    std::array<rte_mbuf*, 8> frames{};
    ASSERT_EQ(rig.lcores->take_control(frames.data(), 8), 1U);
    EXPECT_FALSE(note_of(frames[0])->unresolved);
    EXPECT_EQ(note_of(frames[0])->interface, 0);
    // And what that thread has to send leaves by lcore 0.
    ASSERT_TRUE(rig.lcores->send(rig.uplink.id(), frames[0]));
    rig.turn();
    EXPECT_EQ(rig.uplink.take(), std::vector<Bytes>{arp});
}

TEST(Lcores, AFrameToAnUnknownNeighbourGoesToTheControlThread) {
    Rig rig;
    Spec spec = from_pod();
    spec.dst = "10.96.0.11";
    rig.put(rig.pod, spec);
    rig.turn();
    std::array<rte_mbuf*, 8> frames{};
    ASSERT_EQ(rig.lcores->take_control(frames.data(), 8), 1U);
    EXPECT_TRUE(note_of(frames[0])->unresolved);
    EXPECT_EQ(note_of(frames[0])->out, 0);
    rte_pktmbuf_free(frames[0]);
    EXPECT_EQ(rig.buffers_in_use(), 0U);
}

TEST(Lcores, AFullSendQueueIsCounted) {
    Rig rig;
    for (std::uint16_t i = 0; i < 600; ++i) {
        rig.put(rig.pod, from_pod(static_cast<std::uint16_t>(1024 + i)));
        rig.turn();
    }
    EXPECT_EQ(rig.uplink.take().size(), 511U);  // as many as a ring of 512 holds
    EXPECT_EQ(rig.sum(&WorkerCounters::send_failed), 89U);
    EXPECT_EQ(rig.lcores->worker(0).counters().port_send_failed[rig.uplink.id()].value(), 89U);
    EXPECT_EQ(rig.buffers_in_use(), 0U);
}

TEST(Lcores, BothDirectionsMeetOnOneOfTwo) {
    Rig rig(2);
    for (std::uint16_t port = 30000; port < 30200; ++port) {
        rig.put(rig.pod, from_pod(port));
        rig.turn();
        ASSERT_EQ(rig.uplink.take().size(), 1U) << port;
        rig.put(rig.uplink, answer(port));
        rig.turn();
        const auto back = rig.pod.take();
        ASSERT_EQ(back.size(), 1U) << port;
        ASSERT_EQ(packets::read(back[0]).src, "10.96.0.10") << port;
    }
    // Each has its share of the work, though each port is received by one of them alone.
    for (std::size_t i = 0; i < 2; ++i) {
        EXPECT_GT(rig.lcores->worker(i).counters().packets.value(), 100U);
        EXPECT_GT(rig.lcores->worker(i).counters().dispatched.value(), 50U);
    }
    EXPECT_EQ(rig.sum(&WorkerCounters::dispatch_failed), 0U);
    EXPECT_EQ(rig.buffers_in_use(), 0U);
}

// A lcore that sleeps is not waited for: what it had last may have been freed, and what came then may lie there.
TEST(Lcores, WhatLiesWhereAnotherLayIsNewAllTheSame) {
    Published<int> published;
    Taken<int> taken;
    EXPECT_FALSE(taken.take(published));
    int place = 1;
    const std::uint64_t first = published.publish(&place);
    EXPECT_TRUE(taken.take(published));
    EXPECT_EQ(taken.value, &place);
    EXPECT_FALSE(taken.take(published));
    const int other = 2;
    published.publish(&other);
    EXPECT_EQ(published.publish(&place), first + 2);
    EXPECT_TRUE(taken.take(published));
    EXPECT_EQ(taken.number, first + 2);
}

TEST(Lcores, AFullInboxIsCounted) {
    Rig rig(2);
    // Only the first of two lcores works; what it hands over stays.
    constexpr int kFrames = 9000;
    for (int i = 0; i < kFrames; ++i) {
        rig.put(rig.pod, from_pod(static_cast<std::uint16_t>(1024 + i)));
        rig.put(rig.uplink, from_pod(static_cast<std::uint16_t>(20000 + i)));
        rig.lcores->worker(0).turn();
        rig.uplink.take();
        rig.pod.take();
        if (rig.lcores->worker(0).counters().dispatch_failed.value() > 10) break;
        // The port that the second lcore receives is emptied without it.
        std::array<rte_mbuf*, 64> frames;
        const std::uint16_t other = lcore_of_queue(rig.uplink.id(), 0, 2) == 1 ? rig.uplink.id() : rig.pod.id();
        rte_pktmbuf_free_bulk(frames.data(), rte_eth_rx_burst(other, 0, frames.data(), 64));
    }
    EXPECT_GT(rig.lcores->worker(0).counters().dispatch_failed.value(), 10U);
    EXPECT_EQ(rte_ring_count(rig.lcores->worker(1).inbox()), kInboxFrames - 1);
    EXPECT_LE(rig.buffers_in_use(), kInboxFrames);
}

}  // namespace
}  // namespace sluice::dpdk
