#include "dataplane/ebpf/sandbox.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>

namespace sluice::dataplane {
namespace {

std::string cgroup2_mount() {
    std::ifstream mounts("/proc/mounts");
    std::string line;
    while (std::getline(mounts, line)) {
        std::istringstream words(line);
        std::string device;
        std::string where;
        std::string type;
        words >> device >> where >> type;
        if (type == "cgroup2") {
            return where;
        }
    }
    return {};
}

std::string own_cgroup(const std::string& mount) {
    std::ifstream in("/proc/self/cgroup");
    std::string line;
    while (std::getline(in, line)) {
        if (line.starts_with("0::")) {
            return mount + line.substr(3);
        }
    }
    return mount;
}

bool write_line(const std::string& path, const std::string& text) {
    std::ofstream out(path);
    out << text << std::endl;
    return out.good();
}

socklen_t fill(sockaddr_storage& out, int family, const std::string& text, std::uint16_t port) {
    const IpAddress address = IpAddress::parse(text).value();
    std::memset(&out, 0, sizeof(out));
    if (family == AF_INET) {
        auto* in = reinterpret_cast<sockaddr_in*>(&out);
        in->sin_family = AF_INET;
        in->sin_port = htons(port);
        in->sin_addr.s_addr = address.v4_be();
        return sizeof(*in);
    }
    auto* in6 = reinterpret_cast<sockaddr_in6*>(&out);
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(port);
    std::memcpy(&in6->sin6_addr, address.bytes.data(), 16);
    return sizeof(*in6);
}

std::string describe(const sockaddr_storage& from) {
    if (from.ss_family == AF_INET) {
        const auto& in = reinterpret_cast<const sockaddr_in&>(from);
        return fmt::format("{} {}", IpAddress::from_v4_be(in.sin_addr.s_addr).to_string(),
                           ntohs(in.sin_port));
    }
    const auto& in6 = reinterpret_cast<const sockaddr_in6&>(from);
    IpAddress address;
    std::memcpy(address.bytes.data(), &in6.sin6_addr, 16);
    return fmt::format("{} {}", address.to_string(), ntohs(in6.sin6_port));
}

}  // namespace

std::unique_ptr<Sandbox> Sandbox::enter() {
    const auto fail = [](const char* what) {
        std::fprintf(stderr, "sandbox: %s: %s\n", what, std::strerror(errno));
        return nullptr;
    };
    auto out = std::unique_ptr<Sandbox>(new Sandbox);
    const std::string mount_point = cgroup2_mount();
    if (mount_point.empty()) {
        return fail("no cgroup2 is mounted");
    }
    out->parent_cgroup_ = own_cgroup(mount_point);
    out->cgroup_ = fmt::format("{}/sluice-test-{}", mount_point, getpid());
    if (unshare(CLONE_NEWNET | CLONE_NEWNS) != 0) {
        return fail("unshare");
    }
    if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
        return fail("making mounts private");
    }
    out->bpffs_ = fmt::format("/tmp/sluice-test-{}", getpid());
    mkdir(out->bpffs_.c_str(), 0700);
    if (mount("bpf", out->bpffs_.c_str(), "bpf", 0, nullptr) != 0) {
        return fail("mounting a BPF file system");
    }
    if (mkdir(out->cgroup_.c_str(), 0755) != 0 ||
        !write_line(out->cgroup_ + "/cgroup.procs", std::to_string(getpid()))) {
        return fail("making a cgroup");
    }
    const Fd control = open_socket(AF_INET, SOCK_DGRAM);
    ifreq loopback{};
    std::strcpy(loopback.ifr_name, "lo");
    loopback.ifr_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING;
    if (ioctl(control.get(), SIOCSIFFLAGS, &loopback) != 0) {
        return fail("bringing lo up");
    }
    return out;
}

Sandbox::~Sandbox() {
    if (!parent_cgroup_.empty() && !cgroup_.empty()) {
        write_line(parent_cgroup_ + "/cgroup.procs", std::to_string(getpid()));
        rmdir(cgroup_.c_str());
    }
    if (!bpffs_.empty()) {
        umount2(bpffs_.c_str(), MNT_DETACH);
        rmdir(bpffs_.c_str());
    }
}

