#include "control/kubelet/server/test_runtime.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>

#include "control/streaming/spdy.h"

namespace sluice::kubelet::testing {
namespace {

using streaming::SpdyEvent;
using streaming::SpdyReader;
using streaming::SpdyWriter;

constexpr std::size_t kPieceBytes = 32U << 10U;

bool send_all(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t sent = ::write(fd, bytes.data(), bytes.size());
        if (sent <= 0) return false;
        bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
}

int listen_on_loopback(std::uint16_t* port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address));
    ::listen(fd, 64);
    socklen_t size = sizeof(address);
    ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
    *port = ntohs(address.sin_port);
    return fd;
}

// One upgraded connection.
class Session {
public:
    explicit Session(int socket) : socket_(socket) {}

    void send(const std::string& bytes) {
        const std::lock_guard lock(mutex_);
        send_all(socket_, bytes);
    }
    // Replies to a stream that the client opened, and gives its headers.
    std::map<std::string, std::string> accept_stream(const SpdyEvent& event) {
        const std::lock_guard lock(mutex_);
        send_all(socket_, writer_.syn_reply(event.stream, {}));
        return {event.headers.begin(), event.headers.end()};
    }
    // Events until the connection ends or the callback says false.
    void read(const std::function<bool(const SpdyEvent&)>& callback) {
        std::string piece(kPieceBytes, '\0');
        bool goes_on = true;
        while (goes_on) {
            const ssize_t got = ::read(socket_, piece.data(), piece.size());
            if (got <= 0) return;
            const auto fed = reader_.feed({piece.data(), static_cast<std::size_t>(got)},
                                          [&](const SpdyEvent& event) {
                                              if (event.kind == SpdyEvent::Kind::kPing) {
                                                  send(SpdyWriter::ping(event.code));
                                              } else {
                                                  goes_on = callback(event) && goes_on;
                                              }
                                          });
            if (!fed) return;
        }
    }

private:
    int socket_;
    std::mutex mutex_;
    SpdyReader reader_;
    SpdyWriter writer_;
};

// A process with pipes, or a terminal.
struct Process {
    pid_t pid = -1;
    int in = -1;
    int out = -1;
    int err = -1;
};

Process start(const ExecRequest& request) {
    Process process;
    std::vector<char*> argv;
    for (const auto& word : request.command) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    if (request.tty) {
        process.pid = ::forkpty(&process.out, nullptr, nullptr, nullptr);
        if (process.pid == 0) {
            ::execvp(argv[0], argv.data());
            ::_exit(127);
        }
        process.in = ::dup(process.out);
        return process;
    }
    std::array<std::array<int, 2>, 3> pipes{};
    for (auto& pipe : pipes) (void)!::pipe2(pipe.data(), O_CLOEXEC);
    process.pid = ::fork();
    if (process.pid == 0) {
        ::dup2(pipes[0][0], 0);
        ::dup2(pipes[1][1], 1);
        ::dup2(pipes[2][1], 2);
        ::execvp(argv[0], argv.data());
        ::_exit(127);
    }
    ::close(pipes[0][0]);
    ::close(pipes[1][1]);
    ::close(pipes[2][1]);
    process.in = pipes[0][1];
    process.out = pipes[1][0];
    process.err = pipes[2][0];
    return process;
}

std::string status_of(int wait_status) {
    const int code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
    if (code == 0) return R"({"metadata":{},"status":"Success"})";
    const std::string number = std::to_string(code);
    return R"({"metadata":{},"status":"Failure","message":"command terminated with non-zero exit )"
           R"(code: )" +
           number +
           R"(","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":")" +
           number + R"("}]}})";
}

