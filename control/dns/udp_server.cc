// See udp_server.h.
#include "control/dns/udp_server.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace sluice::dns {
namespace {

// Room for one of IP_PKTINFO and IPV6_PKTINFO.
constexpr std::size_t kControlBytes = 64;
constexpr int kSocketBufferBytes = 4 << 20;
// Batches of one socket before the others have their turn.
constexpr int kBatchesAtOnce = 8;

// What it takes to answer one datagram, from the address that it was sent to.
struct Peer {
    sockaddr_storage address{};
    socklen_t address_size = 0;
    alignas(cmsghdr) std::array<char, kControlBytes> control{};
    std::size_t control_size = 0;
};

// The kernel's note of where a datagram arrived says where its answer leaves, but for the
// interface: that is the routing table's to choose, unless the address is link-local.
void keep_source(msghdr* message, Peer* peer) {
    peer->control_size = 0;
    for (cmsghdr* note = CMSG_FIRSTHDR(message); note != nullptr;
         note = CMSG_NXTHDR(message, note)) {
        const bool v4 = note->cmsg_level == IPPROTO_IP && note->cmsg_type == IP_PKTINFO;
        const bool v6 = note->cmsg_level == IPPROTO_IPV6 && note->cmsg_type == IPV6_PKTINFO;
        if ((!v4 && !v6) || note->cmsg_len > kControlBytes) continue;
        peer->control_size = CMSG_SPACE(v4 ? sizeof(in_pktinfo) : sizeof(in6_pktinfo));
        std::memcpy(peer->control.data(), note, note->cmsg_len);
        auto* copy = reinterpret_cast<cmsghdr*>(peer->control.data());
        if (v4) {
            in_pktinfo info{};
            std::memcpy(&info, CMSG_DATA(copy), sizeof info);
            info.ipi_ifindex = 0;
            std::memcpy(CMSG_DATA(copy), &info, sizeof info);
        } else {
            in6_pktinfo info{};
            std::memcpy(&info, CMSG_DATA(copy), sizeof info);
            if (!IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr)) info.ipi6_ifindex = 0;
            std::memcpy(CMSG_DATA(copy), &info, sizeof info);
        }
        return;
    }
}

msghdr header_of(Peer* peer, iovec* data) {
    msghdr message{};
    message.msg_name = &peer->address;
    message.msg_namelen = peer->address_size;
    message.msg_iov = data;
    message.msg_iovlen = 1;
    if (peer->control_size > 0) {
        message.msg_control = peer->control.data();
        message.msg_controllen = peer->control_size;
    }
    return message;
}

void send_one(int fd, Peer* peer, std::vector<std::uint8_t>* bytes) {
    iovec data{bytes->data(), bytes->size()};
    const msghdr message = header_of(peer, &data);
    // A datagram that cannot be sent is lost, as any may be; the client asks again.
    if (::sendmsg(fd, &message, MSG_DONTWAIT) < 0) return;
}

}  // namespace

Result<Fd> bind_udp(const Endpoint& endpoint) {
    SLUICE_TRY_ASSIGN(const auto address, to_socket_address(endpoint));
    const auto failed = [&](const char* what) {
        return errno_error(errno, "udp {}: {}: {}", endpoint.to_string(), what,
                           std::strerror(errno));
    };
    const int family = address.storage.ss_family;
    Fd fd(::socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) return failed("cannot make a socket");
    const int on = 1;
    const auto set = [&](int level, int option) {
        return ::setsockopt(fd.get(), level, option, &on, sizeof on) == 0;
    };
    if (!set(SOL_SOCKET, SO_REUSEPORT)) return failed("cannot share the port");
    if (family == AF_INET6 && !set(IPPROTO_IPV6, IPV6_V6ONLY)) return failed("cannot be IPv6 only");
    if (endpoint.address.is_unspecified()) {
        const bool noted =
            family == AF_INET ? set(IPPROTO_IP, IP_PKTINFO) : set(IPPROTO_IPV6, IPV6_RECVPKTINFO);
        if (!noted) return failed("cannot learn local addresses");
    }
    // More room only helps in bursts; the kernel gives what its limits allow.
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &kSocketBufferBytes, sizeof kSocketBufferBytes);
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.size) != 0) {
        return failed("cannot bind");
    }
    return fd;
}

class UdpServer::Worker {
public:
    Worker(std::vector<Fd> sockets, const Resolver::Shared& shared, EventLoop& loop,
           Forwarder& forwarder)
        : sockets_(std::move(sockets)),
          wakeup_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
          counters_(shared.counters),
          resolver_(shared),
          loop_(loop),
          forwarder_(forwarder) {}

