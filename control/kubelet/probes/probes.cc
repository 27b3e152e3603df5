// See probes.h. The loop's thread owns the attempts and tells the outcomes; mutex_ guards what
// other threads change: which containers are probed, and results that arrive from the pool and from
// gRPC.
#include "control/kubelet/probes/probes.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <thread>
#include <unordered_map>

#include "api/base/fd.h"
#include "api/base/log.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "control/kubelet/probes/attempt_private.h"
#include "control/kubelet/probes/grpc_checks_private.h"
#include "control/kubelet/probes/pool_private.h"
#include "control/kubelet/probes/worker_private.h"

namespace sluice::kubelet {
namespace {

constexpr const char* kUserAgent = "kube-probe/1.32";
constexpr std::uint64_t kWakeId = 0;
constexpr int kMaxEventsAtOnce = 64;

using Id = std::uint64_t;
using Status = AttemptResult::Status;

// A probe of a container. Guarded by mutex_.
struct Slot {
    std::string pod_uid;
    std::string container_name;
    std::string container_id;
    Result<ProbeTarget> target;
    ProbeWorker worker;
    bool running = false;
};

struct Tracked {
    std::string container_id;
    std::vector<Id> slots;
    // Begin when the startup probe has succeeded.
    std::vector<Id> gated;
};

// An attempt of the loop.
struct Running {
    std::unique_ptr<Attempt> attempt;
    ProbeClock::time_point deadline;
    int registered = -1;
    short events = 0;
};

struct Arrived {
    Id id;
    AttemptResult result;
};
// A host name that was resolved; the attempt may begin.
struct Resolved {
    Id id;
    Result<std::string> address;
};

std::string trimmed(std::string text) {
    if (text.size() > kMaxProbeOutputBytes) text.resize(kMaxProbeOutputBytes);
    return text;
}

class Loop final : public Prober {
public:
    Loop(ExecInContainer exec, std::function<void(const ProbeOutcome&)> on_outcome,
         std::function<void(const ProbeFailure&)> on_failure)
        : exec_(std::move(exec)), on_outcome_(std::move(on_outcome)),
          on_failure_(std::move(on_failure)), epoll_(::epoll_create1(EPOLL_CLOEXEC)),
          wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
        SLUICE_ASSERT(epoll_ && wake_);
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.u64 = kWakeId;
        SLUICE_ASSERT(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) == 0);
        pool_ = std::make_unique<JobPool>(kMaxConcurrentExecProbes);
        thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
    }
    ~Loop() override {
        thread_.request_stop();
        wake();
        thread_.join();
        // These may still post results; nobody reads them any more.
        pool_.reset();
        grpc_.reset();
    }
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;

    void add(const corev1::Pod& pod, const corev1::Container& container,
             const std::string& container_id, const std::string& pod_ip, bool already_started,
             bool ready) override;
    void remove(const std::string& pod_uid, const std::string& container_name) override {
        const std::scoped_lock lock(mutex_);
        const auto found = containers_.find({pod_uid, container_name});
        if (found == containers_.end()) return;
        drop_locked(found->second);
        containers_.erase(found);
    }
    void pod_terminating(const std::string& pod_uid) override {
        const std::scoped_lock lock(mutex_);
        for_pod_locked(pod_uid, [&](Tracked& tracked) {
            std::erase_if(tracked.slots, [&](Id id) {
                if (slots_.at(id).worker.type() == ProbeType::kReadiness) return false;
                slots_.erase(id);
                return true;
            });
        });
    }
    void remove_pod(const std::string& pod_uid) override {
        const std::scoped_lock lock(mutex_);
        for_pod_locked(pod_uid, [&](Tracked& tracked) { drop_locked(tracked); });
        std::erase_if(containers_, [&](const auto& entry) { return entry.first.first == pod_uid; });
    }

private:
    using Key = std::pair<std::string, std::string>;  // pod uid, container

    template <class Function>
    void for_pod_locked(const std::string& pod_uid, const Function& function) {
        for (auto found = containers_.lower_bound({pod_uid, ""});
             found != containers_.end() && found->first.first == pod_uid; ++found) {
            function(found->second);
        }
    }
    void drop_locked(const Tracked& tracked) {
        for (const Id id : tracked.slots) slots_.erase(id);
    }
    void schedule_locked(Id id) { due_.emplace(slots_.at(id).worker.due(), id); }
    void wake() {
        const std::uint64_t one = 1;
        // Full is as good as written.
        static_cast<void>(::write(wake_.get(), &one, sizeof one) == 0);
    }

