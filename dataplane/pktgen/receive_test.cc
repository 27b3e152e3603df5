// Pacing against a clock of the test; sequence windows against a plain set; frames of all kinds.
#include "dataplane/pktgen/receive.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <set>

#include "dataplane/pktgen/packets.h"
#include "dataplane/pktgen/rate.h"

namespace sluice::pktgen {
namespace {

constexpr std::uint64_t kHz = 1'000'000'000;

std::uint64_t take_all(Pacer& pacer, std::uint64_t now, double cost) {
    pacer.poll(now);
    std::uint64_t taken = 0;
    while (taken < 1'000'000 && pacer.take(cost)) {
        ++taken;
    }
    return taken;
}

TEST(Pacer, SendsEachAtItsTime) {
    Pacer pacer(1e6, 1, kHz, 500);
    std::uint64_t sent = 0;
    for (std::uint64_t now = 500; now < 500 + 10'000'000; now += 50) {
        sent += take_all(pacer, now, 1);
        // The nth goes n microseconds after the first: never earlier, at most a turn later.
        const std::uint64_t due = (now - 500) / 1000 + 1;
        ASSERT_LE(sent, due);
        ASSERT_GE(sent + 1, due);
    }
    EXPECT_EQ(sent, 10'000U);
    EXPECT_EQ(pacer.given_up(), 0);
}

TEST(Pacer, BitsAreOfLayer1) {
    const double cost = (64 + 20) * 8;
    Pacer pacer(1e9, cost, kHz, 0);  // 1 Gbit/s: 1.488 Mpps
    std::uint64_t sent = 0;
    for (std::uint64_t now = 0; now <= kHz; now += 300) {
        sent += take_all(pacer, now, cost);
    }
    EXPECT_NEAR(static_cast<double>(sent), 1'488'095, 2);
}

TEST(Pacer, CatchesUpInBoundedBursts) {
    Pacer pacer(1e6, 1, kHz, 0);
    std::uint64_t sent = take_all(pacer, 0, 1);
    // Away for a second: what is late beyond the bound is given up; of the rest a burst goes at once
    // and what remains at twice the rate.
    const std::uint64_t at_once = take_all(pacer, kHz, 1);
    EXPECT_EQ(at_once, static_cast<std::uint64_t>(Pacer::kPauseBurst));
    EXPECT_NEAR(pacer.given_up(), 1e6 * (1 - Pacer::kMaxBehind_s), 2);
    EXPECT_NEAR(pacer.missed_by(kHz), 1e6 - 1 - Pacer::kPauseBurst, 2);
    std::uint64_t last = 0;
    for (std::uint64_t now = kHz + 1000; now <= kHz + 1'000'000; now += 1000) {
        last += take_all(pacer, now, 1);
    }
    EXPECT_NEAR(static_cast<double>(last), 2000, 3);
    for (std::uint64_t now = kHz + 1'001'000; now <= 2 * kHz; now += 1000) {
        sent += take_all(pacer, now, 1);
    }
    EXPECT_NEAR(static_cast<double>(sent + at_once + last), 1e6 * (1 + Pacer::kMaxBehind_s), 3);
    EXPECT_NEAR(pacer.missed_by(2 * kHz), pacer.given_up(), 1.01);
}

// A lcore that has a tenth of a CPU, in slices of 2 ms, sends all of a rate that its bursts allow for.
TEST(Pacer, KeepsTheRateInShortSlices) {
    constexpr double kRate = 10'000;
    Pacer pacer(kRate, 1, kHz, 0);
    std::uint64_t sent = 0;
    for (std::uint64_t slice = 0; slice < 50; ++slice) {
        for (std::uint64_t at = 0; at < 2'000'000; at += 10'000) {
            const std::uint64_t taken = take_all(pacer, slice * 20'000'000 + at, 1);
            ASSERT_LE(taken, static_cast<std::uint64_t>(Pacer::kPauseBurst));
            sent += taken;
        }
    }
    EXPECT_EQ(pacer.given_up(), 0);
    EXPECT_NEAR(static_cast<double>(sent), kRate * (49 * 0.02 + 0.002), 2);
}

// Many at once are as many as one by one.
RC_GTEST_PROP(Pacer, ManyAtOnceAreAsOneByOne, ()) {
    const auto rate = *rc::gen::inRange(1, 10'000'000);
    const double cost = *rc::gen::inRange(1, 12'000);
    Pacer one(rate, cost, kHz, 0);
    Pacer many(rate, cost, kHz, 0);
    std::uint64_t now = 0;
    for (int i = 0; i < 50; ++i) {
        now += static_cast<std::uint64_t>(*rc::gen::inRange(0, 40'000'000));
        const auto most = static_cast<unsigned>(*rc::gen::inRange(0, 64));
        one.poll(now);
        many.poll(now);
        unsigned taken = 0;
        while (taken < most && one.take(cost)) {
            ++taken;
        }
        RC_ASSERT(many.take(cost, most) == taken);
    }
}

TEST(Pacer, WithoutALimitNothingWaits) {
    Pacer pacer(0, 1, kHz, 0);
    EXPECT_EQ(take_all(pacer, 0, 1), 1'000'000U);
}

// What the windows say, by remembering everything.
struct Remembering {
    std::set<std::uint32_t> seen;
    std::uint32_t next = 0;
    Arrival arrive(std::uint32_t sequence) {
        if (!seen.insert(sequence).second) {
            return Arrival::kDuplicate;
        }
        if (sequence < next) {
            return Arrival::kReordered;
        }
        next = sequence + 1;
        return Arrival::kInOrder;
    }
};

RC_GTEST_PROP(Windows, AreThePlainSet, (const std::vector<std::uint8_t>& steps, bool shared)) {
    auto windows = Windows::make(3, shared);
    RC_ASSERT(windows.has_value());
    Remembering plain[3];
    std::uint32_t at[3] = {0, 0, 0};
    std::uint64_t skipped_sum[3] = {0, 0, 0};
    std::uint64_t refilled[3] = {0, 0, 0};
    for (const std::uint8_t step : steps) {
        const std::uint32_t stream = step % 3;
        // Forward by up to 4, or back by up to 20, within the window.
        const std::uint32_t back = std::min<std::uint32_t>(at[stream], step % 20);
        const std::uint32_t sequence = step < 160 ? at[stream] + step % 5 : at[stream] - back;
        at[stream] = std::max(at[stream], sequence + 1);
        std::uint32_t skipped = 0;
        const Arrival expected = plain[stream].arrive(sequence);
        RC_ASSERT(windows->arrive(stream, sequence, skipped) == expected);
        skipped_sum[stream] += skipped;
        refilled[stream] += expected == Arrival::kReordered ? 1 : 0;
    }
    // What was jumped over and did not come later is what is missing below the highest.
    for (int i = 0; i < 3; ++i) {
        RC_ASSERT(skipped_sum[i] - refilled[i] == plain[i].next - plain[i].seen.size());
    }
}

TEST(Windows, OfManyStreamsAreSmallAndTellWhatIsTooLate) {
    auto few = Windows::make(1, false);
    auto many = Windows::make(1ULL << 22U, true);
    ASSERT_TRUE(few && many);
    EXPECT_EQ(few->window(), Windows::kMaxWindow);
    EXPECT_EQ(many->window(), Windows::kMinWindow);
    std::uint32_t skipped = 0;
    EXPECT_EQ(many->arrive(9, 5, skipped), Arrival::kInOrder);
    EXPECT_EQ(skipped, 5U);
    EXPECT_EQ(many->arrive(9, 200, skipped), Arrival::kInOrder);
    EXPECT_EQ(many->arrive(9, 199, skipped), Arrival::kReordered);
    EXPECT_EQ(many->arrive(9, 199, skipped), Arrival::kDuplicate);
    EXPECT_EQ(many->arrive(9, 5, skipped), Arrival::kLate);
    EXPECT_EQ(many->arrive(8, 0, skipped), Arrival::kInOrder);
}

TEST(Windows, SequencesWrap) {
    for (const bool shared : {false, true}) {
        auto windows = Windows::make(1, shared);
        ASSERT_TRUE(windows);
        std::uint32_t skipped = 0;
        // Ahead by less than half of all numbers each time, as a stream of four thousand million would.
        for (std::uint64_t at = 0; at < (3ULL << 32U); at += 1ULL << 29U) {
            EXPECT_EQ(windows->arrive(0, static_cast<std::uint32_t>(at), skipped), Arrival::kInOrder) << at;
            EXPECT_EQ(windows->arrive(0, static_cast<std::uint32_t>(at), skipped), Arrival::kDuplicate) << at;
            EXPECT_EQ(windows->arrive(0, static_cast<std::uint32_t>(at - 1), skipped),
                      at == 0 ? Arrival::kLate : Arrival::kReordered);
        }
    }
}

TEST(Windows, TooManyStreamsAreRefused) {
    EXPECT_EQ(Windows::make(Windows::kMaxStreams + 1, false).error().code, Code::kResourceExhausted);
}

class ReceiverTest : public testing::Test {
protected:
    ReceiverTest() {
        profile_.source = {*IpAddress::parse("10.0.0.1"), *IpAddress::parse("10.0.0.1")};
        profile_.destination = {*IpAddress::parse("10.1.0.1"), *IpAddress::parse("10.1.0.1")};
        profile_.sizes = {{200, 1}};
        flows_.emplace(profile_);
        frames_.emplace(profile_, *flows_, FrameOptions{});
        windows_.emplace(*Windows::make(1, false));
        receiver_.emplace(ReceiveOptions{7, 8, false, L4::kUdp, LifeCycle::kNone, 1}, &*windows_);
    }
    std::vector<std::uint8_t> frame(std::uint16_t run, std::uint32_t stream, std::uint32_t sequence,
                                    std::uint64_t time) {
        std::vector<std::uint8_t> out(frames_->room());
        const BuiltFrame built = frames_->build(out.data(), 0, 0);
        Frames::finish(out.data(), built, {run, stream, sequence, time});
        out.resize(built.bytes);
        return out;
    }
    void take(const std::vector<std::uint8_t>& bytes, std::uint64_t now) {
        receiver_->take(view_frame(bytes.data(), bytes.size()), bytes.size(), now);
    }

    Profile profile_;
    std::optional<FlowSpace> flows_;
    std::optional<Frames> frames_;
    std::optional<Windows> windows_;
    std::optional<Receiver> receiver_;
};

TEST_F(ReceiverTest, TellsOursFromOthersAndWholeFromBroken) {
    const ReceiveCounts& counts = receiver_->counts();
    take(frame(7, 0, 0, 1000), 1500);
    EXPECT_EQ(counts.received.get(), 1U);
    EXPECT_EQ(counts.received_bytes.get(), 200U);
    EXPECT_EQ(receiver_->recent().min(), 500U);
    take(frame(8, 0, 1, 0), 1);
    EXPECT_EQ(counts.warmup.get(), 1U);
    take(frame(9, 0, 1, 0), 1);   // of another run
    take(frame(7, 1, 1, 0), 1);   // no such stream
    EXPECT_EQ(counts.foreign.get(), 2U);
    auto broken = frame(7, 0, 1, 0);
    broken[100] ^= 1U;
    take(broken, 1);
    EXPECT_EQ(counts.corrupted.get(), 1U);
    EXPECT_EQ(counts.received.get(), 1U);
}

// In a tunnel, and behind tags and options, it is still ours.
TEST_F(ReceiverTest, LooksIntoTunnels) {
    const auto inner = frame(7, 0, 0, 0);
    std::vector<std::uint8_t> outer(inner.begin(), inner.begin() + 12);
    const std::uint8_t header[] = {0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 4, 64};
    outer.insert(outer.end(), header, header + sizeof header);
    store16(&outer[26], static_cast<std::uint16_t>(inner.size() - 14));
    outer.resize(outer.size() + 32, 0xfd);
    outer.insert(outer.end(), inner.begin() + 14, inner.end());
    take(outer, 1);
    EXPECT_EQ(receiver_->counts().received.get(), 1U);
}

// Whatever is cut off or changed: nothing is read beyond the end (a sanitizer would tell) and nothing else
// becomes ours but what still has a right checksum.
TEST_F(ReceiverTest, HostileFramesAreNotOurs) {
    const auto whole = frame(7, 0, 0, 0);
    for (std::size_t length = 0; length < whole.size(); ++length) {
        const std::vector<std::uint8_t> cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
        take(cut, 1);
    }
    EXPECT_EQ(receiver_->counts().foreign.get(), whole.size());
    Random random(1);
    for (int i = 0; i < 20'000; ++i) {
        auto bytes = whole;
        for (int k = 0; k < 3; ++k) {
            bytes[12 + random.below(50)] = static_cast<std::uint8_t>(random.next());
        }
        bytes.resize(random.below(bytes.size() + 1));
        take(bytes, 1);
    }
    const ReceiveCounts& counts = receiver_->counts();
    EXPECT_EQ(counts.received.get() + counts.corrupted.get() + counts.foreign.get() + counts.warmup.get(),
              20'000U + whole.size());
}

}  // namespace
}  // namespace sluice::pktgen
