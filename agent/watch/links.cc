// The thread behind watch_links(); see watch.h.
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <thread>
#include <utility>

#include "agent/watch/watch.h"
#include "api/base/log.h"
#include "dataplane/netlink/links.h"

namespace sluice::watch {
namespace {

class LinkWatch final : public Watches {
public:
    LinkWatch(netlink::Monitor monitor, int wake_fd, EventQueue& queue)
        : monitor_(std::move(monitor)), wake_fd_(wake_fd), queue_(queue),
          thread_([this](const std::stop_token& stop) { run(stop); }) {}
    ~LinkWatch() override {
        thread_.request_stop();
        const std::uint64_t one = 1;
        // Cannot fail on an eventfd that was never written before.
        [[maybe_unused]] const ssize_t written = ::write(wake_fd_, &one, sizeof one);
        thread_.join();
        ::close(wake_fd_);
    }

private:
    void run(const std::stop_token& stop) {
        while (!stop.stop_requested()) {
            std::array<pollfd, 2> fds = {pollfd{monitor_.fd(), POLLIN, 0},
                                         pollfd{wake_fd_, POLLIN, 0}};
            if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) {
                log::error("watch", "poll for link changes failed: errno {}", errno);
                pause(stop, 1000);
                continue;
            }
            if (fds[0].revents == 0) continue;
            pause(stop, kLinkSettleMs);
            const auto changed = monitor_.drain();
            if (!changed) {
                log::warn("watch", "link changes cannot be read: {}; looking at all links again",
                          changed.error().to_string());
                pause(stop, 1000);
            }
            if (!changed || *changed) {
                if (!queue_.push(LinksChanged{}, 1, stop)) return;
            }
        }
    }

    // Waits, but not for a stop.
    void pause(const std::stop_token& stop, int wait_ms) const {
        pollfd wake{wake_fd_, POLLIN, 0};
        if (!stop.stop_requested()) ::poll(&wake, 1, wait_ms);
    }

    netlink::Monitor monitor_;
    int wake_fd_;
    EventQueue& queue_;
    std::jthread thread_;
};

}  // namespace

Result<std::unique_ptr<Watches>> watch_links(EventQueue& queue) {
    SLUICE_TRY_ASSIGN(auto monitor, netlink::Monitor::create());
    const int wake_fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake_fd < 0) return errno_error(errno, "eventfd");
    return std::unique_ptr<Watches>(
        std::make_unique<LinkWatch>(std::move(monitor), wake_fd, queue));
}

}  // namespace sluice::watch