void run_exec(Session& session, const ExecRequest& request, int socket) {
    struct Early {
        std::uint32_t stream;
        std::string data;
        bool fin;
    };
    std::vector<Early> early;
    std::map<std::string, std::uint32_t> streams;
    const std::size_t expected = 1U + (request.stdin_stream ? 1 : 0) + (request.stdout_stream ? 1 : 0) +
                                 (request.stderr_stream ? 1 : 0) + (request.tty ? 1 : 0);
    session.read([&](const SpdyEvent& event) {
        if (event.kind == SpdyEvent::Kind::kSynStream) {
            streams[session.accept_stream(event)["streamtype"]] = event.stream;
        } else if (event.kind == SpdyEvent::Kind::kData) {
            // A client may write at once; its bytes can come with its last stream.
            early.push_back({event.stream, std::string(event.data), event.fin});
        }
        return streams.size() < expected;
    });
    if (streams.size() < expected) return;
    Process process = start(request);
    std::thread reader([&] {
        const auto take = [&](const SpdyEvent& event) {
            if (event.kind != SpdyEvent::Kind::kData) return true;
            if (request.stdin_stream && event.stream == streams["stdin"]) {
                send_all(process.in, event.data);
                if (event.fin && !request.tty) {
                    ::close(process.in);
                    process.in = -1;
                }
            } else if (request.tty && event.stream == streams["resize"]) {
                unsigned width = 0;
                unsigned height = 0;
                if (std::sscanf(std::string(event.data).c_str(), "{\"Width\":%u,\"Height\":%u}",
                                &width, &height) == 2) {
                    winsize size{};
                    size.ws_col = static_cast<unsigned short>(width);
                    size.ws_row = static_cast<unsigned short>(height);
                    ::ioctl(process.out, TIOCSWINSZ, &size);
                }
            }
            return true;
        };
        for (const auto& piece : early) {
            SpdyEvent event;
            event.stream = piece.stream;
            event.data = piece.data;
            event.fin = piece.fin;
            take(event);
        }
        session.read(take);
    });
    std::array<pollfd, 2> fds{{{process.out, POLLIN, 0}, {process.err, POLLIN, 0}}};
    const std::array<std::uint32_t, 2> numbers = {streams["stdout"], streams["stderr"]};
    std::string piece(kPieceBytes, '\0');
    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        ::poll(fds.data(), fds.size(), -1);
        for (std::size_t i = 0; i < fds.size(); ++i) {
            if (fds[i].fd < 0 || fds[i].revents == 0) continue;
            const ssize_t got = ::read(fds[i].fd, piece.data(), piece.size());
            if (got <= 0) {
                fds[i].fd = -1;
            } else if (numbers[i] != 0) {
                session.send(SpdyWriter::data(numbers[i],
                                              {piece.data(), static_cast<std::size_t>(got)}, false));
            }
        }
    }
    int wait_status = 0;
    ::waitpid(process.pid, &wait_status, 0);
    session.send(SpdyWriter::data(streams["error"], status_of(wait_status), true) +
                 SpdyWriter::go_away(0));
    ::shutdown(socket, SHUT_WR);
    reader.join();
    for (const int fd : {process.in, process.out, process.err}) {
        if (fd >= 0) ::close(fd);
    }
}

