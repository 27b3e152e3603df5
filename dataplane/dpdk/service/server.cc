#include "dataplane/dpdk/service/server.h"

#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <utility>

#include "api/base/fd.h"
#include "api/sluice/dpdk.grpc.pb.h"
#include "dataplane/dpdk/service/wire_internal.h"

namespace sluice::dpdk {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::seconds kWatchPeriod{1};
constexpr std::chrono::milliseconds kCancelCheck{100};
constexpr std::chrono::seconds kShutdown{2};
// Watchers and long calls, and as many as that again for short ones.
constexpr int kMaxThreads = 2 * (kMaxWatchers + kMaxLongCalls);
constexpr int kMaxMessageBytes = 1 << 20;

// Holds one of a bounded number of places while it lives.
class Place {
public:
    Place(std::atomic<int>& count, int most) : count_(count), taken_(count.fetch_add(1) < most) {}
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    ~Place() { count_.fetch_sub(1); }
    [[nodiscard]] bool taken() const { return taken_; }

private:
    std::atomic<int>& count_;
    bool taken_;
};

class Service final : public wire::Dpdk::Service {
public:
    explicit Service(EngineControl& control) : control_(control) {}

    void changed() {
        {
            const std::lock_guard lock(mutex_);
            ++changes_;
        }
        wake_.notify_all();
    }
    void stop() {
        {
            const std::lock_guard lock(mutex_);
            stopping_ = true;
        }
        wake_.notify_all();
    }

    grpc::Status Status(grpc::ServerContext* /*context*/, const wire::StatusRequest* /*request*/,
                        wire::StatusReply* reply) override {
        to_wire(control_.status(), *reply);
        return grpc::Status::OK;
    }
    grpc::Status Attach(grpc::ServerContext* context, const wire::AttachRequest* request,
                        wire::AttachReply* /*reply*/) override {
        if (request->image() == 0) {
            return to_status(make_error(Code::kInvalidArgument, "image is 0, which no image has for its number"));
        }
        auto done = control_.attach(request->image(), patience(*context));
        changed();
        return to_status(done);
    }
    grpc::Status Synchronize(grpc::ServerContext* context, const wire::SynchronizeRequest* /*request*/,
                             wire::SynchronizeReply* /*reply*/) override {
        return to_status(control_.synchronize(patience(*context)));
    }
    grpc::Status Watch(grpc::ServerContext* context, const wire::WatchRequest* /*request*/,
                       grpc::ServerWriter<wire::StatusReply>* writer) override;
    grpc::Status Drain(grpc::ServerContext* context, const wire::DrainRequest* request,
                       wire::DrainReply* reply) override;
    grpc::Status HandOver(grpc::ServerContext* context, const wire::HandOverRequest* /*request*/,
                          wire::HandOverReply* /*reply*/) override {
        return to_status(control_.hand_over(patience(*context)));
    }
    grpc::Status Capture(grpc::ServerContext* context, const wire::CaptureRequest* request,
                         grpc::ServerWriter<wire::CaptureProgress>* writer) override;

private:
    [[nodiscard]] Patience patience(grpc::ServerContext& context, int default_seconds = kDefaultCallSeconds) {
        // Without a deadline the caller would wait as long as a lcore does.
        const auto longest = std::chrono::seconds(default_seconds);
        const auto left = context.deadline() - std::chrono::system_clock::now();
        const auto wait = left < longest ? std::chrono::duration_cast<steady_clock::duration>(left)
                                         : std::chrono::duration_cast<steady_clock::duration>(longest);
        return {steady_clock::now() + wait, [this, &context] { return context.IsCancelled() || stopping(); }};
    }
    [[nodiscard]] bool stopping() {
        const std::lock_guard lock(mutex_);
        return stopping_;
    }

