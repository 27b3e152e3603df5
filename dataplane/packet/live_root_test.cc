// Real sockets through the engine with its tc programs attached and no socket hooks: a client pod, two backend
// pods, a node and an outside client, each a network namespace of the test's own.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <thread>

#include "dataplane/ebpf/ebpf_engine.h"
#include "dataplane/ebpf/sandbox.h"

namespace sluice::dataplane {
namespace {

constexpr int kTimeoutMs = 3000;
constexpr int kSilentMs = 700;

// The sandbox's own namespace is the node; the others hang off it by veth pairs. They live as descriptors held by
// this process, so nothing is left behind.
class Cluster {
public:
    static std::unique_ptr<Cluster> make() {
        std::unique_ptr<Cluster> out(new Cluster);
        out->sandbox_ = Sandbox::enter();
        if (!out->sandbox_) {
            return nullptr;
        }
        out->node_ = ::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
        shell("ip link set lo up; echo 1 > /proc/sys/net/ipv4/ip_forward; "
              "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding; "
              // Strict, as distributions set it: replies must not depend on it being off.
              "echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter; "
              "echo 1 > /proc/sys/net/ipv4/conf/default/rp_filter");
        out->add("client", "10.244.1.5", "fd01::5", true);
        out->add("backend1", "10.244.1.6", "fd01::6", true);
        out->add("backend2", "10.244.1.7", "fd01::7", true);
        out->add("outside", "192.0.2.7", "2001:db8::7", false);
        out->namespaces_["node"] = ::dup(out->node_);
        return out;
    }
    ~Cluster() {
        stop_ = true;
        for (auto& thread : threads_) {
            thread.join();
        }
        for (const auto& [name, fd] : namespaces_) {
            ::close(fd);
        }
        ::close(node_);
    }
    [[nodiscard]] const Sandbox& sandbox() const { return *sandbox_; }

    // Runs in the namespace, on a thread of its own.
    void in(const std::string& name, const std::function<void()>& work) const {
        std::thread([&] {
            ASSERT_EQ(::setns(namespaces_.at(name), CLONE_NEWNET), 0);
            work();
        }).join();
    }

    // Answers connections and datagrams on port 8080 with the digit. The node names its addresses: a datagram socket
    // of any address would answer with the one that its route prefers.
    void serve(const std::string& name, char digit, const std::string& address4 = "0.0.0.0",
               const std::string& address6 = "::") {
        for (const int family : {AF_INET, AF_INET6}) {
            for (const int type : {SOCK_STREAM, SOCK_DGRAM}) {
                threads_.emplace_back([this, name, digit, family, type, address4, address6] {
                    (void)::setns(namespaces_.at(name), CLONE_NEWNET);
                    const Fd socket = open_socket(family, type);
                    const int one = 1;
                    ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
                    sockaddr_in6 v6{};
                    sockaddr_in v4{};
                    v6.sin6_family = AF_INET6;
                    v4.sin_family = AF_INET;
                    v6.sin6_port = v4.sin_port = htons(8080);
                    ::inet_pton(AF_INET, address4.c_str(), &v4.sin_addr);
                    ::inet_pton(AF_INET6, address6.c_str(), &v6.sin6_addr);
                    const bool is_v4 = family == AF_INET;
                    const auto* const at = is_v4 ? reinterpret_cast<const sockaddr*>(&v4)
                                                 : reinterpret_cast<const sockaddr*>(&v6);
                    if (::bind(socket.get(), at, is_v4 ? sizeof v4 : sizeof v6) != 0) {
                        return;
                    }
                    if (type == SOCK_STREAM) {
                        ::listen(socket.get(), 64);
                    }
                    while (!stop_) {
                        pollfd ready{socket.get(), POLLIN, 0};
                        if (::poll(&ready, 1, 50) != 1) {
                            continue;
                        }
                        if (type == SOCK_STREAM) {
                            const Fd peer(::accept(socket.get(), nullptr, nullptr));
                            (void)::send(peer.get(), &digit, 1, MSG_NOSIGNAL);
                            continue;
                        }
                        char byte = 0;
                        sockaddr_storage from{};
                        socklen_t length = sizeof from;
                        if (::recvfrom(socket.get(), &byte, 1, 0,
                                       reinterpret_cast<sockaddr*>(&from), &length) >= 0) {
                            (void)::sendto(socket.get(), &digit, 1, 0,
                                           reinterpret_cast<sockaddr*>(&from), length);
                        }
                    }
                });
            }
        }
    }

private:
    Cluster() = default;
    static void shell(const std::string& command) {
        ASSERT_EQ(std::system(command.c_str()), 0) << command;  // NOLINT
    }

