// The server end: one epoll loop over listeners, connections and a UDP socket.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <unordered_map>

#include "tests/tools/modes.h"
#include "tests/tools/sockets.h"

namespace sluice::testpeer {
namespace {

void watch(int epoll_fd, int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    ::epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

void answer_datagrams(int fd, const ServeOptions& options) {
    std::array<char, 65536> buffer;
    for (int i = 0; i < 64; ++i) {
        sockaddr_storage from{};
        socklen_t length = sizeof from;
        const ssize_t got = ::recvfrom(fd, buffer.data(), buffer.size(), MSG_DONTWAIT,
                                       reinterpret_cast<sockaddr*>(&from), &length);  // NOLINT
        if (got < 0) return;
        if (options.mute) continue;
        const std::string text = fmt::format("{} {}\n", options.name, describe(from));
        ::sendto(fd, text.data(), text.size(), MSG_DONTWAIT,
                 reinterpret_cast<const sockaddr*>(&from), length);  // NOLINT
    }
}

}  // namespace

Result<void> serve(const ServeOptions& options) {
    Fd epoll_fd(::epoll_create1(EPOLL_CLOEXEC));
    Fd tcp;
    Fd udp;
    if (options.tcp_port != 0) {
        SLUICE_TRY_ASSIGN(tcp, bound_socket(SOCK_STREAM | SOCK_NONBLOCK, options.tcp_port));
        if (::listen(tcp.get(), 4096) != 0) return errno_error(errno, "listen");
        watch(epoll_fd.get(), tcp.get());
    }
    if (options.udp_port != 0) {
        SLUICE_TRY_ASSIGN(udp, bound_socket(SOCK_DGRAM | SOCK_NONBLOCK, options.udp_port));
        watch(epoll_fd.get(), udp.get());
    }
    std::printf("ready\n");
    std::fflush(stdout);

    std::unordered_map<int, Fd> connections;
    std::array<epoll_event, 256> events;
    std::array<char, 16384> buffer;
    while (true) {
        const int ready = ::epoll_wait(epoll_fd.get(), events.data(), events.size(), -1);
        for (int i = 0; i < ready; ++i) {
            const int fd = events[static_cast<std::size_t>(i)].data.fd;
            if (fd == udp.get()) {
                answer_datagrams(fd, options);
                continue;
            }
            if (fd == tcp.get()) {
                sockaddr_storage from{};
                socklen_t length = sizeof from;
                const int accepted = ::accept4(fd, reinterpret_cast<sockaddr*>(&from),  // NOLINT
                                               &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (accepted < 0) continue;
                connections.emplace(accepted, Fd(accepted));
                watch(epoll_fd.get(), accepted);
                if (!options.mute) {
                    const std::string text = fmt::format("{} {}\n", options.name, describe(from));
                    ::send(accepted, text.data(), text.size(), MSG_NOSIGNAL);
                }
                continue;
            }
            const ssize_t got = ::recv(fd, buffer.data(), buffer.size(), 0);
            if (got > 0) {
                if (!options.mute) {
                    ::send(fd, buffer.data(), static_cast<std::size_t>(got), MSG_NOSIGNAL);
                }
            } else if (got == 0 || errno != EAGAIN) {
                connections.erase(fd);
            }
        }
    }
}

}  // namespace sluice::testpeer