    EngineControl& control_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::uint64_t changes_ = 0;
    bool stopping_ = false;
    std::atomic<int> watchers_{0};
    std::atomic<int> long_calls_{0};
};

grpc::Status Service::Watch(grpc::ServerContext* context, const wire::WatchRequest* /*request*/,
                            grpc::ServerWriter<wire::StatusReply>* writer) {
    const Place place(watchers_, kMaxWatchers);
    if (!place.taken()) {
        return to_status(make_error(Code::kResourceExhausted, "{} watchers are there already", kMaxWatchers));
    }
    wire::StatusReply reply;
    for (;;) {
        std::uint64_t seen = 0;
        {
            const std::lock_guard lock(mutex_);
            seen = changes_;
        }
        to_wire(control_.status(), reply);
        if (!writer->Write(reply)) {
            return grpc::Status::OK;
        }
        const auto next = steady_clock::now() + kWatchPeriod;
        std::unique_lock lock(mutex_);
        while (!stopping_ && changes_ == seen && steady_clock::now() < next) {
            wake_.wait_until(lock, std::min(next, steady_clock::now() + kCancelCheck));
            if (context->IsCancelled()) {
                return grpc::Status::CANCELLED;
            }
        }
        if (stopping_) {
            return to_status(make_error(Code::kUnavailable, "the engine stops"));
        }
    }
}

grpc::Status Service::Drain(grpc::ServerContext* context, const wire::DrainRequest* request,
                            wire::DrainReply* reply) {
    if (request->undo()) {
        control_.undo_drain();
        changed();
        return grpc::Status::OK;
    }
    constexpr std::uint32_t kMostIdleSeconds = 28800;
    if (request->idle_seconds() > kMostIdleSeconds) {
        return to_status(make_error(Code::kInvalidArgument, "idle_seconds is {}; at most {} is allowed",
                                    request->idle_seconds(), kMostIdleSeconds));
    }
    const Place place(long_calls_, kMaxLongCalls);
    if (!place.taken()) {
        return to_status(make_error(Code::kResourceExhausted, "{} drains and captures run already", kMaxLongCalls));
    }
    DrainOptions options;
    options.idle_seconds = request->idle_seconds() != 0 ? request->idle_seconds() : options.idle_seconds;
    constexpr int kLongest = 24 * 3600;
    auto left = control_.drain(options, patience(*context, kLongest));
    changed();
    if (!left) {
        return to_status(left.error());
    }
    reply->set_active_flows(*left);
    return grpc::Status::OK;
}

grpc::Status Service::Capture(grpc::ServerContext* context, const wire::CaptureRequest* request,
                              grpc::ServerWriter<wire::CaptureProgress>* writer) {
    auto options = from_wire(*request);
    if (!options) {
        return to_status(options.error());
    }
    const Place place(long_calls_, kMaxLongCalls);
    if (!place.taken()) {
        return to_status(make_error(Code::kResourceExhausted, "{} drains and captures run already", kMaxLongCalls));
    }
    const auto send = [&](const CaptureState& state) {
        wire::CaptureProgress progress;
        progress.set_packets(state.packets);
        progress.set_missed(state.missed);
        progress.set_finished(state.finished);
        return writer->Write(progress);
    };
    // Somewhat longer than it captures, so that its own limit ends it.
    constexpr int kSlack = 10;
    auto done = control_.capture(*options, patience(*context, static_cast<int>(options->seconds) + kSlack), send);
    return done ? grpc::Status::OK : to_status(done.error());
}

Result<sockaddr_un> address_of(const std::string& path) {
    sockaddr_un out{};
    out.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof(out.sun_path)) {
        return make_error(Code::kInvalidArgument, "the socket's path \"{}\" must have 1 to {} characters", path,
                          sizeof(out.sun_path) - 1);
    }
    std::memcpy(out.sun_path, path.c_str(), path.size());
    return out;
}

