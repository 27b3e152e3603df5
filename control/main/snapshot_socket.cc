#include "control/main/snapshot_socket.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "api/base/log.h"
#include "control/store/snapshot/snapshot.h"

namespace sluice::control {

namespace {

constexpr int kPollMs = 200;
// A client that takes nothing for so long is given up.
constexpr int kStalledMs = 30'000;

Result<sockaddr_un> address_of(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) {
        return make_error(Code::kInvalidArgument, "the path {} is too long for a socket", path);
    }
    std::memcpy(address.sun_path, path.data(), path.size());
    return address;
}

std::string socket_path(const std::string& data_dir) { return data_dir + "/snapshot.sock"; }

class Fd {
public:
    explicit Fd(int fd) : fd_(fd) {}
    ~Fd() {
        if (fd_ >= 0) ::close(fd_);
    }
    Fd(const Fd&) = delete;
    Fd& operator=(const Fd&) = delete;
    [[nodiscard]] int get() const { return fd_; }
    int release() { return std::exchange(fd_, -1); }

private:
    int fd_;
};

}  // namespace

SnapshotSocket::SnapshotSocket(int fd, std::string path, const store::Store& store)
    : fd_(fd), path_(std::move(path)), store_(store), thread_([this] { run(); }) {}

Result<std::unique_ptr<SnapshotSocket>> SnapshotSocket::listen(const std::string& data_dir,
                                                               const store::Store& store) {
    const std::string path = socket_path(data_dir);
    SLUICE_TRY_ASSIGN(const sockaddr_un address, address_of(path));
    Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    ::unlink(path.c_str());
    if (fd.get() < 0 ||
        ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        ::chmod(path.c_str(), 0600) != 0 || ::listen(fd.get(), 1) != 0) {
        return errno_error(errno, "the socket {} cannot be made", path);
    }
    return std::unique_ptr<SnapshotSocket>(new SnapshotSocket(fd.release(), path, store));
}

SnapshotSocket::~SnapshotSocket() {
    stopping_ = true;
    thread_.join();
    ::close(fd_);
    ::unlink(path_.c_str());
}

void SnapshotSocket::run() {
    while (!stopping_) {
        pollfd waiting{fd_, POLLIN, 0};
        if (::poll(&waiting, 1, kPollMs) <= 0) continue;
        const Fd client(::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        if (client.get() < 0) continue;
        if (const auto sent = send_to(client.get()); !sent) {
            log::warn("control", "a snapshot was not sent: {}", sent.error().message);
        }
    }
}

Result<void> SnapshotSocket::send_to(int client) {
    SLUICE_TRY_ASSIGN(const store::Snapshot snapshot, store::take_snapshot(store_));
    return store::encode_snapshot(snapshot, [&](std::string_view bytes) -> Result<void> {
        int stalled = 0;
        while (!bytes.empty()) {
            const ssize_t sent = ::send(client, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (sent > 0) {
                bytes.remove_prefix(static_cast<std::size_t>(sent));
                stalled = 0;
                continue;
            }
            if (sent < 0 && errno != EAGAIN) return errno_error(errno, "the client has gone");
            if (stopping_) return make_error(Code::kCancelled, "the server is stopping");
            if (stalled >= kStalledMs) {
                return make_error(Code::kUnavailable, "the client has taken nothing for {} ms",
                                  stalled);
            }
            pollfd waiting{client, POLLOUT, 0};
            if (::poll(&waiting, 1, kPollMs) == 0) stalled += kPollMs;
        }
        return {};
    });
}

Result<std::string> fetch_snapshot(const std::string& data_dir) {
    const std::string path = socket_path(data_dir);
    SLUICE_TRY_ASSIGN(const sockaddr_un address, address_of(path));
    const Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (fd.get() < 0 ||
        ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        return make_error(Code::kUnavailable, "no server answers at {}", path);
    }
    std::string bytes;
    std::array<char, 1 << 16> piece{};
    ssize_t got = 0;
    while ((got = ::recv(fd.get(), piece.data(), piece.size(), 0)) > 0) {
        bytes.append(piece.data(), static_cast<std::size_t>(got));
        if (bytes.size() > store::kMaxSnapshotBytes) {
            return make_error(Code::kResourceExhausted, "the snapshot has more than {} bytes",
                              store::kMaxSnapshotBytes);
        }
    }
    if (got < 0) return errno_error(errno, "the server at {} broke off", path);
    return bytes;
}

}  // namespace sluice::control
