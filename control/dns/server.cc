// See server.h.
#include "control/dns/server.h"

#include <ifaddrs.h>
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

#include "control/dns/forwarder.h"
#include "control/dns/loop.h"
#include "control/dns/tcp_server.h"
#include "control/dns/udp_server.h"

namespace sluice::dns {
namespace {

constexpr unsigned kDefaultWorkers = 4;
// A port that is free for TCP may be taken for UDP.
constexpr int kPortTries = 16;

Result<Fd> listen_tcp(const Endpoint& endpoint, Endpoint* bound) {
    SLUICE_TRY_ASSIGN(const auto address, to_socket_address(endpoint));
    const auto failed = [&](const char* what) -> Error {
        if (errno == EADDRINUSE) {
            return make_error(Code::kAlreadyExists, "tcp {}: the port is taken by another program",
                              endpoint.to_string());
        }
        return errno_error(errno, "tcp {}: {}: {}", endpoint.to_string(), what,
                           std::strerror(errno));
    };
    const int family = address.storage.ss_family;
    Fd fd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) return failed("cannot make a socket");
    const int on = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (family == AF_INET6) ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.size) != 0) {
        return failed("cannot bind");
    }
    if (::listen(fd.get(), SOMAXCONN) != 0) return failed("cannot listen");
    sockaddr_storage actual{};
    socklen_t size = sizeof actual;
    if (::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&actual), &size) != 0) {
        return failed("cannot read its address");
    }
    *bound = endpoint;
    bound->port = from_socket_address(actual).port;
    return fd;
}

struct Sockets {
    std::vector<Fd> tcp;
    std::vector<std::vector<Fd>> udp;  // [worker][address]
    std::vector<Endpoint> endpoints;
};

// TCP comes first: it tells when another server has the port, while UDP sockets share theirs.
Result<void> add_listener(const Endpoint& endpoint, Sockets* sockets) {
    for (int tries = 1;; ++tries) {
        Endpoint bound;
        SLUICE_TRY_ASSIGN(auto tcp, listen_tcp(endpoint, &bound));
        std::vector<Fd> udp;
        std::optional<Error> error;
        while (udp.size() < sockets->udp.size() && !error) {
            auto socket = bind_udp(bound);
            if (socket) {
                udp.push_back(std::move(*socket));
            } else {
                error = socket.error();
            }
        }
        if (error) {
            if (endpoint.port == 0 && tries < kPortTries) continue;
            return *error;
        }
        sockets->tcp.push_back(std::move(tcp));
        for (std::size_t i = 0; i < udp.size(); ++i) sockets->udp[i].push_back(std::move(udp[i]));
        sockets->endpoints.push_back(bound);
        return {};
    }
}

class RealServer final : public Server {
public:
    RealServer(const ServerOptions& options, const Published& zone, Sockets sockets,
               std::unique_ptr<EventLoop> loop)
        : endpoints_(std::move(sockets.endpoints)),
          config_{options.domain.lower(), options.owned, {}},
          guard_(options.upstreams.size()),
          loop_(std::move(loop)),
          forwarder_(*loop_, options.upstreams, cache_, counters_, guard_) {
        for (const auto& endpoint : endpoints_) {
            if (!endpoint.address.is_unspecified()) config_.addresses.push_back(endpoint.address);
        }
        // The same order as in a Service's records: IPv4 first.
        std::stable_partition(config_.addresses.begin(), config_.addresses.end(),
                              [](const IpAddress& address) { return address.is_v4(); });
        const Resolver::Shared shared{zone,      config_, cache_,
                                      counters_, guard_,  !options.upstreams.empty()};
        tcp_ = std::make_unique<TcpServer>(*loop_, std::move(sockets.tcp), shared, forwarder_);
        udp_ = std::make_unique<UdpServer>(std::move(sockets.udp), shared, *loop_, forwarder_);
        thread_ = std::jthread([this](const std::stop_token& stop) { loop_->run(stop); });
    }
    ~RealServer() override {
        udp_->stop();
        thread_.request_stop();
        thread_.join();
    }
    [[nodiscard]] const std::vector<Endpoint>& endpoints() const override { return endpoints_; }
    [[nodiscard]] const Counters& counters() const override { return counters_; }

private:
    const std::vector<Endpoint> endpoints_;
    ZoneConfig config_;
    Cache cache_;
    Counters counters_;
    LoopGuard guard_;
    std::unique_ptr<EventLoop> loop_;
    Forwarder forwarder_;
    std::unique_ptr<TcpServer> tcp_;
    std::unique_ptr<UdpServer> udp_;
    std::jthread thread_;
};

}  // namespace

Result<std::unique_ptr<Server>> Server::start(const ServerOptions& options, const Published& zone) {
    if (options.listen.empty() || options.listen.size() > kMaxListeners ||
        options.upstreams.size() > kMaxUpstreams) {
        return make_error(Code::kInvalidArgument,
                          "a DNS server needs 1 to {} addresses and at most {} upstream servers",
                          kMaxListeners, kMaxUpstreams);
    }
    unsigned workers = options.workers;
    if (workers == 0) workers = std::min(kDefaultWorkers, std::thread::hardware_concurrency());
    Sockets sockets;
    sockets.udp.resize(std::clamp(workers, 1U, kMaxWorkers));
    for (const auto& endpoint : options.listen) SLUICE_TRY(add_listener(endpoint, &sockets));
    SLUICE_TRY_ASSIGN(auto loop, EventLoop::create());
    return std::unique_ptr<Server>(
        std::make_unique<RealServer>(options, zone, std::move(sockets), std::move(loop)));
}

std::vector<Endpoint> without_self(const std::vector<Endpoint>& upstreams,
                                   const std::vector<Endpoint>& listen,
                                   const std::vector<IpAddress>& local) {
    std::vector<Endpoint> out;
    for (const auto& upstream : upstreams) {
        const bool self = std::any_of(listen.begin(), listen.end(), [&](const Endpoint& own) {
            if (own.port != upstream.port) return false;
            if (own.address == upstream.address) return true;
            return own.address.is_unspecified() &&
                   own.address.is_v4() == upstream.address.is_v4() &&
                   (upstream.address.is_loopback() || upstream.address.is_unspecified() ||
                    std::find(local.begin(), local.end(), upstream.address) != local.end());
        });
        if (!self) out.push_back(upstream);
    }
    return out;
}

std::vector<IpAddress> local_addresses() {
    std::vector<IpAddress> out;
    ifaddrs* all = nullptr;
    if (::getifaddrs(&all) != 0) return out;
    for (const ifaddrs* at = all; at != nullptr; at = at->ifa_next) {
        if (at->ifa_addr == nullptr) continue;
        sockaddr_storage storage{};
        if (at->ifa_addr->sa_family == AF_INET) {
            std::memcpy(&storage, at->ifa_addr, sizeof(sockaddr_in));
        } else if (at->ifa_addr->sa_family == AF_INET6) {
            std::memcpy(&storage, at->ifa_addr, sizeof(sockaddr_in6));
        } else {
            continue;
        }
        out.push_back(from_socket_address(storage).address);
    }
    ::freeifaddrs(all);
    return out;
}

}  // namespace sluice::dns