// Whether somebody answers there.
Result<bool> is_served(const std::string& path) {
    SLUICE_TRY_ASSIGN(const sockaddr_un address, address_of(path));
    const Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) {
        return errno_error(errno, "cannot make a socket");
    }
    if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 || errno == EAGAIN) {
        return true;
    }
    if (errno == ECONNREFUSED || errno == ENOENT) {
        return false;
    }
    return errno_error(errno, "cannot tell whether an engine serves {}", path);
}

Result<void> make_folder(const std::string& socket) {
    for (std::size_t at = socket.find('/', 1); at != std::string::npos; at = socket.find('/', at + 1)) {
        const std::string folder = socket.substr(0, at);
        if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
            return errno_error(errno, "cannot make the folder {} of the socket", folder);
        }
    }
    return {};
}

class Server final : public ControlServer {
public:
    explicit Server(std::string socket, EngineControl& control) : socket_(std::move(socket)), service_(control) {}
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;
    ~Server() override {
        service_.stop();
        if (server_) {
            // Before the answers, so that a successor is not taken for us.
            unlink(socket_.c_str());
            server_->Shutdown(std::chrono::system_clock::now() + kShutdown);
            server_->Wait();
        }
        if (lock_) {
            unlink((socket_ + ".lock").c_str());
        }
    }
    void changed() override { service_.changed(); }

    Result<void> start() {
        SLUICE_TRY(address_of(socket_ + ".new"));
        SLUICE_TRY(make_folder(socket_));
        SLUICE_TRY(lock());
        struct stat info {};
        if (lstat(socket_.c_str(), &info) == 0 && !S_ISSOCK(info.st_mode)) {
            return make_error(Code::kFailedPrecondition, "{} is there and is no socket", socket_);
        }
        SLUICE_TRY_ASSIGN(const bool served, is_served(socket_));
        if (served) {
            return taken();
        }
        // Bound under another name and renamed when only root can use it; that takes a stale socket's place, too.
        const std::string bound = socket_ + ".new";
        unlink(bound.c_str());
        grpc::ServerBuilder builder;
        builder.AddListeningPort("unix:" + bound, grpc::InsecureServerCredentials());
        builder.RegisterService(&service_);
        builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
        builder.SetResourceQuota(grpc::ResourceQuota("sluice-dpdk").SetMaxThreads(kMaxThreads));
        builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MAX_POLLERS, 2);
        server_ = builder.BuildAndStart();
        if (!server_) {
            return make_error(Code::kUnavailable, "cannot listen on {}", socket_);
        }
        if (chmod(bound.c_str(), 0600) != 0 || rename(bound.c_str(), socket_.c_str()) != 0) {
            return errno_error(errno, "cannot put the socket {} in its place", socket_);
        }
        return {};
    }

private:
    [[nodiscard]] Error taken() const {
        return make_error(Code::kAlreadyExists, "another engine serves {}", socket_);
    }
    // Two that start at once must not both find nobody there.
    Result<void> lock() {
        const std::string path = socket_ + ".lock";
        Fd fd(open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
        if (!fd) {
            return errno_error(errno, "cannot open {}", path);
        }
        if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
            return errno == EWOULDBLOCK ? taken() : errno_error(errno, "cannot lock {}", path);
        }
        struct stat held {};
        struct stat named {};
        if (fstat(fd.get(), &held) != 0 || stat(path.c_str(), &named) != 0 || held.st_ino != named.st_ino) {
            return make_error(Code::kUnavailable, "an engine on {} ended just now; try again", socket_);
        }
        lock_ = std::move(fd);
        return {};
    }

    std::string socket_;
    Fd lock_;
    Service service_;
    std::unique_ptr<grpc::Server> server_;
};

}  // namespace

Result<std::unique_ptr<ControlServer>> ControlServer::start(const std::string& socket, EngineControl& control) {
    auto out = std::make_unique<Server>(socket, control);
    SLUICE_TRY(out->start());
    return std::unique_ptr<ControlServer>(std::move(out));
}

}  // namespace sluice::dpdk