    void run(const std::stop_token& stop);
    [[nodiscard]] int wait_ms();
    void start_due();
    void launch(Id id, const Slot& slot);
    void begin_attempt(Id id, const ProbeTarget& target, const std::string& address,
                       ProbeClock::time_point deadline);
    // Registers what the attempt waits for, or ends it.
    void follow(Id id);
    void finish(Id id, AttemptResult result);
    void expire_attempts();
    void take_arrived();
    void post(Arrived arrived) {
        {
            const std::scoped_lock lock(mutex_);
            arrived_.push_back(std::move(arrived));
        }
        wake();
    }

    const ExecInContainer exec_;
    const std::function<void(const ProbeOutcome&)> on_outcome_;
    const std::function<void(const ProbeFailure&)> on_failure_;
    const Fd epoll_;
    const Fd wake_;

    std::mutex mutex_;
    std::map<Key, Tracked> containers_;
    std::unordered_map<Id, Slot> slots_;
    std::set<std::pair<ProbeClock::time_point, Id>> due_;  // of slots that are there or were
    std::vector<Arrived> arrived_;
    std::vector<Resolved> resolved_;
    Id next_id_ = kWakeId + 1;
    std::mt19937 random_{std::random_device{}()};

    // The loop's own.
    std::unordered_map<Id, Running> running_;
    std::set<std::pair<ProbeClock::time_point, Id>> deadlines_;
    struct Resolving {
        ProbeTarget target;
        ProbeClock::time_point deadline;
    };
    std::unordered_map<Id, Resolving> resolving_;

    std::unique_ptr<GrpcChecks> grpc_;  // made by the first gRPC probe
    std::unique_ptr<JobPool> pool_;
    std::jthread thread_;
};

void Loop::add(const corev1::Pod& pod, const corev1::Container& container,
               const std::string& container_id, const std::string& pod_ip, bool already_started,
               bool ready) {
    const auto now = ProbeClock::now();
    const std::string& uid = pod.metadata().uid();
    {
        const std::scoped_lock lock(mutex_);
        Tracked& tracked = containers_[{uid, container.name()}];
        if (tracked.container_id == container_id) return;
        drop_locked(tracked);
        tracked = Tracked{container_id, {}, {}};
        const bool terminating = pod.metadata().has_deletiontimestamp();
        const auto spread = [&](const ProbeTimes& times) {
            return std::chrono::milliseconds(
                std::uniform_int_distribution<std::uint32_t>(0, times.period_ms)(random_));
        };
        const auto place = [&](ProbeType type, const corev1::Probe& probe, bool gated,
                               std::optional<bool> told) {
            const ProbeTimes times = times_of(probe);
            auto begin = now;
            // What runs already had its delay; its probes are spread, so that a restarted kubelet
            // does not run all at once. A liveness probe has no haste.
            if (!already_started) begin += std::chrono::milliseconds(times.initial_delay_ms);
            if (already_started || type == ProbeType::kLiveness) begin += spread(times);
            const Id id = next_id_++;
            slots_.emplace(id, Slot{uid, container.name(), container_id,
                                    make_target(container, probe, pod_ip),
                                    ProbeWorker(type, times, begin,
                                                !already_started && type != ProbeType::kLiveness,
                                                told)});
            tracked.slots.push_back(id);
            if (gated) {
                tracked.gated.push_back(id);
            } else {
                schedule_locked(id);
            }
        };
        const bool gated = container.has_startupprobe() && !already_started;
        if (gated && !terminating) {
            place(ProbeType::kStartup, container.startupprobe(), false, std::nullopt);
        }
        if (container.has_livenessprobe() && !terminating) {
            place(ProbeType::kLiveness, container.livenessprobe(), gated, true);
        }
        if (container.has_readinessprobe()) {
            place(ProbeType::kReadiness, container.readinessprobe(), gated,
                  already_started && ready);
        }
    }
    wake();
}

