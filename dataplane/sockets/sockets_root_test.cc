#include "dataplane/sockets/sockets.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "api/base/fd.h"

namespace sluice::sockets {
namespace {

std::uint64_t cookie_of(int socket) {
    std::uint64_t cookie = 0;
    socklen_t length = sizeof(cookie);
    EXPECT_EQ(getsockopt(socket, SOL_SOCKET, SO_COOKIE, &cookie, &length), 0);
    return cookie;
}

// A UDP socket of a family, connected to a port of the loopback address.
Fd connected(int family, std::uint16_t port) {
    Fd out(socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const timeval limit{0, 200000};
    setsockopt(out.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    if (family == AF_INET) {
        sockaddr_in to{AF_INET, htons(port), {htonl(INADDR_LOOPBACK)}, {}};
        EXPECT_EQ(connect(out.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
    } else {
        sockaddr_in6 to{AF_INET6, htons(port), 0, {}, 0};
        inet_pton(AF_INET6, "::ffff:127.0.0.1", &to.sin6_addr);
        EXPECT_EQ(connect(out.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
    }
    return out;
}

int error_of_receive(int socket) {
    char byte = 0;
    return recv(socket, &byte, 1, 0) < 0 ? errno : 0;
}

class SocketsTest : public testing::Test {
protected:
    static void SetUpTestSuite() { enter_namespace(); }
    static void enter_namespace() {
        ASSERT_EQ(unshare(CLONE_NEWNET), 0);
        const Fd control(socket(AF_INET, SOCK_DGRAM, 0));
        ifreq loopback{"lo", {}};
        loopback.ifr_flags = IFF_UP | IFF_RUNNING;
        ASSERT_EQ(ioctl(control.get(), SIOCSIFFLAGS, &loopback), 0);
    }
    const IpAddress local = IpAddress::parse("127.0.0.1").value();
};

TEST_F(SocketsTest, EndsTheSocketAndNoOther) {
    for (const int family : {AF_INET, AF_INET6}) {
        const Fd meant = connected(family, 5301);
        const Fd other = connected(family, 5301);
        const std::vector<Target> targets{{cookie_of(meant.get()), local, 5301}};
        const Outcome outcome = destroy_connected_udp(targets);
        EXPECT_EQ(outcome.destroyed, 1U) << outcome.last_error;
        EXPECT_EQ(outcome.errors, 0U) << outcome.last_error;
        EXPECT_EQ(outcome.missing, 0U);
        EXPECT_EQ(error_of_receive(meant.get()), ECONNABORTED);
        EXPECT_EQ(error_of_receive(other.get()), EAGAIN);
    }
}

TEST_F(SocketsTest, LeavesASocketThatWentElsewhere) {
    const Fd socket = connected(AF_INET, 5302);
    const IpAddress else_where = IpAddress::parse("127.0.0.2").value();
    for (const Target& target : {Target{cookie_of(socket.get()), local, 5303},
                                 Target{cookie_of(socket.get()), else_where, 5302},
                                 Target{cookie_of(socket.get()) + 1000000, local, 5302}}) {
        const Outcome outcome = destroy_connected_udp(std::vector{target});
        EXPECT_EQ(outcome.destroyed, 0U);
        EXPECT_EQ(outcome.missing, 1U);
    }
    EXPECT_EQ(error_of_receive(socket.get()), EAGAIN);
}

TEST_F(SocketsTest, ReachesOtherNamespacesAndStaysInItsOwn) {
    int to_parent[2];
    int to_child[2];
    ASSERT_EQ(pipe(to_parent), 0);
    ASSERT_EQ(pipe(to_child), 0);
    const pid_t child = fork();
    if (child == 0) {
        enter_namespace();
        const Fd socket = connected(AF_INET, 5304);
        const std::uint64_t cookie = cookie_of(socket.get());
        char go = 0;
        if (write(to_parent[1], &cookie, sizeof(cookie)) != sizeof(cookie) ||
            read(to_child[0], &go, 1) != 1) {
            _exit(100);
        }
        _exit(error_of_receive(socket.get()));
    }
    std::uint64_t cookie = 0;
    ASSERT_EQ(read(to_parent[0], &cookie, sizeof(cookie)), static_cast<ssize_t>(sizeof(cookie)));
    char before[64] = {};
    char after[64] = {};
    ASSERT_GT(readlink("/proc/thread-self/ns/net", before, sizeof(before) - 1), 0);
    const Outcome outcome = destroy_connected_udp(std::vector{Target{cookie, local, 5304}});
    ASSERT_GT(readlink("/proc/thread-self/ns/net", after, sizeof(after) - 1), 0);
    EXPECT_STREQ(before, after);
    EXPECT_EQ(outcome.destroyed, 1U) << outcome.last_error;
    EXPECT_GE(outcome.namespaces, 1U);
    ASSERT_EQ(write(to_child[1], "x", 1), 1);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(WEXITSTATUS(status), ECONNABORTED);
}

}  // namespace
}  // namespace sluice::sockets
