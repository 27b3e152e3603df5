// The socket: both of its ends, with an engine that has no packets.
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <fstream>

#include "dataplane/dpdk/client/test_engine.h"

namespace sluice::dpdk {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

class Service : public EngineTest {
protected:
    void SetUp() override {
        EngineTest::SetUp();
        start_engine();
        calls_ = EngineCalls::to(socket_);
    }
    std::unique_ptr<EngineCalls> calls_;
};

TEST_F(Service, TellsWhatTheEngineSays) {
    const auto said = calls_->status();
    ASSERT_TRUE(said) << said.error().to_string();
    EXPECT_EQ(said->version, "fake");
    EXPECT_EQ(said->state_directory, directory_);
    EXPECT_EQ(said->counter_rows, 2U);
    ASSERT_EQ(said->ports.size(), 1U);
    EXPECT_EQ(said->ports[0].interface, "eth0");
    EXPECT_EQ(said->ports[0].received, 1U);
    EXPECT_EQ(said->ports[0].no_buffer, 7U);
    EXPECT_EQ(said->ports[0].offloads, std::vector<std::string>{"ipv4_cksum"});
    ASSERT_EQ(said->lcores.size(), 1U);
    EXPECT_EQ(said->lcores[0].busy_cycles, 10U);
    EXPECT_EQ(said->lcores[0].dispatch_failed, 60U);
    ASSERT_EQ(said->tables.size(), 1U);
    EXPECT_EQ(said->tables[0].refused, 2U);
    EXPECT_EQ(said->missing, std::vector<std::string>{"nothing"});
    EXPECT_EQ(said->routing.arp_answered, 70U);
    EXPECT_EQ(said->routing.snapshots, 0U);
    EXPECT_EQ(said->routing.kernel_skipped, 80U);
    EXPECT_EQ(said->growth.tables_grown, 3U);
    EXPECT_EQ(said->growth.flows_moved, 1000U);
    EXPECT_EQ(said->growth.flows_expired, 5U);
    EXPECT_EQ(said->growth.flows_lost, 2U);
}

TEST_F(Service, IsForRootAlone) {
    struct stat info {};
    ASSERT_EQ(stat(socket_.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777U, 0600U);
    ASSERT_EQ(stat((root_ + "/run").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777U, 0700U);
}

TEST_F(Service, ASecondEngineIsRefusedAndTheFirstGoesOn) {
    const auto second = ControlServer::start(socket_, *engine_);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Code::kAlreadyExists);
    EXPECT_THAT(second.error().message, HasSubstr(socket_));
    EXPECT_TRUE(calls_->status());
}

TEST_F(Service, ASocketThatNobodyServesIsReplacedAndAFileIsNot) {
    stop_engine();
    EXPECT_FALSE(std::filesystem::exists(socket_));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socket_.copy(address.sun_path, sizeof(address.sun_path) - 1);
    {
        const Fd stale(::socket(AF_UNIX, SOCK_STREAM, 0));
        ASSERT_EQ(bind(stale.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    }
    start_engine();
    EXPECT_TRUE(EngineCalls::to(socket_)->status());
    stop_engine();
    std::ofstream(socket_) << "mine";
    FakeEngine engine(directory_);
    const auto refused = ControlServer::start(socket_, engine);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::kFailedPrecondition);
    EXPECT_TRUE(std::filesystem::exists(socket_));
}

TEST_F(Service, APathThatNoSocketCanHaveIsRefused) {
    for (const std::string& path : {std::string(), root_ + "/" + std::string(120, 'x')}) {
        const auto refused = ControlServer::start(path, *engine_);
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
    }
}

TEST_F(Service, ErrorsKeepTheirCodeAndSentence) {
    const auto missing = calls_->attach(7);
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, Code::kNotFound);
    EXPECT_THAT(missing.error().message, HasSubstr("image-7"));
    EXPECT_EQ(calls_->attach(0).error().code, Code::kInvalidArgument);
    for (const Code code : {Code::kDataLoss, Code::kFailedPrecondition, Code::kCancelled, Code::kUnauthenticated}) {
        engine_->refuse = static_cast<int>(code);
        EXPECT_EQ(calls_->attach(7).error().code, code);
    }
}

TEST_F(Service, ACallThatLastsTooLongEndsAtItsDeadline) {
    engine_->standing = true;
    const auto late = calls_->synchronize(milliseconds(50));
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code, Code::kDeadlineExceeded);
    // Others are answered meanwhile.
    EXPECT_TRUE(calls_->status());
    const auto undrained = calls_->drain(3, milliseconds(50));
    ASSERT_FALSE(undrained);
    EXPECT_EQ(undrained.error().code, Code::kDeadlineExceeded);
    EXPECT_TRUE(engine_->draining);
}

TEST_F(Service, DrainsAndTakesItBack) {
    EXPECT_EQ(calls_->drain(0, kShortCall).value(), 0U);
    EXPECT_EQ(engine_->idle_seconds, 10U);
    EXPECT_EQ(calls_->drain(3, kShortCall).value(), 0U);
    EXPECT_EQ(engine_->idle_seconds, 3U);
    EXPECT_TRUE(calls_->status()->draining);
    EXPECT_TRUE(calls_->undo_drain());
    EXPECT_FALSE(calls_->status()->draining);
    EXPECT_EQ(calls_->drain(28801, kShortCall).error().code, Code::kInvalidArgument);
}

TEST_F(Service, CapturesWithTheFieldsAsked) {
    CaptureOptions options;
    options.file = "/tmp/capture.pcapng";
    options.source = "fd00::1";
    options.destination_port = 443;
    options.protocol = 6;
    std::vector<std::uint64_t> seen;
    const auto done = calls_->capture(options, [&](const CaptureState& state) {
        seen.push_back(state.packets);
        return true;
    });
    ASSERT_TRUE(done) << done.error().to_string();
    EXPECT_TRUE(done->finished);
    EXPECT_EQ(seen, (std::vector<std::uint64_t>{1, 2, 3}));
    EXPECT_EQ(engine_->captured->file, options.file);
    EXPECT_EQ(engine_->captured->source, "fd00::1");
    EXPECT_EQ(engine_->captured->destination_port, 443U);
    EXPECT_EQ(engine_->captured->max_packets, 10000U);
    const auto refused = [&](const char* field) {
        const auto answer = calls_->capture(options, [](const CaptureState&) { return true; });
        ASSERT_FALSE(answer) << field;
        EXPECT_EQ(answer.error().code, Code::kInvalidArgument);
        EXPECT_THAT(answer.error().message, HasSubstr(field));
    };
    options.source = "nowhere";
    refused("source");
    options.source.clear();
    options.seconds = 3601;
    refused("seconds");
    options.seconds = 1;
    options.file = "capture.pcapng";
    refused("file");
}

TEST_F(Service, WatchersSeeChangesAtOnceAndTheEnd) {
    std::atomic<int> messages{0};
    std::atomic<bool> drained{false};
    Result<void> ended;
    std::thread watcher([&] {
        ended = calls_->watch([&](const EngineState& state) {
            ++messages;
            drained = state.draining;
            return true;
        });
    });
    EXPECT_TRUE(eventually([&] { return messages > 0; }));
    engine_->draining = true;
    server_->changed();
    EXPECT_TRUE(eventually([&] { return drained.load(); }));
    stop_engine();
    watcher.join();
    ASSERT_FALSE(ended);
    EXPECT_EQ(ended.error().code, Code::kUnavailable);
}

TEST_F(Service, OneWatcherTooManyIsRefused) {
    std::vector<std::thread> watchers;
    std::atomic<int> watching{0};
    for (int i = 0; i < kMaxWatchers; ++i) {
        watchers.emplace_back([&] {
            bool first = true;
            static_cast<void>(calls_->watch([&](const EngineState&) {
                watching += first ? 1 : 0;
                first = false;
                return true;
            }));
        });
    }
    EXPECT_TRUE(eventually([&] { return watching == kMaxWatchers; }));
    const auto other = EngineCalls::to(socket_);
    const auto refused = other->watch([](const EngineState&) { return true; });
    EXPECT_FALSE(refused);
    EXPECT_EQ(refused ? Code::kUnknown : refused.error().code, Code::kResourceExhausted);
    EXPECT_TRUE(other->status());
    calls_->cancel();
    for (std::thread& watcher : watchers) watcher.join();
    // Their places are free again.
    EXPECT_TRUE(eventually([&] { return other->watch([](const EngineState&) { return false; }).has_value(); }));
}

TEST_F(Service, HandsOver) {
    EXPECT_TRUE(calls_->hand_over());
    EXPECT_TRUE(engine_->handed_over);
}

TEST_F(Service, NobodyThereIsUnavailableAtOnce) {
    stop_engine();
    const auto nobody = EngineCalls::to(socket_)->status();
    ASSERT_FALSE(nobody);
    EXPECT_EQ(nobody.error().code, Code::kUnavailable);
    EXPECT_THAT(nobody.error().message, HasSubstr(socket_));
}

}  // namespace
}  // namespace sluice::dpdk