    void add(const std::string& name, const std::string& v4, const std::string& v6, bool pod) {
        std::thread([&] {
            ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
            namespaces_[name] = ::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
        }).join();
        const int fd = namespaces_[name];
        const std::string link = name.substr(0, 8);
        shell("ip link add " + link + " type veth peer name eth0 netns /proc/" +
              std::to_string(::getpid()) + "/fd/" + std::to_string(fd) + " && ip link set " + link +
              " up");
        if (pod) {
            shell("ip addr add 10.244.1.1/32 dev " + link + " && ip addr add fd01::1/128 dev " +
                  link + " nodad && ip route add " + v4 + " dev " + link + " && ip route add " + v6 +
                  " dev " + link);
        } else {
            shell("ip addr add 192.0.2.1/24 dev " + link + " && ip addr add 2001:db8::1/64 dev " +
                  link + " nodad");
        }
        const std::string gateway4 = pod ? "10.244.1.1" : "192.0.2.1";
        const std::string gateway6 = pod ? "fd01::1" : "2001:db8::1";
        in(name, [&] {
            const std::string bits4 = pod ? "/32" : "/24";
            const std::string bits6 = pod ? "/128" : "/64";
            shell("ip link set lo up && ip addr add " + v4 + bits4 + " dev eth0 && ip addr add " +
                  v6 + bits6 + " dev eth0 nodad && ip link set eth0 up && ip route add default via " +
                  gateway4 + " dev eth0 onlink && ip route add default via " + gateway6 +
                  " dev eth0 onlink");
        });
    }

