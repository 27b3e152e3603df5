// The control thread: ARP, ND and frames that wait for a neighbour, news of the kernel, timers, and what other threads
// want done here. It sleeps until one of them has something.
#pragma once

#include <rte_mbuf.h>

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "api/base/fd.h"
#include "dataplane/dpdk/routing/controller.h"
#include "dataplane/dpdk/runtime/eal.h"
#include "dataplane/dpdk/runtime/lcores_internal.h"

namespace sluice::dpdk {

inline constexpr std::size_t kMaxPosted = 256;           // calls of other threads that wait
inline constexpr std::size_t kMaxRetiredSnapshots = 64;  // beyond, a change waits for lcores
inline constexpr std::uint32_t kControlBurst = 64;

struct ControlCounters {
    Counter frames, unresolved, replies, to_kernel, dropped;
    Counter no_buffer;     // for a frame of ours
    Counter no_exception;  // for the kernel, and there is no way to it
};

class ControlLoop {
public:
    struct Setup {
        const Eal& eal;
        Lcores& lcores;
        ControllerOptions routing;
        std::vector<std::uint16_t> port_of;       // by interface
        std::vector<std::uint16_t> exception_of;  // by interface; kNoPort: none
        std::function<void(int)> signalled;       // a signal has come
        std::vector<int> signals;                 // blocked in all threads
    };
    // The first snapshot is published when it returns. Errors of the configuration: kInvalidArgument.
    static Result<std::unique_ptr<ControlLoop>> start(Setup setup);
    ~ControlLoop();
    ControlLoop(const ControlLoop&) = delete;
    ControlLoop& operator=(const ControlLoop&) = delete;

    // Runs the call on the control thread, and waits until it has. False: the thread is at its end, or kMaxPosted wait.
    bool call(std::function<void(Controller&)> work);
    [[nodiscard]] const ControlCounters& counters() const { return counters_; }
    // As they were at the end of the control thread's last turn; it counts nowhere else. Any thread, without waiting.
    [[nodiscard]] RoutingCounters routing() const;

private:
    explicit ControlLoop(Setup setup);
    Result<void> open();
    void run(const std::stop_token& stop);
    void look_at_signals();
    void take_frames(Milliseconds now);
    void handle(rte_mbuf* mbuf, Milliseconds now);
    void run_posted();
    void send_frames();
    void replaced(const Forwarding* now, std::unique_ptr<const Forwarding> before);
    void free_retired();
    void note_routing();
    [[nodiscard]] int timeout_ms(Milliseconds now) const;

    Setup setup_;
    Fd poll_, wake_, signals_;
    std::unique_ptr<Controller> controller_;
    std::deque<std::pair<std::uint64_t, std::unique_ptr<const Forwarding>>> retired_;
    std::mutex mutex_;
    std::vector<std::function<void()>> posted_;  // under mutex_
    bool ended_ = false;                         // under mutex_
    mutable std::mutex routing_mutex_;           // the copy alone
    RoutingCounters routing_;                    // under routing_mutex_
    ControlCounters counters_;
    std::jthread thread_;
};

}  // namespace sluice::dpdk
