// A thread's event loop: descriptors, work from other threads, and a tick for deadlines.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <unordered_map>
#include <vector>

#include "api/base/result.h"
#include "control/dns/endpoint.h"

namespace sluice::dns {

// Pieces of work from other threads that may wait.
inline constexpr std::size_t kMaxPosted = 4'096;
inline constexpr std::uint64_t kTickMs = 50;

// All but post() are for the loop's own thread (or before run()). A handler may add and remove any,
// itself included.
class EventLoop {
public:
    using Handler = std::function<void(std::uint32_t events)>;
    static Result<std::unique_ptr<EventLoop>> create();

    // Calls the handler for these epoll events of fd until remove(). 0 when the kernel refuses.
    std::uint64_t add(int fd, std::uint32_t events, Handler handler);
    void modify(std::uint64_t id, int fd, std::uint32_t events);
    void remove(std::uint64_t id, int fd);
    // Calls it about every kTickMs while there is work, with milliseconds of the steady clock, and
    // every second at least; it says whether it waits for a deadline.
    void add_ticker(std::function<bool(std::uint64_t now_ms)> ticker);
    // Any thread. False when kMaxPosted wait already.
    bool post(std::function<void()> work);
    void run(const std::stop_token& stop);

    [[nodiscard]] static std::uint64_t now_ms();

private:
    EventLoop() = default;
    void wake() const;
    void run_posted();
    bool tick();

    Fd epoll_, wakeup_;
    std::uint64_t next_id_ = 1;  // 0 is the wake-up's
    std::unordered_map<std::uint64_t, std::shared_ptr<Handler>> handlers_;
    std::vector<std::function<bool(std::uint64_t)>> tickers_;
    std::mutex mutex_;
    std::vector<std::function<void()>> posted_;
};

}  // namespace sluice::dns
