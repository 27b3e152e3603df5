#include "control/kubelet/logs/log_watch.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "api/base/fd.h"

namespace sluice::kubelet::logs {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kTick = std::chrono::seconds(1);
constexpr std::uint32_t kEvents = IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE;

std::string folder_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string::npos ? "." : path.substr(0, slash + 1);
}

struct Folder {
    int watch = -1;
    std::size_t users = 0;
    std::uint64_t changes = 0;
    std::vector<std::function<void()>> waiting;
};

class InotifyWatch final : public LogWatch {
public:
    InotifyWatch(Fd inotify, Fd wake) : inotify_(std::move(inotify)), wake_(std::move(wake)) {
        thread_ = std::thread([this] { run(); });
    }
    ~InotifyWatch() override {
        {
            const std::lock_guard lock(mutex_);
            stopping_ = true;
        }
        const std::uint64_t one = 1;
        // An eventfd takes it unless it is full, and then it is readable already.
        (void)!::write(wake_.get(), &one, sizeof(one));
        thread_.join();
    }
    InotifyWatch(const InotifyWatch&) = delete;
    InotifyWatch& operator=(const InotifyWatch&) = delete;

    Result<void> start(const std::string& path) override {
        const std::string name = folder_of(path);
        const std::lock_guard lock(mutex_);
        if (followers_ >= kMaxFollowers) {
            return make_error(Code::kResourceExhausted, "more than {} logs are being followed",
                              kMaxFollowers);
        }
        Folder& folder = folders_[name];
        if (folder.users == 0) {
            folder.watch = ::inotify_add_watch(inotify_.get(), name.c_str(), kEvents);
            if (folder.watch < 0) {
                const int reason = errno;
                folders_.erase(name);
                return errno_error(reason, "cannot watch the folder {}: {}", name,
                                   std::strerror(reason));
            }
            by_watch_[folder.watch] = name;
        }
        ++folder.users;
        ++followers_;
        return {};
    }

    void stop(const std::string& path) override {
        const std::lock_guard lock(mutex_);
        const auto found = folders_.find(folder_of(path));
        if (found == folders_.end()) return;
        --followers_;
        if (--found->second.users > 0) return;
        ::inotify_rm_watch(inotify_.get(), found->second.watch);
        by_watch_.erase(found->second.watch);
        folders_.erase(found);
    }

    std::uint64_t changes(const std::string& path) override {
        const std::lock_guard lock(mutex_);
        const auto found = folders_.find(folder_of(path));
        return found == folders_.end() ? 0 : found->second.changes;
    }

    void wait(const std::string& path, std::uint64_t seen, std::function<void()> callback) override {
        {
            const std::lock_guard lock(mutex_);
            const auto found = folders_.find(folder_of(path));
            if (found != folders_.end() && found->second.changes == seen && !stopping_) {
                found->second.waiting.push_back(std::move(callback));
                return;
            }
        }
        callback();
    }

private:
    void run() {
        std::array<pollfd, 2> fds{{{inotify_.get(), POLLIN, 0}, {wake_.get(), POLLIN, 0}}};
        alignas(inotify_event) std::array<char, 16'384> buffer{};
        auto tick = Clock::now() + kTick;
        while (true) {
            const auto left = std::chrono::ceil<std::chrono::milliseconds>(tick - Clock::now());
            const int timeout_ms = std::max(0, static_cast<int>(left.count()));
            (void)::poll(fds.data(), fds.size(), timeout_ms);
            const bool ticks = Clock::now() >= tick;
            if (ticks) tick = Clock::now() + kTick;
            std::vector<std::function<void()>> due;
            {
                const std::lock_guard lock(mutex_);
                if (stopping_ || ticks) {
                    for (auto& [name, folder] : folders_) take(&folder, &due);
                }
                if ((fds[0].revents & POLLIN) != 0) {
                    const ssize_t bytes = ::read(inotify_.get(), buffer.data(), buffer.size());
                    if (bytes > 0) note(buffer.data(), static_cast<std::size_t>(bytes), &due);
                }
            }
            for (const auto& callback : due) callback();
            const std::lock_guard lock(mutex_);
            if (stopping_) return;
        }
    }

    static void take(Folder* folder, std::vector<std::function<void()>>* due) {
        for (auto& callback : folder->waiting) due->push_back(std::move(callback));
        folder->waiting.clear();
    }

    void note(const char* buffer, std::size_t size, std::vector<std::function<void()>>* due) {
        for (std::size_t at = 0; at + sizeof(inotify_event) <= size;) {
            inotify_event event{};
            std::memcpy(&event, buffer + at, sizeof(event));
            at += sizeof(event) + event.len;
            if ((event.mask & IN_Q_OVERFLOW) != 0) {
                for (auto& [name, folder] : folders_) {
                    ++folder.changes;
                    take(&folder, due);
                }
                continue;
            }
            const auto name = by_watch_.find(event.wd);
            if (name == by_watch_.end()) continue;
            Folder& folder = folders_[name->second];
            ++folder.changes;
            take(&folder, due);
        }
    }

    Fd inotify_;
    Fd wake_;
    std::mutex mutex_;
    std::map<std::string, Folder> folders_;
    std::unordered_map<int, std::string> by_watch_;
    std::size_t followers_ = 0;
    bool stopping_ = false;
    std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<LogWatch>> LogWatch::create() {
    Fd inotify(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    Fd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!inotify || !wake) {
        const int reason = errno;
        return errno_error(reason, "cannot make an inotify: {}", std::strerror(reason));
    }
    return std::unique_ptr<LogWatch>(
        std::make_unique<InotifyWatch>(std::move(inotify), std::move(wake)));
}

}  // namespace sluice::kubelet::logs