void run_port_forward(Session& session) {
    struct Pair {
        std::uint32_t data = 0;
        std::uint32_t error = 0;
        int socket = -1;
        std::thread thread;
    };
    std::map<std::string, std::unique_ptr<Pair>> pairs;
    std::map<std::uint32_t, Pair*> by_stream;
    session.read([&](const SpdyEvent& event) {
        if (event.kind == SpdyEvent::Kind::kSynStream) {
            auto headers = session.accept_stream(event);
            auto& pair = pairs[headers["requestid"]];
            if (!pair) pair = std::make_unique<Pair>();
            (headers["streamtype"] == "data" ? pair->data : pair->error) = event.stream;
            by_stream[event.stream] = pair.get();
            if (pair->data == 0 || pair->error == 0) return true;
            pair->socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
            sockaddr_in address{};
            address.sin_family = AF_INET;
            address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
            address.sin_port = htons(static_cast<std::uint16_t>(std::atoi(headers["port"].c_str())));
            const bool connected = ::connect(pair->socket, reinterpret_cast<sockaddr*>(&address),
                                             sizeof(address)) == 0;
            pair->thread = std::thread([&session, raw = pair.get(), connected] {
                std::string piece(kPieceBytes, '\0');
                while (connected) {
                    const ssize_t got = ::read(raw->socket, piece.data(), piece.size());
                    if (got <= 0) break;
                    session.send(SpdyWriter::data(
                        raw->data, {piece.data(), static_cast<std::size_t>(got)}, false));
                }
                session.send(SpdyWriter::data(raw->data, "", true) +
                             SpdyWriter::data(raw->error, connected ? "" : "connection refused",
                                              true));
            });
        } else if (event.kind == SpdyEvent::Kind::kData || event.kind == SpdyEvent::Kind::kReset) {
            const auto found = by_stream.find(event.stream);
            if (found == by_stream.end() || found->second->data != event.stream ||
                found->second->socket < 0) {
                return true;
            }
            send_all(found->second->socket, event.data);
            if (event.fin) ::shutdown(found->second->socket, SHUT_WR);
            if (event.kind == SpdyEvent::Kind::kReset) ::shutdown(found->second->socket, SHUT_RDWR);
        }
        return true;
    });
    for (auto& [id, pair] : pairs) {
        if (pair->socket >= 0) ::shutdown(pair->socket, SHUT_RDWR);
        if (pair->thread.joinable()) pair->thread.join();
        if (pair->socket >= 0) ::close(pair->socket);
    }
}

}  // namespace

TestRuntime::TestRuntime() : listener_(listen_on_loopback(&port_)) {
    acceptor_ = std::thread([this] { accept(); });
}

TestRuntime::~TestRuntime() {
    stopping_.store(true);
    ::shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    {
        const std::lock_guard lock(mutex_);
        for (const int socket : sockets_) ::shutdown(socket, SHUT_RDWR);
    }
    for (auto& thread : threads_) thread.join();
    for (const int socket : sockets_) ::close(socket);
    ::close(listener_);
}

std::string TestRuntime::exec(const ExecRequest& request) {
    const std::lock_guard lock(mutex_);
    const std::string token = std::to_string(tokens_.size() + 1);
    tokens_[token] = request;
    return "http://127.0.0.1:" + std::to_string(port_) + "/exec/" + token;
}

std::string TestRuntime::port_forward() {
    return "http://127.0.0.1:" + std::to_string(port_) + "/portforward/1";
}

void TestRuntime::accept() {
    while (true) {
        const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
        if (socket < 0 || stopping_.load()) return;
        const int one = 1;
        ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        const std::lock_guard lock(mutex_);
        sockets_.push_back(socket);
        threads_.emplace_back([this, socket] {
            serve(socket);
            ::shutdown(socket, SHUT_RDWR);
        });
    }
}

void TestRuntime::serve(int socket) {
    std::string head;
    char c = 0;
    while (head.find("\r\n\r\n") == std::string::npos) {
        if (::read(socket, &c, 1) != 1) return;
        head.push_back(c);
    }
    const std::size_t start = head.find(' ') + 1;
    const std::string target = head.substr(start, head.find(' ', start) - start);
    if (head.find("SPDY/3.1") == std::string::npos) {
        send_all(socket, "HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\nSPDY only");
        return;
    }
    const bool forward = target.starts_with("/portforward/");
    send_all(socket, std::string("HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\n"
                                 "Connection: Upgrade\r\nX-Stream-Protocol-Version: ") +
                         (forward ? "portforward.k8s.io" : "v4.channel.k8s.io") + "\r\n\r\n");
    Session session(socket);
    if (forward) {
        run_port_forward(session);
        return;
    }
    ExecRequest request;
    {
        const std::lock_guard lock(mutex_);
        request = tokens_[target.substr(target.rfind('/') + 1)];
    }
    run_exec(session, request, socket);
}

}  // namespace sluice::kubelet::testing