void Loop::run(const std::stop_token& stop) {
    epoll_event events[kMaxEventsAtOnce];
    while (!stop.stop_requested()) {
        const int count = ::epoll_wait(epoll_.get(), events, kMaxEventsAtOnce, wait_ms());
        for (int i = 0; i < count; ++i) {
            const Id id = events[i].data.u64;
            if (id == kWakeId) {
                std::uint64_t times = 0;
                static_cast<void>(::read(wake_.get(), &times, sizeof times) == 0);
                continue;
            }
            const auto found = running_.find(id);
            if (found == running_.end()) continue;
            found->second.attempt->advance();
            follow(id);
        }
        take_arrived();
        expire_attempts();
        start_due();
    }
}

int Loop::wait_ms() {
    std::optional<ProbeClock::time_point> next;
    if (!deadlines_.empty()) next = deadlines_.begin()->first;
    {
        const std::scoped_lock lock(mutex_);
        if (!arrived_.empty() || !resolved_.empty()) return 0;
        // At the limit only the end of an attempt, or its deadline, makes room.
        if (!due_.empty() && running_.size() < kMaxConcurrentNetworkProbes) {
            next = next ? std::min(*next, due_.begin()->first) : due_.begin()->first;
        }
    }
    if (!next) return -1;
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(*next - ProbeClock::now()).count();
    return static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000));
}

void Loop::start_due() {
    const auto now = ProbeClock::now();
    while (running_.size() < kMaxConcurrentNetworkProbes) {
        Id id = 0;
        std::optional<Slot> slot;
        {
            const std::scoped_lock lock(mutex_);
            if (due_.empty() || due_.begin()->first > now) return;
            id = due_.begin()->second;
            due_.erase(due_.begin());
            const auto found = slots_.find(id);
            if (found == slots_.end() || found->second.running || found->second.worker.on_hold()) {
                continue;
            }
            found->second.running = true;
            slot = found->second;
        }
        launch(id, *slot);
    }
}

void Loop::launch(Id id, const Slot& slot) {
    if (!slot.target) {
        finish(id, AttemptResult{Status::kUnknown, slot.target.error().message, 0});
        return;
    }
    const ProbeTarget& target = *slot.target;
    const std::uint32_t timeout_ms = slot.worker.times().timeout_ms;
    if (target.kind == ProbeTarget::Kind::kGrpc) {
        if (grpc_ == nullptr) grpc_ = GrpcChecks::create();
        grpc_->start(target.authority(), target.service, timeout_ms, kUserAgent,
                     [this, id](AttemptResult result) { post({id, std::move(result)}); });
        return;
    }
    if (target.kind == ProbeTarget::Kind::kExec) {
        pool_->post([this, id, timeout_ms, command = target.command,
                     container_id = slot.container_id] {
            {
                // It may have waited while its container was taken away.
                const std::scoped_lock lock(mutex_);
                if (!slots_.contains(id)) return;
            }
            const auto done = exec_(container_id, command, timeout_ms);
            AttemptResult result{Status::kSuccess, "", 0};
            if (!done && done.error().code == Code::kDeadlineExceeded) {
                std::string words;
                for (const auto& word : command) words += (words.empty() ? "" : " ") + word;
                result = {Status::kFailure,
                          fmt::format("command timed out: \"{}\" timed out after {}s", words,
                                      timeout_ms / 1000),
                          0};
            } else if (!done) {
                result = {Status::kUnknown, done.error().message, 0};
            } else if (done->exit_code != 0) {
                result = {Status::kFailure, trimmed(done->output), 0};
            }
            post({id, std::move(result)});
        });
        return;
    }
    const auto deadline = ProbeClock::now() + std::chrono::milliseconds(timeout_ms);
    // A name needs the resolver, which blocks.
    if (target.host.find_first_not_of("0123456789.") != std::string::npos &&
        target.host.find(':') == std::string::npos) {
        resolving_[id] = Resolving{target, deadline};
        deadlines_.emplace(deadline, id);
        pool_->post([this, id, host = target.host] {
            Resolved resolved{id, resolve_host(host)};
            {
                const std::scoped_lock lock(mutex_);
                resolved_.push_back(std::move(resolved));
            }
            wake();
        });
        return;
    }
    deadlines_.emplace(deadline, id);
    begin_attempt(id, target, target.host, deadline);
}

void Loop::begin_attempt(Id id, const ProbeTarget& target, const std::string& address,
                         ProbeClock::time_point deadline) {
    running_[id] = Running{start_attempt(target, address, kUserAgent), deadline, -1, 0};
    follow(id);
}