    void run(const std::stop_token& stop) {
        const std::stop_callback on_stop(stop, [this] {
            const std::uint64_t one = 1;
            if (::write(wakeup_.get(), &one, sizeof one) < 0) return;
        });
        std::vector<pollfd> polled;
        for (const auto& socket : sockets_) polled.push_back({socket.get(), POLLIN, 0});
        polled.push_back({wakeup_.get(), POLLIN, 0});
        while (!stop.stop_requested()) {
            if (::poll(polled.data(), polled.size(), -1) <= 0) continue;
            for (std::size_t i = 0; i < sockets_.size(); ++i) {
                if (polled[i].revents != 0) serve(sockets_[i].get());
            }
        }
    }

private:
    void serve(int fd) {
        for (int i = 0; i < kBatchesAtOnce; ++i) {
            if (!batch(fd)) return;
        }
    }

    // False when there was less than a whole batch.
    bool batch(int fd) {
        std::array<mmsghdr, kUdpBatch> messages{};
        std::array<iovec, kUdpBatch> data{};
        for (std::size_t i = 0; i < kUdpBatch; ++i) {
            data[i] = {queries_[i].data(), queries_[i].size()};
            peers_[i].address_size = sizeof peers_[i].address;
            peers_[i].control_size = kControlBytes;
            messages[i].msg_hdr = header_of(&peers_[i], &data[i]);
        }
        const int received = ::recvmmsg(fd, messages.data(), kUdpBatch, MSG_DONTWAIT, nullptr);
        if (received <= 0) return false;
        const auto count = static_cast<std::size_t>(received);
        std::array<mmsghdr, kUdpBatch> answers{};
        unsigned answered = 0;
        for (std::size_t i = 0; i < count; ++i) {
            peers_[i].address_size = messages[i].msg_hdr.msg_namelen;
            keep_source(&messages[i].msg_hdr, &peers_[i]);
            // Nobody can be answered at port 0.
            if (from_socket_address(peers_[i].address).port == 0) {
                counters_.dropped.fetch_add(1, std::memory_order_relaxed);
                continue;
            }
            ForwardJob job;
            // A datagram that was cut off is read as far as it goes, and is malformed then.
            const auto step = resolver_.handle({queries_[i].data(), messages[i].msg_len}, false,
                                               &replies_[i], &job);
            if (step == Resolver::Step::kForward) {
                forward(fd, peers_[i], std::move(job), &replies_[i]);
            } else if (step == Resolver::Step::kReply) {
                data[i] = {replies_[i].data(), replies_[i].size()};
                answers[answered++].msg_hdr = header_of(&peers_[i], &data[i]);
            }
        }
        for (unsigned sent = 0; sent < answered;) {
            const int n = ::sendmmsg(fd, answers.data() + sent, answered - sent, MSG_DONTWAIT);
            // One that cannot be sent is passed over, so that those after it go out.
            sent += n > 0 ? static_cast<unsigned>(n) : 1U;
        }
        return count == kUdpBatch;
    }

    void forward(int fd, const Peer& from, ForwardJob job, std::vector<std::uint8_t>* reply) {
        const auto shared_job = std::make_shared<const ForwardJob>(std::move(job));
        const auto peer = std::make_shared<Peer>(from);
        const bool taken = loop_.post([this, fd, shared_job, peer] {
            forwarder_.ask(
                shared_job->upstream, shared_job->dnssec_ok, shared_job->flags.checking_disabled,
                [fd, shared_job, peer](const std::shared_ptr<const UpstreamAnswer>& answer) {
                    std::vector<std::uint8_t> bytes;
                    Resolver::finish(*shared_job, answer.get(), steady_seconds(), &bytes);
                    send_one(fd, peer.get(), &bytes);
                });
        });
        if (taken) return;
        counters_.forward_full.fetch_add(1, std::memory_order_relaxed);
        Resolver::finish(*shared_job, nullptr, 0, reply);
        send_one(fd, peer.get(), reply);
    }

    const std::vector<Fd> sockets_;
    const Fd wakeup_;
    Counters& counters_;
    Resolver resolver_;
    EventLoop& loop_;
    Forwarder& forwarder_;
    std::array<Peer, kUdpBatch> peers_;
    std::array<std::array<std::uint8_t, kMaxUdpQueryBytes>, kUdpBatch> queries_{};
    std::array<std::vector<std::uint8_t>, kUdpBatch> replies_;
};

UdpServer::UdpServer(std::vector<std::vector<Fd>> sockets, const Resolver::Shared& shared,
                     EventLoop& loop, Forwarder& forwarder) {
    for (auto& own : sockets) {
        workers_.push_back(std::make_unique<Worker>(std::move(own), shared, loop, forwarder));
    }
    for (auto& worker : workers_) {
        threads_.emplace_back(
            [raw = worker.get()](const std::stop_token& token) { raw->run(token); });
    }
}

UdpServer::~UdpServer() {
    stop();
}

void UdpServer::stop() {
    for (auto& thread : threads_) thread.request_stop();
    threads_.clear();
}

}  // namespace sluice::dns
