// See tcp_server.h.
#include "control/dns/tcp_server.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>

namespace sluice::dns {
namespace {
constexpr std::size_t kReadBytes = 16U << 10U;
// Connections taken at once, so that those there are get their turn.
constexpr int kAcceptsAtOnce = 64;
}  // namespace

struct TcpServer::Connection {
    std::uint64_t number = 0;
    Fd fd;
    std::uint64_t watch = 0;
    std::uint32_t events = EPOLLIN;
    std::vector<std::uint8_t> in;
    std::vector<std::uint8_t> out;
    std::size_t in_flight = 0;
    bool ended = false;  // the client will send no more
    std::uint64_t active_ms = 0;
};

TcpServer::TcpServer(EventLoop& loop, std::vector<Fd> listeners,
                     const Resolver::Shared& shared, Forwarder& forwarder)
    : loop_(loop),
      listeners_(std::move(listeners)),
      counters_(shared.counters),
      resolver_(shared),
      forwarder_(forwarder),
      buffer_(kReadBytes) {
    for (const auto& listener : listeners_) {
        loop_.add(listener.get(), EPOLLIN,
                  [this, fd = listener.get()](std::uint32_t) { accept(fd); });
    }
    loop_.add_ticker([this](std::uint64_t now) { return tick(now); });
}

TcpServer::~TcpServer() = default;

void TcpServer::accept(int listener) {
    for (int i = 0; i < kAcceptsAtOnce; ++i) {
        Fd fd(::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
        if (!fd) return;
        if (connections_.size() >= kMaxConnections && !make_room()) {
            counters_.tcp_refused.fetch_add(1, std::memory_order_relaxed);
            continue;
        }
        auto connection = std::make_unique<Connection>();
        connection->number = next_number_++;
        connection->active_ms = EventLoop::now_ms();
        connection->watch =
            loop_.add(fd.get(), EPOLLIN, [this, number = connection->number](std::uint32_t events) {
                on_event(number, events);
            });
        if (connection->watch == 0) continue;
        connection->fd = std::move(fd);
        connections_.emplace(connection->number, std::move(connection));
    }
}

bool TcpServer::make_room() {
    Connection* oldest = nullptr;
    for (auto& [number, connection] : connections_) {
        if (oldest == nullptr || connection->active_ms < oldest->active_ms)
            oldest = connection.get();
    }
    if (oldest == nullptr || EventLoop::now_ms() - oldest->active_ms < kTcpEvictMs) return false;
    close(*oldest);
    return true;
}

void TcpServer::on_event(std::uint64_t number, std::uint32_t events) {
    const auto at = connections_.find(number);
    if (at == connections_.end()) return;
    Connection& connection = *at->second;
    connection.active_ms = EventLoop::now_ms();
    // Both directions are closed: nobody waits for what is under way.
    if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
        close(connection);
        return;
    }
    if ((events & EPOLLOUT) != 0 && !write(connection)) return;
    if ((events & EPOLLIN) != 0 && !read(connection)) return;
    if (!answer_all(connection)) return;
    watch(connection);
}

bool TcpServer::read(Connection& connection) {
    const ssize_t size = ::recv(connection.fd.get(), buffer_.data(), buffer_.size(), 0);
    if (size < 0) {
        if (errno == EAGAIN || errno == EINTR) return true;
        close(connection);
        return false;
    }
    if (size == 0) connection.ended = true;
    connection.in.insert(connection.in.end(), buffer_.begin(), buffer_.begin() + size);
    return true;
}

// Whole questions in the buffer, as long as the connection is within its bounds.
bool TcpServer::answer_all(Connection& connection) {
    std::size_t at = 0;
    auto& in = connection.in;
    while (in.size() - at >= 2 && connection.in_flight < kMaxInFlight &&
           connection.out.size() < kMaxUnsentBytes) {
        const std::size_t length = (std::size_t{in[at]} << 8U) | in[at + 1];
        if (in.size() - at - 2 < length) break;
        ForwardJob job;
        const auto step = resolver_.handle({in.data() + at + 2, length}, true, &reply_, &job);
        at += 2 + length;
        if (step == Resolver::Step::kDrop) {
            // Whoever sends such things over TCP is no resolver.
            close(connection);
            return false;
        }
        if (step == Resolver::Step::kReply) {
            send(connection, reply_);
            continue;
        }
        ++connection.in_flight;
        const Question upstream = job.upstream;
        const bool dnssec_ok = job.dnssec_ok;
        const bool checking_disabled = job.flags.checking_disabled;
        const std::uint64_t number = connection.number;
        // The answer may come before ask() returns, when it is from the cache or there is no server
        // to ask; it only adds to `out` then.
        forwarder_.ask(upstream, dnssec_ok, checking_disabled,
                       [this, number,
                        job = std::move(job)](const std::shared_ptr<const UpstreamAnswer>& answer) {
                           const auto owner = connections_.find(number);
                           if (owner == connections_.end()) return;
                           std::vector<std::uint8_t> message;
                           Resolver::finish(job, answer.get(), steady_seconds(), &message);
                           --owner->second->in_flight;
                           send(*owner->second, message);
                           watch(*owner->second);
                       });
    }
    in.erase(in.begin(), in.begin() + static_cast<std::ptrdiff_t>(at));
    if (!connection.out.empty() && !write(connection)) return false;
    if (connection.ended && connection.in_flight == 0 && connection.out.empty()) {
        close(connection);
        return false;
    }
    return true;
}

void TcpServer::send(Connection& connection, const std::vector<std::uint8_t>& message) {
    connection.out.push_back(static_cast<std::uint8_t>(message.size() >> 8U));
    connection.out.push_back(static_cast<std::uint8_t>(message.size()));
    connection.out.insert(connection.out.end(), message.begin(), message.end());
}

bool TcpServer::write(Connection& connection) {
    while (!connection.out.empty()) {
        const ssize_t size =
            ::send(connection.fd.get(), connection.out.data(), connection.out.size(), MSG_NOSIGNAL);
        if (size < 0) {
            if (errno == EINTR) continue;
            if (errno == EAGAIN) return true;
            close(connection);
            return false;
        }
        connection.out.erase(connection.out.begin(), connection.out.begin() + size);
    }
    return true;
}

// What this connection waits for. Output always goes through the loop, so that no connection is
// closed within the callback of another.
void TcpServer::watch(Connection& connection) {
    std::uint32_t events = 0;
    if (!connection.ended && connection.in_flight < kMaxInFlight &&
        connection.out.size() < kMaxUnsentBytes) {
        events |= EPOLLIN;
    }
    if (!connection.out.empty()) events |= EPOLLOUT;
    if (events == connection.events) return;
    connection.events = events;
    loop_.modify(connection.watch, connection.fd.get(), events);
}

void TcpServer::close(Connection& connection) {
    loop_.remove(connection.watch, connection.fd.get());
    connections_.erase(connection.number);
}

bool TcpServer::tick(std::uint64_t now_ms) {
    std::vector<Connection*> idle;
    for (auto& [number, connection] : connections_) {
        if (now_ms - connection->active_ms >= kTcpIdleMs) idle.push_back(connection.get());
    }
    for (Connection* connection : idle) close(*connection);
    return !connections_.empty();
}

}  // namespace sluice::dns
