#include "dataplane/sockets/sockets.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <set>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "api/base/fd.h"

namespace sluice::sockets {
namespace {

// Of include/net/tcp_states.h: a connected UDP socket is in this state.
constexpr std::uint32_t kEstablished = 1;
constexpr std::size_t kReceiveBytes = 1U << 16U;
// A dump of one namespace that says more than this is given up (2^20 sockets are some 100 MB of answers).
constexpr int kMaxReceives = 1 << 14;

using Wanted = std::unordered_map<std::uint64_t, Target>;

struct Request {
    nlmsghdr header{};
    inet_diag_req_v2 body{};
};

class Diag {
public:
    static Result<Diag> open() {
        Diag out;
        out.socket_ = Fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
        if (!out.socket_) {
            return errno_error(errno, "cannot open a sock_diag socket");
        }
        // The kernel answers at once; whoever does not is not waited for.
        const timeval limit{2, 0};
        setsockopt(out.socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
        out.buffer_.resize(kReceiveBytes);
        return out;
    }

    // Appends the connected UDP sockets of the family that are wanted.
    Result<void> find(std::uint8_t family, const Wanted& wanted,
                      std::vector<inet_diag_sockid>& found) {
        Request request = make(family, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP);
        request.body.idiag_states = 1U << kEstablished;
        SLUICE_TRY(send(request));
        for (int i = 0; i < kMaxReceives; ++i) {
            SLUICE_TRY_ASSIGN(const bool more, receive([&](const inet_diag_msg& socket) {
                                  if (matches(socket, wanted)) {
                                      found.push_back(socket.id);
                                  }
                              }));
            if (!more) {
                return {};
            }
        }
        return make_error(Code::kResourceExhausted, "a namespace has too many UDP sockets to look through");
    }

    Result<void> destroy(std::uint8_t family, const inet_diag_sockid& id) {
        Request request = make(family, SOCK_DESTROY, NLM_F_REQUEST | NLM_F_ACK);
        request.body.id = id;
        request.body.idiag_states = 1U << kEstablished;
        SLUICE_TRY(send(request));
        auto answered = receive([](const inet_diag_msg&) {});
        return answered ? Result<void>() : Result<void>(answered.error());
    }

private:
    static Request make(std::uint8_t family, std::uint16_t type, int flags) {
        Request out;
        out.header.nlmsg_len = sizeof(out);
        out.header.nlmsg_type = type;
        out.header.nlmsg_flags = static_cast<std::uint16_t>(flags);
        out.body.sdiag_family = family;
        out.body.sdiag_protocol = IPPROTO_UDP;
        return out;
    }

    Result<void> send(const Request& request) {
        if (::send(socket_.get(), &request, sizeof(request), 0) != sizeof(request)) {
            return errno_error(errno, "cannot ask sock_diag");
        }
        return {};
    }

    // One datagram of answers. False: there will be no further one.
    template <class Each>
    Result<bool> receive(Each each) {
        const ssize_t got = recv(socket_.get(), buffer_.data(), buffer_.size(), 0);
        if (got < 0) {
            return errno_error(errno, "sock_diag does not answer");
        }
        auto left = static_cast<std::size_t>(got);
        const char* at = buffer_.data();
        while (left >= sizeof(nlmsghdr)) {
            nlmsghdr header{};
            std::memcpy(&header, at, sizeof(header));
            if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > left) {
                break;
            }
            const std::size_t payload = header.nlmsg_len - sizeof(header);
            if (header.nlmsg_type == NLMSG_DONE) {
                return false;
            }
            if (header.nlmsg_type == NLMSG_ERROR) {
                nlmsgerr error{};
                std::memcpy(&error, at + sizeof(header), std::min(payload, sizeof(error)));
                if (error.error != 0) {
                    return errno_error(-error.error, "sock_diag refuses");
                }
                return false;
            }
            if (header.nlmsg_type == SOCK_DIAG_BY_FAMILY && payload >= sizeof(inet_diag_msg)) {
                inet_diag_msg socket{};
                std::memcpy(&socket, at + sizeof(header), sizeof(socket));
                each(socket);
            }
            const std::size_t step = std::min<std::size_t>(NLMSG_ALIGN(header.nlmsg_len), left);
            at += step;
            left -= step;
        }
        return true;
    }

