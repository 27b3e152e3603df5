// Many connections kept at once: whether each lives on, and still with the server that it began with. SIGINT ends it
// before its time, with a last round and its result.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <thread>

#include "tests/tools/modes.h"
#include "tests/tools/sockets.h"

namespace sluice::testpeer {
namespace {

using Clock = std::chrono::steady_clock;

struct Flow {
    Fd fd;
    bool alive = true;
    std::uint64_t next = 0;  // sequence number of the next question
};

volatile sig_atomic_t interrupted = 0;

// Sends a number and expects the very same back.
bool ask(Flow& flow) {
    const std::uint64_t question = flow.next++;
    std::uint64_t answer = 0;
    if (::send(flow.fd.get(), &question, sizeof question, MSG_NOSIGNAL) != sizeof question) return false;
    std::size_t have = 0;
    while (have < sizeof answer) {
        const ssize_t got = ::recv(flow.fd.get(), reinterpret_cast<char*>(&answer) + have,  // NOLINT
                                   sizeof answer - have, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        have += static_cast<std::size_t>(got);
    }
    return answer == question;
}

}  // namespace

Result<void> flows(const FlowsOptions& options) {
    const Endpoint target = make_endpoint(options.address, options.port);
    const int family = options.address.is_v4() ? AF_INET : AF_INET6;
    std::vector<Flow> all(options.count);
    for (Flow& flow : all) {
        flow.fd = Fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
        if (!flow.fd) return errno_error(errno, "socket");
        set_timeout(flow.fd.get(), std::chrono::milliseconds(options.timeout_ms));
        const int on = 1;
        ::setsockopt(flow.fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (::connect(flow.fd.get(), target.raw(), target.length) != 0) {
            return errno_error(errno, "connect");
        }
        std::array<char, 256> hello;
        if (::recv(flow.fd.get(), hello.data(), hello.size(), 0) <= 0) {
            return errno_error(errno, "the server's greeting");
        }
    }
    struct sigaction action {};
    action.sa_handler = [](int) { interrupted = 1; };
    ::sigaction(SIGINT, &action, nullptr);
    std::printf("ready\n");
    std::fflush(stdout);
    const auto until = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                          std::chrono::duration<double>(options.seconds));
    std::uint64_t answered = 0;
    std::uint64_t lost = 0;
    // The last round is whole, so that every flow is asked after whatever happened meanwhile.
    for (bool last = false; !last;) {
        last = interrupted != 0 || Clock::now() >= until;
        for (Flow& flow : all) {
            if (!flow.alive) continue;
            if (ask(flow)) {
                ++answered;
            } else {
                flow.alive = false;
                ++lost;
            }
            if (!last && options.pause_us > 0) {
                std::this_thread::sleep_for(std::chrono::microseconds(options.pause_us));
            }
        }
    }
    std::printf("{\"flows\":%zu,\"lost\":%llu,\"answered\":%llu}\n", all.size(),
                static_cast<unsigned long long>(lost), static_cast<unsigned long long>(answered));
    return {};
}

}  // namespace sluice::testpeer