    std::unique_ptr<Sandbox> sandbox_;
    int node_ = -1;
    std::map<std::string, int> namespaces_;
    std::vector<std::thread> threads_;
    std::atomic<bool> stop_{false};
};

struct Answer {
    int error = 0;   // errno; ETIMEDOUT for silence
    char digit = 0;
    std::string from;
};

std::string text_of(const sockaddr_storage& at) {
    char host[INET6_ADDRSTRLEN] = {};
    if (at.ss_family == AF_INET) {
        const auto& v4 = reinterpret_cast<const sockaddr_in&>(at);
        ::inet_ntop(AF_INET, &v4.sin_addr, host, sizeof host);
        return std::string(host) + " " + std::to_string(ntohs(v4.sin_port));
    }
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(at);
    ::inet_ntop(AF_INET6, &v6.sin6_addr, host, sizeof host);
    return std::string(host) + " " + std::to_string(ntohs(v6.sin6_port));
}

// Reaches the address once. A datagram socket stays unconnected unless `connected`, so that the source of the answer
// is what was in the packet.
Answer reach(bool v6, Protocol protocol, const std::string& address, std::uint16_t port,
             bool connected, int timeout_ms) {
    Answer out;
    const int type = protocol == Protocol::kTcp ? SOCK_STREAM : SOCK_DGRAM;
    const Fd socket(::socket(v6 ? AF_INET6 : AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    sockaddr_storage to{};
    socklen_t length = 0;
    if (v6) {
        auto& at = reinterpret_cast<sockaddr_in6&>(to);
        at.sin6_family = AF_INET6;
        at.sin6_port = htons(port);
        ::inet_pton(AF_INET6, address.c_str(), &at.sin6_addr);
        length = sizeof at;
    } else {
        auto& at = reinterpret_cast<sockaddr_in&>(to);
        at.sin_family = AF_INET;
        at.sin_port = htons(port);
        ::inet_pton(AF_INET, address.c_str(), &at.sin_addr);
        length = sizeof at;
    }
    const auto* const target = reinterpret_cast<const sockaddr*>(&to);
    const bool connects = connected || protocol == Protocol::kTcp;
    if (connects && ::connect(socket.get(), target, length) != 0 && errno != EINPROGRESS) {
        out.error = errno;
        return out;
    }
    if (protocol == Protocol::kUdp) {
        const ssize_t sent = connects ? ::send(socket.get(), "?", 1, 0)
                                      : ::sendto(socket.get(), "?", 1, 0, target, length);
        if (sent != 1) {
            out.error = errno;
            return out;
        }
    }
    pollfd ready{socket.get(), POLLIN, 0};
    if (::poll(&ready, 1, timeout_ms) != 1) {
        out.error = ETIMEDOUT;
        return out;
    }
    sockaddr_storage from{};
    socklen_t from_length = sizeof from;
    if (::recvfrom(socket.get(), &out.digit, 1, 0, reinterpret_cast<sockaddr*>(&from),
                   &from_length) != 1) {
        out.error = errno;
        return out;
    }
    if (protocol == Protocol::kTcp) {
        from_length = sizeof from;
        ::getpeername(socket.get(), reinterpret_cast<sockaddr*>(&from), &from_length);
    }
    out.from = text_of(from);
    return out;
}

image::Service web(bool v6, Protocol protocol, const std::vector<std::string>& backends) {
    image::Service out;
    out.key = {"default/web", "", protocol, v6 ? IpFamily::kIpv6 : IpFamily::kIpv4};
    out.port = 80;
    const IpAddress any = v6 ? IpAddress{} : IpAddress::from_v4_be(0);
    out.frontends = {
        {*IpAddress::parse(v6 ? "fd00::10" : "10.96.0.10"), 80, image::Scope::kAddress, false, false},
        {any, 30080, image::Scope::kNodePort, true, true}};
    std::sort(out.frontends.begin(), out.frontends.end());
    for (const auto& backend : backends) {
        out.internal.backends.push_back({*IpAddress::parse(backend), 8080, true, false, ""});
    }
    out.external = out.internal;
    out.inside = out.internal;
    return out;
}

TEST(Live, PodsAndOutsideReachServicesAndAreRefusedOrIgnored) {
    const auto cluster = Cluster::make();
    if (!cluster) {
        GTEST_SKIP() << "needs root, BPF, cgroup2 and network namespaces";
    }
    cluster->serve("backend1", '1');
    cluster->serve("backend2", '2');
    cluster->serve("node", '9', "192.0.2.1", "2001:db8::1");
    EbpfOptions options;
    options.object_dir = SLUICE_BPF_DIR;
    options.bpffs = cluster->sandbox().bpffs();
    options.cgroup_root = cluster->sandbox().cgroup();
    options.socket_hooks = false;
    options.flow_entries = 1U << 14U;
    auto engine = open_ebpf_engine(options);
    ASSERT_TRUE(engine) << engine.error().to_string();
    image::Node node;
    node.nodeport_addresses = {*IpAddress::parse("192.0.2.1"), *IpAddress::parse("2001:db8::1")};
    node.masquerade_v4 = *IpAddress::parse("192.0.2.1");
    node.masquerade_v6 = *IpAddress::parse("2001:db8::1");
    node.service_cidrs = {*IpPrefix::parse("10.96.0.0/16"), *IpPrefix::parse("fd00::/112")};
    node.cluster_cidrs = {*IpPrefix::parse("10.244.0.0/16"), *IpPrefix::parse("fd01::/64")};
    std::vector<image::Service> services;
    for (const bool v6 : {false, true}) {
        const std::string prefix = v6 ? "fd01::" : "10.244.1.";
        for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
            services.push_back(web(v6, protocol, {prefix + "6", prefix + "7"}));
        }
    }
    ASSERT_TRUE((*engine)->replace_all(node, services));
    ASSERT_TRUE((*engine)->sync_devices());

    const auto each = [&](const std::function<void(bool, Protocol)>& check) {
        for (const bool v6 : {false, true}) {
            for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
                SCOPED_TRACE(std::string(v6 ? "IPv6 " : "IPv4 ") +
                             std::string(protocol_name(protocol)));
                check(v6, protocol);
            }
        }
    };
    const auto cluster_ip = [](bool v6) { return v6 ? "fd00::10" : "10.96.0.10"; };
    const auto node_ip = [](bool v6) { return v6 ? "2001:db8::1" : "192.0.2.1"; };
    each([&](bool v6, Protocol protocol) {
        const auto spread = [&](const std::string& who, const std::string& address,
                                std::uint16_t port) {
            cluster->in(who, [&] {
                std::string digits;
                for (int i = 0; i < 40; ++i) {
                    const Answer answer = reach(v6, protocol, address, port, false, kTimeoutMs);
                    ASSERT_EQ(answer.error, 0) << who << " " << std::strerror(answer.error);
                    EXPECT_EQ(answer.from, address + " " + std::to_string(port)) << who;
                    digits += answer.digit;
                }
                EXPECT_NE(digits.find('1'), std::string::npos) << who;
                EXPECT_NE(digits.find('2'), std::string::npos) << who;
            });
        };
        spread("client", cluster_ip(v6), 80);
        spread("client", node_ip(v6), 30080);
        spread("outside", node_ip(v6), 30080);
        spread("backend1", cluster_ip(v6), 80);  // every other one is a hairpin
    });

    // The agent goes, and what it attached forwards on; the next one takes over.
    engine->reset();
    each([&](bool v6, Protocol protocol) {
        cluster->in("client", [&] {
            const Answer answer = reach(v6, protocol, cluster_ip(v6), 80, false, kTimeoutMs);
            EXPECT_EQ(answer.error, 0) << std::strerror(answer.error);
        });
    });
    engine = open_ebpf_engine(options);
    ASSERT_TRUE(engine) << engine.error().to_string();
    ASSERT_TRUE((*engine)->replace_all(node, services));
    ASSERT_TRUE((*engine)->sync_devices());

    // A backend in the node's own network, for a pod whose connect no hook saw.
    image::Change host;
    for (const auto& service : services) {
        const bool v6 = service.key.family == IpFamily::kIpv6;
        host.upserts.push_back(web(v6, service.key.protocol, {node_ip(v6)}));
    }
    ASSERT_TRUE((*engine)->apply(host));
    each([&](bool v6, Protocol protocol) {
        for (const char* who : {"client", "backend1"}) {
            cluster->in(who, [&] {
                for (int i = 0; i < 5; ++i) {
                    const Answer answer = reach(v6, protocol, cluster_ip(v6), 80, false, kTimeoutMs);
                    ASSERT_EQ(answer.error, 0) << who << " " << std::strerror(answer.error);
                    EXPECT_EQ(answer.digit, '9') << who;
                    EXPECT_EQ(answer.from, std::string(cluster_ip(v6)) + " 80") << who;
                }
            });
        }
    });

    image::Change empty;
    for (const auto& service : services) {
        image::Service none = service;
        none.internal.backends.clear();
        none.external.backends.clear();
        none.inside.backends.clear();
        empty.upserts.push_back(none);
    }
    ASSERT_TRUE((*engine)->apply(empty));
    each([&](bool v6, Protocol protocol) {
        for (const char* who : {"client", "outside"}) {
            cluster->in(who, [&] {
                const bool outside = std::string(who) == "outside";
                const Answer answer =
                    reach(v6, protocol, outside ? node_ip(v6) : cluster_ip(v6),
                          outside ? std::uint16_t{30080} : std::uint16_t{80}, true, 1000);
                EXPECT_EQ(answer.error, ECONNREFUSED) << who << " " << std::strerror(answer.error);
            });
        }
    });

    image::Change gone;
    for (const auto& service : services) {
        gone.removals.push_back(service.key);
    }
    ASSERT_TRUE((*engine)->apply(gone));
    each([&](bool v6, Protocol protocol) {
        cluster->in("client", [&] {
            EXPECT_EQ(reach(v6, protocol, cluster_ip(v6), 80, true, kSilentMs).error, ETIMEDOUT);
        });
    });
}

}  // namespace
}  // namespace sluice::dataplane
