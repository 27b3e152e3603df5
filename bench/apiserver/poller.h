// Which of a thread's clients can be read.
#pragma once

#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "bench/apiserver/client.h"

namespace sluice::bench {

class Poller {
public:
    Poller() : fd_(epoll_create1(EPOLL_CLOEXEC)) {}
    ~Poller() { close(fd_); }
    Poller(const Poller&) = delete;
    Poller& operator=(const Poller&) = delete;

    // The client goes before the Poller, or stays as long.
    void add(Client& client, std::size_t number) {
        client.stop_waiting();
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.u64 = number;
        epoll_ctl(fd_, EPOLL_CTL_ADD, client.fd(), &event);
    }

    // Calls `ready` with the number of each client that can be read, once some can, or the time is over.
    template <class Ready>
    void wait(std::chrono::milliseconds most, const Ready& ready) {
        const int count = epoll_wait(fd_, events_.data(), static_cast<int>(events_.size()),
                                     static_cast<int>(most.count()));
        for (int i = 0; i < count; ++i) {
            ready(static_cast<std::size_t>(events_[static_cast<std::size_t>(i)].data.u64));
        }
    }

private:
    int fd_;
    std::array<epoll_event, 256> events_{};
};

}  // namespace sluice::bench
