// An engine without packets, behind the real socket, for tests of the agent's end: maps what it is told to, counts what
// it is asked, and can refuse, stand still or die.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "dataplane/dpdk/client/calls.h"
#include "dataplane/dpdk/service/control.h"
#include "dataplane/dpdk/service/server.h"
#include "dataplane/dpdk/shared/segment.h"

namespace sluice::dpdk {

// Whether it became so within ten seconds.
inline bool eventually(const std::function<bool()>& condition) {
    for (int i = 0; i < 1000; ++i) {
        if (condition()) return true;
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
}

class FakeEngine final : public EngineControl {
public:
    explicit FakeEngine(std::string directory, std::uint32_t lcores = 2)
        : directory_(std::move(directory)), lcores_(lcores), lock_(lock_state_directory(directory_).value()) {
        // As an engine begins.
        if (const auto current = current_image(directory_)) {
            image_ = ImageSegment::open(directory_, *current, Access::kReadOnly).value();
        }
    }

    [[nodiscard]] EngineState status() const override {
        const std::lock_guard lock(mutex_);
        EngineState out;
        out.version = "fake";
        out.pid = static_cast<std::uint32_t>(getpid());
        out.state_directory = directory_;
        out.image = image_ ? image_->number() : 0;
        out.layout_version = SLUICE_LAYOUT_VERSION;
        out.counter_rows = lcores_;
        out.draining = draining;
        out.ports.push_back({"net_fake0", "eth0", "net_fake", "02:00:00:00:00:01", 1500, true, 1, 2, 3, 4, 5, 6, 7,
                             {"ipv4_cksum"}, 2});
        out.lcores.push_back({0, 1, 10, 20, 30, 40, 50, 60});
        out.tables.push_back({"flows4", 100, 10, 1, 2});
        out.missing = {"nothing"};
        out.routing.arp_answered = 70;
        out.routing.kernel_skipped = 80;
        out.growth = {3, 1000, 5, 2};
        return out;
    }
    Result<void> attach(std::uint32_t image, const Patience& patience) override {
        ++attaches;
        if (refuse.load() != 0) {
            return make_error(static_cast<Code>(refuse.load()), "image-{} is not to its taste", image);
        }
        SLUICE_TRY(stand_still("attach", patience));
        auto opened = ImageSegment::open(directory_, image, Access::kReadOnly);
        if (!opened) return opened.error();
        const std::lock_guard lock(mutex_);
        if (before_turning) before_turning(*image_);
        image_ = std::move(*opened);
        return {};
    }
    Result<void> synchronize(const Patience& patience) override {
        ++synchronizes;
        return stand_still("synchronize", patience);
    }
    Result<std::uint64_t> drain(const DrainOptions& options, const Patience& patience) override {
        draining = true;
        idle_seconds = options.idle_seconds;
        SLUICE_TRY(stand_still("drain", patience));
        return 0;
    }
    void undo_drain() override { draining = false; }
    Result<void> hand_over(const Patience&) override {
        handed_over = true;
        return {};
    }
    Result<CaptureState> capture(const CaptureOptions& options, const Patience&,
                                 const std::function<bool(const CaptureState&)>& progress) override {
        {
            const std::lock_guard lock(mutex_);
            captured = options;
        }
        for (std::uint64_t i = 1; i <= 3; ++i) {
            if (!progress({i, 0, i == 3})) break;
        }
        return CaptureState{3, 0, true};
    }

    // Uses the image as a lcore would.
    template <class Use>
    auto with_tables(Use use) const {
        const std::lock_guard lock(mutex_);
        return use(image_->tables());
    }
    [[nodiscard]] std::uint32_t image() const {
        const std::lock_guard lock(mutex_);
        return image_ ? image_->number() : 0;
    }

    std::atomic<int> attaches{0}, synchronizes{0}, refuse{0};
    std::atomic<bool> standing{false}, draining{false}, handed_over{false};
    std::atomic<std::uint32_t> idle_seconds{0};
    std::function<void(const ImageSegment&)> before_turning;
    std::optional<CaptureOptions> captured;

private:
    Result<void> stand_still(const char* what, const Patience& patience) const {
        while (standing) {
            SLUICE_TRY(patience.check(what));
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
        return {};
    }

    const std::string directory_;
    const std::uint32_t lcores_;
    Fd lock_;
    mutable std::mutex mutex_;
    std::unique_ptr<ImageSegment> image_;
};

class EngineTest : public testing::Test {
protected:
    void SetUp() override {
        std::string pattern = "/dev/shm/dpdk-client-XXXXXX";
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        root_ = pattern;
        directory_ = root_ + "/state";
        socket_ = root_ + "/run/dpdk.sock";
    }
    void TearDown() override {
        stop_engine();
        std::filesystem::remove_all(root_);
    }
    void start_engine(std::uint32_t lcores = 2) {
        engine_ = std::make_unique<FakeEngine>(directory_, lcores);
        auto served = ControlServer::start(socket_, *engine_);
        ASSERT_TRUE(served) << served.error().to_string();
        server_ = std::move(*served);
    }
    void stop_engine() {
        server_.reset();
        engine_.reset();
    }

    std::string root_, directory_, socket_;
    std::unique_ptr<FakeEngine> engine_;
    std::unique_ptr<ControlServer> server_;
};

}  // namespace sluice::dpdk