    static bool matches(const inet_diag_msg& socket, const Wanted& wanted) {
        const std::uint64_t cookie = std::uint64_t{socket.id.idiag_cookie[1]} << 32U |
                                     socket.id.idiag_cookie[0];
        const auto found = wanted.find(cookie);
        if (found == wanted.end() || ntohs(socket.id.idiag_dport) != found->second.port) {
            return false;
        }
        if (socket.idiag_family == AF_INET) {
            return IpAddress::from_v4_be(socket.id.idiag_dst[0]) == found->second.peer;
        }
        IpAddress peer;
        std::memcpy(peer.bytes.data(), socket.id.idiag_dst, peer.bytes.size());
        return peer == found->second.peer;
    }

    Fd socket_;
    std::vector<char> buffer_;
};

// Descriptors of all network namespaces, each once.
std::vector<Fd> namespaces(Outcome& outcome) {
    std::vector<Fd> out;
    std::set<std::pair<dev_t, ino_t>> seen;
    const std::unique_ptr<DIR, int (*)(DIR*)> proc(opendir("/proc"), closedir);
    if (!proc) {
        return out;
    }
    while (const dirent* entry = readdir(proc.get())) {
        if (entry->d_name[0] < '1' || entry->d_name[0] > '9') {
            continue;
        }
        const std::string path = fmt::format("/proc/{}/ns/net", entry->d_name);
        struct stat info{};
        if (stat(path.c_str(), &info) != 0 || seen.contains({info.st_dev, info.st_ino})) {
            continue;
        }
        if (out.size() == kMaxNamespaces) {
            ++outcome.skipped;
            continue;
        }
        Fd descriptor(open(path.c_str(), O_RDONLY | O_CLOEXEC));
        if (descriptor) {
            seen.emplace(info.st_dev, info.st_ino);
            out.push_back(std::move(descriptor));
        }
    }
    return out;
}

void note(Outcome& outcome, const Error& error) {
    ++outcome.errors;
    outcome.last_error = error.to_string();
}

// In the calling thread's namespace.
void destroy_here(Wanted& wanted, Outcome& outcome) {
    auto diag = Diag::open();
    if (!diag) {
        note(outcome, diag.error());
        return;
    }
    for (const std::uint8_t family : {std::uint8_t{AF_INET}, std::uint8_t{AF_INET6}}) {
        std::vector<inet_diag_sockid> found;
        if (auto listed = diag->find(family, wanted, found); !listed) {
            note(outcome, listed.error());
            // What is left of the answers must not be taken for those to the next question.
            diag = Diag::open();
            if (!diag) {
                return;
            }
        }
        for (const inet_diag_sockid& id : found) {
            const std::uint64_t cookie =
                std::uint64_t{id.idiag_cookie[1]} << 32U | id.idiag_cookie[0];
            const auto destroyed = diag->destroy(family, id);
            if (destroyed) {
                ++outcome.destroyed;
            } else if (destroyed.error().sys_errno != ENOENT) {
                note(outcome, destroyed.error());
            } else {
                ++outcome.missing;  // closed meanwhile
            }
            wanted.erase(cookie);
        }
    }
}

}  // namespace

Outcome destroy_connected_udp(std::span<const Target> targets) {
    Outcome outcome;
    Wanted wanted;
    for (const Target& target : targets) {
        wanted.emplace(target.cookie, target);
    }
    // A thread may change its namespace without anybody else noticing, and ends with the work.
    std::thread([&] {
        for (const Fd& descriptor : namespaces(outcome)) {
            if (wanted.empty()) {
                break;
            }
            if (setns(descriptor.get(), CLONE_NEWNET) != 0) {
                ++outcome.skipped;
                outcome.last_error = errno_error(errno, "cannot enter a network namespace").to_string();
                continue;
            }
            ++outcome.namespaces;
            destroy_here(wanted, outcome);
        }
    }).join();
    outcome.missing += wanted.size();
    return outcome;
}

}  // namespace sluice::sockets
