// For tests and benchmarks: a network namespace, a BPF file system and a cgroup of the process's
// own, and small servers.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "api/base/fd.h"
#include "api/base/ip_address.h"
#include "dataplane/image/desired.h"

namespace sluice::dataplane {

// Enters the sandbox for the whole process; call before any thread is made. Gone when the process
// ends, but for the cgroup, which leave() removes.
class Sandbox {
public:
    static std::unique_ptr<Sandbox> enter();  // null, with the reason on stderr
    ~Sandbox();
    [[nodiscard]] const std::string& bpffs() const { return bpffs_; }
    [[nodiscard]] const std::string& cgroup() const { return cgroup_; }

private:
    std::string bpffs_;
    std::string cgroup_;
    std::string parent_cgroup_;
};

// Answers every TCP connection and every datagram with its number. On an ephemeral port of a
// loopback address.
class EchoServer {
public:
    EchoServer(const std::string& address, int number);
    ~EchoServer();
    [[nodiscard]] std::uint16_t port() const { return port_; }
    [[nodiscard]] image::Backend backend() const;

private:
    void serve();

    IpAddress address_;
    char number_;
    std::uint16_t port_ = 0;
    Fd tcp_;
    Fd udp_;
    std::atomic<bool> stopping_{false};
    std::thread thread_;
};

struct Reached {
    int error = 0;     // errno of what failed
    char number = 0;   // of the server
    std::string peer;  // "address port" by getpeername, or the source of the answer
};

// family: the socket's; an IPv4 address on an AF_INET6 socket is mapped.
Reached tcp_reach(int family, const std::string& address, std::uint16_t port);
Reached udp_connected_reach(int family, const std::string& address, std::uint16_t port);
// Sends one datagram on the socket and awaits the answer.
Reached udp_reach(int socket, int family, const std::string& address, std::uint16_t port);
std::string peer_name(int socket);
Fd open_socket(int family, int type);
int connect_to(int socket, int family, const std::string& address, std::uint16_t port);

image::Service make_service(const std::string& name, Protocol protocol, const std::string& address,
                            std::uint16_t port, std::vector<image::Backend> backends);

}  // namespace sluice::dataplane
