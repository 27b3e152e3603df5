// A dozen lines of HTTP by hand: one fixed answer does not deserve a second event loop.
#include "control/kubelet/main/healthz.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string_view>
#include <thread>
#include <utility>

#include "api/base/fd.h"

namespace sluice::kubelet {

namespace {

constexpr int kBacklog = 16;
constexpr int kPollMs = 200;

class Listener final : public Healthz {
public:
    explicit Listener(Fd socket)
        : socket_(std::move(socket)),
          thread_([this](const std::stop_token& stop) { run(stop); }) {}

private:
    void run(const std::stop_token& stop) const {
        while (!stop.stop_requested()) {
            pollfd ready{socket_.get(), POLLIN, 0};
            if (::poll(&ready, 1, kPollMs) <= 0) continue;
            const Fd connection(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
            if (connection.get() >= 0) answer(connection.get());
        }
    }

    static void answer(int connection) {
        std::string request;
        std::array<char, kMaxHealthzRequestBytes> part{};
        while (request.find("\r\n\r\n") == std::string::npos) {
            pollfd ready{connection, POLLIN, 0};
            if (request.size() >= kMaxHealthzRequestBytes ||
                ::poll(&ready, 1, kHealthzTimeoutMs) <= 0) {
                return;
            }
            const auto count = ::recv(connection, part.data(), part.size(), 0);
            if (count <= 0) return;
            request.append(part.data(), static_cast<std::size_t>(count));
        }
        const bool found = request.starts_with("GET /healthz ") ||
                           request.starts_with("HEAD /healthz ") ||
                           request.starts_with("GET /healthz?");
        const std::string_view text =
            found ? "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n"
                    "Connection: close\r\n\r\nok"
                  : "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n"
                    "Connection: close\r\n\r\nnot found";
        static_cast<void>(::send(connection, text.data(), text.size(), MSG_NOSIGNAL));
    }

    Fd socket_;
    std::jthread thread_;
};

}  // namespace

Result<std::unique_ptr<Healthz>> Healthz::start(const std::string& address, std::uint16_t port) {
    addrinfo hints{};
    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (::getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) {
        return make_error(Code::kInvalidArgument, "healthz address \"{}\" is not an IP address",
                          address);
    }
    Fd socket(::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const int on = 1;
    ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    const bool bound = socket.get() >= 0 &&
                       ::bind(socket.get(), found->ai_addr, found->ai_addrlen) == 0 &&
                       ::listen(socket.get(), kBacklog) == 0;
    const int error = errno;
    ::freeaddrinfo(found);
    if (!bound) return errno_error(error, "cannot listen on {} port {} for healthz", address, port);
    return std::unique_ptr<Healthz>(std::make_unique<Listener>(std::move(socket)));
}

}  // namespace sluice::kubelet
