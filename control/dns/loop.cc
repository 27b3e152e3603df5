// See loop.h.
#include "control/dns/loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <array>
#include <cerrno>
#include <chrono>

namespace sluice::dns {
namespace {
constexpr int kIdleWaitMs = 1'000;
constexpr std::size_t kEventsAtOnce = 64;
}  // namespace

Result<std::unique_ptr<EventLoop>> EventLoop::create() {
    std::unique_ptr<EventLoop> loop(new EventLoop());
    loop->epoll_ = Fd(::epoll_create1(EPOLL_CLOEXEC));
    loop->wakeup_ = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!loop->epoll_ || !loop->wakeup_) return errno_error(errno, "cannot make an event loop");
    epoll_event event{};
    event.events = EPOLLIN;
    if (::epoll_ctl(loop->epoll_.get(), EPOLL_CTL_ADD, loop->wakeup_.get(), &event) != 0) {
        return errno_error(errno, "cannot make an event loop");
    }
    return loop;
}

std::uint64_t EventLoop::add(int fd, std::uint32_t events, Handler handler) {
    epoll_event event{};
    event.events = events;
    event.data.u64 = next_id_;
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return 0;
    handlers_.emplace(next_id_, std::make_shared<Handler>(std::move(handler)));
    return next_id_++;
}

void EventLoop::modify(std::uint64_t id, int fd, std::uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.u64 = id;
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
}

void EventLoop::remove(std::uint64_t id, int fd) {
    if (handlers_.erase(id) > 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

void EventLoop::add_ticker(std::function<bool(std::uint64_t)> ticker) {
    tickers_.push_back(std::move(ticker));
}

bool EventLoop::post(std::function<void()> work) {
    {
        const std::lock_guard lock(mutex_);
        if (posted_.size() >= kMaxPosted) return false;
        posted_.push_back(std::move(work));
    }
    wake();
    return true;
}

void EventLoop::wake() const {
    const std::uint64_t one = 1;
    // It fails only when the counter is full, and then the loop is awake.
    if (::write(wakeup_.get(), &one, sizeof one) < 0) return;
}

void EventLoop::run_posted() {
    std::uint64_t count = 0;
    if (::read(wakeup_.get(), &count, sizeof count) < 0) return;
    std::vector<std::function<void()>> work;
    {
        const std::lock_guard lock(mutex_);
        work.swap(posted_);
    }
    for (auto& piece : work) piece();
}

bool EventLoop::tick() {
    const std::uint64_t now = now_ms();
    bool busy = false;
    for (auto& ticker : tickers_) busy = ticker(now) || busy;
    return busy;
}

void EventLoop::run(const std::stop_token& stop) {
    const std::stop_callback on_stop(stop, [this] { wake(); });
    std::array<epoll_event, kEventsAtOnce> events{};
    std::uint64_t last_tick = 0;
    bool busy = true;
    while (!stop.stop_requested()) {
        const int wait = busy ? static_cast<int>(kTickMs) : kIdleWaitMs;
        const int count = ::epoll_wait(epoll_.get(), events.data(), kEventsAtOnce, wait);
        for (int i = 0; i < count; ++i) {
            const epoll_event& event = events[static_cast<std::size_t>(i)];
            // By value: the kernel's structure is packed.
            const std::uint64_t id = event.data.u64;
            if (id == 0) {
                run_posted();
            } else if (const auto at = handlers_.find(id); at != handlers_.end()) {
                // Kept alive while it runs, as it may remove itself.
                const auto handler = at->second;
                (*handler)(event.events);
            }
        }
        const std::uint64_t now = now_ms();
        busy = busy || count > 0;
        if (now - last_tick >= kTickMs) {
            last_tick = now;
            busy = tick();
        }
    }
}

std::uint64_t EventLoop::now_ms() {
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                          std::chrono::steady_clock::now().time_since_epoch())
                                          .count());
}

}  // namespace sluice::dns