Fd open_socket(int family, int type) {
    Fd out(socket(family, type | SOCK_CLOEXEC, 0));
    const timeval limit{5, 0};
    setsockopt(out.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(out.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    return out;
}

EchoServer::EchoServer(const std::string& address, int number)
    : address_(IpAddress::parse(address).value()), number_(static_cast<char>('0' + number)) {
    const int family = address_.is_v4() ? AF_INET : AF_INET6;
    // Both protocols on one port: TCP finds one, UDP takes the same.
    for (int attempt = 0; attempt < 100; ++attempt) {
        tcp_ = open_socket(family, SOCK_STREAM);
        udp_ = open_socket(family, SOCK_DGRAM);
        sockaddr_storage place{};
        socklen_t length = fill(place, family, address, 0);
        if (bind(tcp_.get(), reinterpret_cast<sockaddr*>(&place), length) != 0 ||
            getsockname(tcp_.get(), reinterpret_cast<sockaddr*>(&place), &length) != 0 ||
            bind(udp_.get(), reinterpret_cast<sockaddr*>(&place), length) != 0) {
            continue;
        }
        port_ = ntohs(reinterpret_cast<sockaddr_in*>(&place)->sin_port);
        break;
    }
    SLUICE_ASSERT(port_ != 0);
    SLUICE_ASSERT(listen(tcp_.get(), 1024) == 0);
    thread_ = std::thread([this] { serve(); });
}

EchoServer::~EchoServer() {
    stopping_ = true;
    thread_.join();
}

image::Backend EchoServer::backend() const {
    return image::Backend{address_, port_, true, false, fmt::format("default/pod-{}", number_)};
}

void EchoServer::serve() {
    while (!stopping_) {
        pollfd waiting[2] = {{tcp_.get(), POLLIN, 0}, {udp_.get(), POLLIN, 0}};
        poll(waiting, 2, 20);
        if (waiting[0].revents & POLLIN) {
            const Fd client(accept4(tcp_.get(), nullptr, nullptr, SOCK_CLOEXEC));
            if (client) {
                (void)!write(client.get(), &number_, 1);
            }
        }
        if (waiting[1].revents & POLLIN) {
            sockaddr_storage from{};
            socklen_t length = sizeof(from);
            char byte = 0;
            if (recvfrom(udp_.get(), &byte, 1, 0, reinterpret_cast<sockaddr*>(&from), &length) >=
                0) {
                sendto(udp_.get(), &number_, 1, 0, reinterpret_cast<sockaddr*>(&from), length);
            }
        }
    }
}

int connect_to(int socket, int family, const std::string& address, std::uint16_t port) {
    sockaddr_storage to{};
    const socklen_t length = fill(to, family, address, port);
    return connect(socket, reinterpret_cast<sockaddr*>(&to), length) == 0 ? 0 : errno;
}

std::string peer_name(int socket) {
    sockaddr_storage peer{};
    socklen_t length = sizeof(peer);
    if (getpeername(socket, reinterpret_cast<sockaddr*>(&peer), &length) != 0) {
        return std::strerror(errno);
    }
    return describe(peer);
}

Reached tcp_reach(int family, const std::string& address, std::uint16_t port) {
    Reached out;
    const Fd socket = open_socket(family, SOCK_STREAM);
    out.error = connect_to(socket.get(), family, address, port);
    if (out.error != 0) {
        return out;
    }
    // Reset instead of TIME_WAIT, so that loops of connections do not use up the ports.
    const linger now{1, 0};
    setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    out.peer = peer_name(socket.get());
    if (read(socket.get(), &out.number, 1) != 1) {
        out.error = errno != 0 ? errno : EPIPE;
    }
    return out;
}

Reached udp_connected_reach(int family, const std::string& address, std::uint16_t port) {
    Reached out;
    const Fd socket = open_socket(family, SOCK_DGRAM);
    out.error = connect_to(socket.get(), family, address, port);
    if (out.error != 0) {
        return out;
    }
    if (send(socket.get(), "x", 1, 0) != 1) {
        out.error = errno;
        return out;
    }
    sockaddr_storage from{};
    socklen_t length = sizeof(from);
    if (recvfrom(socket.get(), &out.number, 1, 0, reinterpret_cast<sockaddr*>(&from), &length) !=
        1) {
        out.error = errno;
        return out;
    }
    out.peer = describe(from);
    if (peer_name(socket.get()) != out.peer) {
        out.peer = "getpeername says " + peer_name(socket.get());
    }
    return out;
}

Reached udp_reach(int socket, int family, const std::string& address, std::uint16_t port) {
    Reached out;
    sockaddr_storage to{};
    socklen_t length = fill(to, family, address, port);
    if (sendto(socket, "x", 1, 0, reinterpret_cast<sockaddr*>(&to), length) != 1) {
        out.error = errno;
        return out;
    }
    sockaddr_storage from{};
    length = sizeof(from);
    if (recvfrom(socket, &out.number, 1, 0, reinterpret_cast<sockaddr*>(&from), &length) != 1) {
        out.error = errno;
        return out;
    }
    out.peer = describe(from);
    return out;
}

image::Service make_service(const std::string& name, Protocol protocol, const std::string& address,
                            std::uint16_t port, std::vector<image::Backend> backends) {
    image::Service out;
    const IpAddress where = IpAddress::parse(address).value();
    out.key = image::ServiceKey{"default/" + name, "main", protocol, where.family()};
    out.port = port;
    out.frontends = {image::Frontend{where, port, image::Scope::kAddress, false, false}};
    std::sort(backends.begin(), backends.end());
    out.internal.backends = backends;
    out.external.backends = backends;
    out.inside.backends = std::move(backends);
    return out;
}

}  // namespace sluice::dataplane