void Loop::follow(Id id) {
    Running& running = running_.at(id);
    if (running.attempt->finished()) {
        AttemptResult result = running.attempt->result();
        deadlines_.erase({running.deadline, id});
        running_.erase(id);
        finish(id, std::move(result));
        return;
    }
    const int fd = running.attempt->fd();
    const short events = running.attempt->wanted();
    epoll_event event{};
    event.events = (events & POLLIN) != 0 ? EPOLLIN : EPOLLOUT;
    event.data.u64 = id;
    // After a redirect it is another socket, perhaps under the same number: then the kernel does
    // not know it.
    if (running.registered == fd && running.events == events) {
        if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) == 0) return;
    }
    const bool changed = running.registered == fd &&
                         ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) == 0;
    if (!changed && ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
        log::warn("kubelet", "a probe's socket cannot be waited for: errno {}", errno);
    }
    running.registered = fd;
    running.events = events;
}

void Loop::expire_attempts() {
    const auto now = ProbeClock::now();
    while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
        const Id id = deadlines_.begin()->second;
        deadlines_.erase(deadlines_.begin());
        if (const auto name = resolving_.find(id); name != resolving_.end()) {
            const std::string host = name->second.target.host;
            resolving_.erase(name);
            finish(id, AttemptResult{Status::kFailure,
                                     fmt::format("dial tcp: lookup {}: i/o timeout", host), 0});
            continue;
        }
        const auto found = running_.find(id);
        if (found == running_.end()) continue;
        found->second.attempt->expire();
        follow(id);
    }
}

void Loop::take_arrived() {
    std::vector<Arrived> arrived;
    std::vector<Resolved> resolved;
    {
        const std::scoped_lock lock(mutex_);
        arrived.swap(arrived_);
        resolved.swap(resolved_);
    }
    for (Arrived& one : arrived) finish(one.id, std::move(one.result));
    for (const Resolved& one : resolved) {
        const auto found = resolving_.find(one.id);
        if (found == resolving_.end()) continue;  // too late
        const Resolving waiting = std::move(found->second);
        resolving_.erase(found);
        if (one.address) {
            begin_attempt(one.id, waiting.target, *one.address, waiting.deadline);
        } else {
            deadlines_.erase({waiting.deadline, one.id});
            finish(one.id, AttemptResult{Status::kFailure, one.address.error().message, 0});
        }
    }
}

void Loop::finish(Id id, AttemptResult result) {
    std::optional<ProbeOutcome> outcome;
    std::optional<ProbeFailure> failure;
    {
        const std::scoped_lock lock(mutex_);
        const auto found = slots_.find(id);
        if (found == slots_.end()) return;  // its container is gone
        Slot& slot = found->second;
        slot.running = false;
        const auto now = ProbeClock::now();
        const ProbeType type = slot.worker.type();
        const auto verdict = slot.worker.take(result.status, now);
        if (verdict.report) {
            failure = ProbeFailure{
                slot.pod_uid, slot.container_name, type,
                result.status == Status::kUnknown
                    ? fmt::format("{} probe errored and resulted in unknown state: {}",
                                  probe_type_name(type), trimmed(result.message))
                    : fmt::format("{} probe failed: {}", probe_type_name(type),
                                  trimmed(result.message))};
        }
        if (verdict.outcome) {
            outcome = ProbeOutcome{slot.pod_uid, slot.container_name, slot.container_id, type,
                                   *verdict.outcome, slot.worker.times().termination_grace_seconds};
        }
        const bool started = type == ProbeType::kStartup && verdict.outcome.value_or(false);
        if (started) {
            Tracked& tracked = containers_.at({slot.pod_uid, slot.container_name});
            for (const Id gated : tracked.gated) {
                const auto waiting = slots_.find(gated);
                if (waiting == slots_.end()) continue;
                waiting->second.worker.release(now);
                schedule_locked(gated);
            }
            tracked.gated.clear();
            std::erase(tracked.slots, id);
            slots_.erase(found);
        } else if (!slot.worker.on_hold()) {
            schedule_locked(id);
        }
    }
    if (failure) on_failure_(*failure);
    if (outcome) on_outcome_(*outcome);
}

}  // namespace

std::unique_ptr<Prober> Prober::create(ExecInContainer exec,
                                       std::function<void(const ProbeOutcome&)> on_outcome,
                                       std::function<void(const ProbeFailure&)> on_failure) {
    return std::make_unique<Loop>(std::move(exec), std::move(on_outcome), std::move(on_failure));
}

}  // namespace sluice::kubelet
