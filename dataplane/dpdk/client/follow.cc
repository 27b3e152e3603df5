#include "dataplane/dpdk/client/follow.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <thread>
#include <utility>
#include <vector>

#include "api/base/fd.h"
#include "dataplane/dpdk/shared/segment.h"
#include "dataplane/dpdk/shared/state_files.h"

namespace sluice::dpdk {
namespace {

using dataplane::EventView;

class SharedFollower final : public dataplane::EventSource {
public:
    SharedFollower(std::string path, Fd lock, std::unique_ptr<EventSegment> segment)
        : path_(std::move(path)), lock_(std::move(lock)), segment_(std::move(segment)) {}
    ~SharedFollower() override { __atomic_store_n(&config().kinds, 0U, __ATOMIC_RELEASE); }

    void begin(const sluice_log_config& wanted) {
        // What an earlier follower has left unread is not of this one's asking.
        for (std::uint32_t lcore = 0; lcore < segment_->lcores(); ++lcore) {
            EventRing& ring = *segment_->memory(lcore).ring;
            __atomic_store_n(&ring.read, __atomic_load_n(&ring.written, __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
        }
        lost_before_ = __atomic_load_n(&config().lost, __ATOMIC_RELAXED);
        config().below = wanted.below;
        kinds_ = wanted.kinds;
        renew();
    }

    Result<std::size_t> poll(std::chrono::milliseconds timeout,
                             const std::function<void(const EventView&)>& visit) override;
    [[nodiscard]] std::uint64_t lost() const override {
        return __atomic_load_n(&config().lost, __ATOMIC_RELAXED) - lost_before_;
    }

private:
    [[nodiscard]] sluice_log_config& config() const { return *segment_->memory(0).config; }
    // Kinds too, which are taken back when a lease is over.
    void renew() {
        __atomic_store_n(&config().until_ns, dataplane::follow_until_ns(), __ATOMIC_RELEASE);
        __atomic_store_n(&config().kinds, kinds_, __ATOMIC_RELEASE);
    }
    void take(const EventMemory& memory);
    [[nodiscard]] bool is_replaced() const;

    const std::string path_;
    const Fd lock_;  // of the file; held as long as this lives
    const std::unique_ptr<EventSegment> segment_;
    std::uint32_t kinds_ = 0;
    std::uint64_t lost_before_ = 0;
    std::vector<sluice_event> taken_;
};

bool SharedFollower::is_replaced() const {
    struct stat held {};
    struct stat named {};
    return fstat(lock_.get(), &held) != 0 || stat(path_.c_str(), &named) != 0 || held.st_ino != named.st_ino;
}

// Whoever writes is trusted with memory of its own only: counts that cannot be are none.
void SharedFollower::take(const EventMemory& memory) {
    const std::uint64_t written = __atomic_load_n(&memory.ring->written, __ATOMIC_ACQUIRE);
    std::uint64_t at = memory.ring->read;
    if (written - at > kEventsPerLcore) at = written;
    for (; at != written; ++at) taken_.push_back(memory.events[at % kEventsPerLcore]);
    __atomic_store_n(&memory.ring->read, at, __ATOMIC_RELEASE);
}

Result<std::size_t> SharedFollower::poll(std::chrono::milliseconds timeout,
                                         const std::function<void(const EventView&)>& visit) {
    renew();
    constexpr std::chrono::milliseconds kMost = std::chrono::milliseconds(dataplane::kFollowLease) / 2;
    const auto until = std::chrono::steady_clock::now() + std::min(timeout, kMost);
    for (;;) {
        taken_.clear();
        for (std::uint32_t lcore = 0; lcore < segment_->lcores(); ++lcore) take(segment_->memory(lcore));
        if (!taken_.empty() || std::chrono::steady_clock::now() >= until) break;
        std::this_thread::sleep_for(kFollowLook);
    }
    if (taken_.empty() && is_replaced()) {
        return make_error(Code::kUnavailable, "the flow log {} has been replaced or removed", path_);
    }
    // Each ring is in order; those of several lcores are put into one.
    std::stable_sort(taken_.begin(), taken_.end(),
                     [](const sluice_event& a, const sluice_event& b) { return a.time_ns < b.time_ns; });
    for (const sluice_event& event : taken_) visit(dataplane::event_view(event));
    return taken_.size();
}

}  // namespace

Result<std::unique_ptr<dataplane::EventSource>> follow_shared_events(const std::string& state_directory,
                                                                     const dataplane::FollowOptions& options) {
    SLUICE_TRY_ASSIGN(const sluice_log_config wanted, dataplane::log_settings(options));
    const std::string path = events_path(state_directory);
    Fd lock(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!lock) return errno_error(errno, "cannot open the flow log {}", path);
    if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
        return make_error(Code::kAlreadyExists, "somebody else follows the flow log {}: it has one reader", path);
    }
    SLUICE_TRY_ASSIGN(auto segment, EventSegment::open_to_follow(state_directory));
    auto out = std::make_unique<SharedFollower>(path, std::move(lock), std::move(segment));
    out->begin(wanted);
    return std::unique_ptr<dataplane::EventSource>(std::move(out));
}

}  // namespace sluice::dpdk
