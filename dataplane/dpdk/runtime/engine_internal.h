// The engine's parts and what holds them together. engine.cc makes them, engine_control.cc answers the agent,
// engine_status.cc tells of them, engine_capture.cc writes captures.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "api/base/fd.h"
#include "dataplane/dpdk/runtime/capture_internal.h"
#include "dataplane/dpdk/runtime/control_loop_internal.h"
#include "dataplane/dpdk/runtime/eal.h"
#include "dataplane/dpdk/runtime/engine.h"
#include "dataplane/dpdk/runtime/lcores_internal.h"
#include "dataplane/dpdk/runtime/table_growth.h"
#include "dataplane/dpdk/runtime/telemetry.h"
#include "dataplane/dpdk/shared/segment.h"

namespace sluice::dpdk {

// How long a predecessor may take to close its ports and end.
inline constexpr std::chrono::seconds kHandOverPatience{20};
inline constexpr std::chrono::seconds kTableSample{5};  // figures of tables are as old at most
inline constexpr std::size_t kMaxRetiredImages = 16;    // that a stuck lcore may still use

// An image in force. While draining, lcores see its services without endpoints.
struct LiveImage {
    std::unique_ptr<ImageSegment> segment;
    std::vector<sluice_service> drained;  // empty unless draining
    image::Tables tables;
};

class RealEngine final : public Engine {
public:
    ~RealEngine() override;
    static Result<std::unique_ptr<Engine>> make(const Options& options);

    Result<void> run() override;
    void on_change(std::function<void()> changed) override { changed_ = std::move(changed); }
    [[nodiscard]] std::vector<std::pair<std::string, std::uint64_t>> drops() const override;

    [[nodiscard]] EngineState status() const override;
    Result<void> attach(std::uint32_t image, const Patience& patience) override;
    Result<void> synchronize(const Patience& patience) override;
    Result<std::uint64_t> drain(const DrainOptions& options, const Patience& patience) override;
    void undo_drain() override;
    Result<void> hand_over(const Patience& patience) override;
    Result<CaptureState> capture(const CaptureOptions& options, const Patience& patience,
                                 const std::function<bool(const CaptureState&)>& progress) override;

private:
    explicit RealEngine(const Options& options) : options_(options) {}
    Result<void> start_environment();
    Result<void> take_state();
    Result<void> open_ports();
    Result<void> open_exception_ports();
    Result<void> open_tables();
    [[nodiscard]] std::uint32_t most_flows() const;
    Result<void> start_lcores();
    Result<void> attach_current();
    void say_what_is_there() const;
    void close_ports();

    // REQUIRES: images_mutex_. Publishes and waits; the one before is freed, or kept when a lcore is stuck.
    Result<void> put_into_force(std::unique_ptr<LiveImage> next, const Patience& patience);
    Result<void> wait_for_lcores(const Patience& patience);
    [[nodiscard]] std::uint64_t active_flows(std::uint32_t idle_seconds) const;
    [[nodiscard]] std::vector<dataplane::TableStatus> sample_tables() const;
    [[nodiscard]] GrowthState growth() const;
    void changed() const {
        if (changed_) changed_();
    }

    const Options options_;
    const std::chrono::steady_clock::time_point born_ = std::chrono::steady_clock::now();
    std::function<void()> changed_;
    std::unique_ptr<Eal> eal_;
    Fd state_lock_;
    std::vector<Port> ports_;
    std::vector<Interface> interfaces_;
    std::vector<std::uint16_t> exception_of_;  // by interface
    std::vector<Twin> twins_;
    rte_mempool* pool_ = nullptr;
    std::vector<std::unique_ptr<FlowSegment>> flows_;
    std::unique_ptr<SharedSegment> shared_;
    std::unique_ptr<EventSegment> events_;
    mutable std::mutex mapped_mutex_;  // held by who reads the tables of the two
    std::unique_ptr<Lcores> lcores_;
    std::unique_ptr<TableGrowth> growth_;
    std::unique_ptr<ControlLoop> control_;
    std::unique_ptr<Telemetry> telemetry_;

    std::mutex images_mutex_;                            // changes of what is in force, one at a time
    mutable std::mutex live_mutex_;                      // the pointer alone, for status()
    std::unique_ptr<LiveImage> live_;                    // under live_mutex_ to read, both to change
    std::deque<std::pair<std::uint64_t, std::unique_ptr<LiveImage>>> retired_;  // under images_mutex_
    std::atomic<bool> draining_{false};
    std::atomic<std::uint64_t> undone_{0};               // drains taken back so far

    mutable std::mutex ports_mutex_;  // ports are asked or closed
    bool ports_open_ = false;         // under ports_mutex_

    std::mutex capture_mutex_;  // one capture at a time
    std::vector<std::unique_ptr<Capture>> stuck_captures_;

    std::mutex end_mutex_;
    std::condition_variable end_;
    bool ports_closed_ = false;  // under end_mutex_

    mutable std::mutex sample_mutex_;
    mutable std::vector<dataplane::TableStatus> sample_;
    mutable std::chrono::steady_clock::time_point sampled_{};
    std::chrono::steady_clock::time_point handed_over_{};  // when the predecessor was asked
};

}  // namespace sluice::dpdk
