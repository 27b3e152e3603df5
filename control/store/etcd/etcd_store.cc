// Opening, the thread and the inbox of the store over etcd; see etcd_store_private.h. What a turn
// of the thread does is always the same: take what has come, make it visible, answer those who
// waited for it, tell the watches.
#include <algorithm>
#include <utility>

#include "api/base/log.h"
#include "control/store/etcd/etcd_store_private.h"

namespace sluice::store {

namespace {

// Answers taken before the watches are told, so that groups grow with the load.
constexpr int kAnswersInATurn = 512;
// Closing waits so long for writes that were queued.
constexpr std::chrono::milliseconds kCloseTimeout{5'000};
// Changes before the newest that are fetched at opening, so that watches of clients survive the
// restart of an API server. etcd sends as many in one piece.
constexpr Revision kHistoryAtOpening = 1'000;
constexpr std::chrono::milliseconds kRetryOpening{200};
// How often etcd is asked how large it is, for the metrics.
constexpr std::chrono::seconds kSizeInterval{30};
constexpr std::chrono::milliseconds kProgressInterval{kProgressIntervalMs};

SystemTime system_time(Clock::time_point at) {
    return std::chrono::system_clock::now() + (at - Clock::now());
}

}  // namespace

Result<Picture> EtcdStore::first_load() {
    const auto give_up = Clock::now() + options_.open_timeout;
    std::string troubles;
    for (std::size_t attempt = 0;; ++attempt) {
        // A member that does not answer must not use up the time of the others.
        const auto share = options_.open_timeout / (2 * static_cast<int>(cluster_->size()));
        auto newest =
            cluster_->revision(system_time(std::min(give_up, Clock::now() + share)));
        if (newest) {
            known_revision_ = *newest;
            const Revision from = *newest > kHistoryAtOpening ? *newest - kHistoryAtOpening : 1;
            auto picture = cluster_->load(space_, from, system_time(give_up));
            if (!picture && picture.error().code == Code::kOutOfRange) {
                picture = cluster_->load(space_, 0, system_time(give_up));
            }
            if (picture) {
                return picture;
            }
            newest = picture.error();
        }
        if (attempt < cluster_->size()) {
            troubles += (troubles.empty() ? "" : "; ") + newest.error().message;
        }
        if (Clock::now() >= give_up || newest.error().code == Code::kInternal) {
            return make_error(Code::kUnavailable, "etcd cannot be read: {}", troubles);
        }
        cluster_->rotate();
        if ((attempt + 1) % cluster_->size() == 0) {
            std::this_thread::sleep_for(kRetryOpening);
        }
    }
}

Result<void> EtcdStore::start() {
    const auto give_up = Clock::now() + options_.open_timeout;
    SLUICE_TRY_ASSIGN(Picture picture, first_load());
    index_.reset(std::move(picture.items), picture.revision);
    hub_.restart(make_error(Code::kUnavailable, "the store opens"), picture.revision);
    feed_revision_ = picture.revision;
    const auto now = Clock::now();
    last_progress_ = now;
    compaction_at_ = now + options_.compaction_interval;
    std::promise<Result<Revision>> caught_up;
    auto newest = caught_up.get_future();
    fences_.push_back({[&caught_up](Result<Revision> at) { caught_up.set_value(std::move(at)); },
                       std::max(give_up, now + options_.request_timeout)});
    open_fences_ = 1;
    thread_ = std::thread([this] { run(); });
    auto reached = newest.get();
    if (!reached) {
        return reached.error().with_context("etcd's watch does not catch up");
    }
    return {};
}

EtcdStore::~EtcdStore() {
    if (!thread_.joinable()) {
        queue_.Shutdown();
        return;
    }
    {
        std::lock_guard guard(mutex_);
        stopping_ = true;
    }
    wake();
    thread_.join();
}

void EtcdStore::wake() {
    if (!alarmed_.exchange(true)) {
        alarm_.Set(&queue_, std::chrono::system_clock::now(), &waker_);
    }
}

void EtcdStore::write(Write write, WriteDone done) {
    const auto refuse = [this, &done](Error error) {
        refused_writes_.fetch_add(1, std::memory_order_relaxed);
        done(std::move(error));
    };
    if (auto fault = fault_of(write)) {
        return refuse(make_error(Code::kInvalidArgument, "etcd: {}", *fault));
    }
    const auto not_of_here = [this](const std::string& key) {
        return make_error(Code::kInvalidArgument, "etcd: the key {} does not begin with {}", key,
                          space_.local());
    };
    auto remote = space_.to_remote(write.key);
    if (!remote) {
        return refuse(not_of_here(write.key));
    }
    for (Companion& other : write.also) {
        auto key = space_.to_remote(other.key);
        if (!key) {
            return refuse(not_of_here(other.key));
        }
        other.key = std::move(*key);
    }
    PendingWrite pending;
    pending.key = std::move(write.key);
    pending.remote_key = std::move(*remote);
    if (write.value) {
        pending.value = std::make_shared<const std::string>(std::move(*write.value));
    }
    pending.expected = write.expected;
    pending.also = std::move(write.also);
    pending.deadline = Clock::now() + options_.request_timeout;
    const std::size_t bytes = pending.bytes();
    bool closing = false;
    bool full = false;
    {
        std::lock_guard guard(mutex_);
        closing = stopping_;
        full = open_writes_ >= kMaxQueuedWrites || open_bytes_ + bytes > kMaxQueuedBytes;
        if (!closing && !full) {
            pending.done = std::move(done);
            ++open_writes_;
            open_bytes_ += bytes;
            incoming_writes_.push_back(std::move(pending));
        }
    }
    if (closing) {
        return refuse(make_error(Code::kUnavailable, "etcd: the store is closing"));
    }
    if (full) {
        return refuse(make_error(Code::kResourceExhausted,
                                 "etcd: the queue of writes is full ({} writes, {} bytes)",
                                 kMaxQueuedWrites, kMaxQueuedBytes));
    }
    wake();
}

void EtcdStore::fence(FenceDone done) {
    fence_count_.fetch_add(1, std::memory_order_relaxed);
    Error error = make_error(Code::kUnavailable, "etcd: the store is closing");
    {
        std::lock_guard guard(mutex_);
        if (!stopping_ && open_fences_ < kMaxQueuedFences) {
            ++open_fences_;
            incoming_fences_.push_back({std::move(done), Clock::now() + options_.request_timeout});
            done = nullptr;
        } else if (!stopping_) {
            error = make_error(Code::kResourceExhausted,
                               "etcd: {} reads wait for the newest revision, the limit",
                               kMaxQueuedFences);
        }
    }
    if (done) {
        refused_fences_.fetch_add(1, std::memory_order_relaxed);
        return done(std::move(error));
    }
    wake();
}

Result<std::unique_ptr<Watch>> EtcdStore::watch(std::string prefix, Revision after,
                                                WatchSink sink) {
    SLUICE_TRY_ASSIGN(std::unique_ptr<Watch> watch,
                      hub_.add(index_, std::move(prefix), after, std::move(sink)));
    wake();
    return watch;
}

Result<void> EtcdStore::compact(Revision revision) {
    if (std::this_thread::get_id() == thread_.get_id()) {
        return make_error(Code::kFailedPrecondition,
                          "etcd: compact was called from the store's own thread");
    }
    if (revision > index_.revision()) {
        return make_error(Code::kFailedPrecondition,
                          "revision {} is in the future, the store is at {}", revision,
                          index_.revision());
    }
    Compaction compaction;
    compaction.revision = revision;
    auto done = compaction.done.get_future();
    {
        std::lock_guard guard(mutex_);
        if (stopping_) {
            return make_error(Code::kUnavailable, "etcd: the store is closing");
        }
        incoming_compactions_.push_back(std::move(compaction));
    }
    wake();
    return done.get();
}

Result<void> EtcdStore::healthy() const {
    std::lock_guard guard(mutex_);
    if (!trouble_.empty()) {
        return make_error(Code::kUnavailable, "{}", trouble_);
    }
    return {};
}

Stats EtcdStore::stats() const {
    Stats stats;
    stats.writes = done_writes_.load(std::memory_order_relaxed);
    stats.groups = sent_writes_.load(std::memory_order_relaxed);
    stats.failed_writes = failed_writes_.load(std::memory_order_relaxed);
    stats.refused_writes = refused_writes_.load(std::memory_order_relaxed);
    stats.keys = index_.key_count();
    stats.history_events = history_.load(std::memory_order_relaxed);
    stats.watches = hub_.size();
    stats.fences = fence_count_.load(std::memory_order_relaxed);
    stats.fence_rounds = fence_rounds_.load(std::memory_order_relaxed);
    stats.refused_fences = refused_fences_.load(std::memory_order_relaxed);
    stats.reconnects = reconnects_.load(std::memory_order_relaxed);
    stats.reloads = reloads_.load(std::memory_order_relaxed);
    stats.size_bytes = size_bytes_.load(std::memory_order_relaxed);
    std::lock_guard guard(mutex_);
    for (const auto& [name, figures] : requests_) {
        stats.requests.push_back(figures);
    }
    return stats;
}

void EtcdStore::take_inbox() {
    std::deque<PendingWrite> writes;
    std::deque<Fence> fences;
    std::deque<Compaction> compactions;
    {
        std::lock_guard guard(mutex_);
        writes.swap(incoming_writes_);
        fences.swap(incoming_fences_);
        compactions.swap(incoming_compactions_);
    }
    for (PendingWrite& write : writes) {
        enqueue(std::move(write));
    }
    for (Fence& fence : fences) {
        fences_.push_back(std::move(fence));
    }
    for (Compaction& compaction : compactions) {
        begin_compaction(std::move(compaction));
    }
}

void EtcdStore::deliver() {
    complete_writes();
    complete_fences();
    behind_ = hub_.deliver(index_);
    // History goes after delivery, so that no live watch loses a change; some at a time.
    const std::size_t limit = std::max<std::size_t>(options_.history_events, 1);
    std::size_t surplus = 0;
    if (index_.history_size() > limit) {
        surplus = index_.history_size() - limit + limit / 64;
    }
    if (index_.history_bytes() > options_.history_bytes) {
        surplus = std::max(surplus, std::min(index_.history_size(), index_.history_size() / 16 + 1));
    }
    if (surplus > 0) {
        index_.compact(index_.history_revision(surplus - 1), forgotten_);
        forgotten_.clear();
    }
    history_.store(index_.history_size(), std::memory_order_relaxed);
}

void EtcdStore::tick(Clock::time_point now) {
    if (feed_.idle()) {
        if (now >= reconnect_at_) {
            reconnect(now);
        }
    } else if (!feed_.opened() && now >= feed_deadline_) {
        feed_.cancel();
        feed_deadline_ = now + options_.request_timeout;
    }
    expire_writes(now);
    expire_fences(now);
    if (connected_) {
        begin_round(now);
        if (now >= size_at_) {
            size_at_ = now + kSizeInterval;
            ask_for_size();
        }
        if (options_.compaction_interval.count() > 0 && now >= compaction_at_) {
            compaction_at_ = now + options_.compaction_interval;
            take_compaction_turn();
        }
    }
    if (hub_.needs_progress() && now - last_progress_ >= kProgressInterval) {
        hub_.progress(index_);
        last_progress_ = now;
    }
}

Clock::time_point EtcdStore::next_turn(Clock::time_point now) const {
    if (behind_) {
        return now;
    }
    auto next = now + (hub_.needs_progress() ? kProgressInterval : kEtcdTick);
    if (feed_.idle()) {
        next = std::min(next, reconnect_at_);
    }
    if (!fences_.empty() && !round_under_way_) {
        next = std::min(next, std::max(round_at_, now + std::chrono::milliseconds(1)));
    }
    return next;
}

void EtcdStore::turn() {
    auto wait_until = system_time(next_turn(Clock::now()));
    for (int taken = 0; taken < kAnswersInATurn; ++taken) {
        void* tag = nullptr;
        bool ok = false;
        if (queue_.AsyncNext(&tag, &ok, wait_until) != grpc::CompletionQueue::GOT_EVENT) {
            break;
        }
        static_cast<Tag*>(tag)->complete(ok);
        wait_until = SystemTime{};  // what is there already, and no more
    }
    take_inbox();
    tick(Clock::now());
    send_ready();
    deliver();
}

void EtcdStore::run() {
    bool stopping = false;
    Clock::time_point give_up{};
    while (true) {
        turn();
        {
            std::lock_guard guard(mutex_);
            if (stopping_ && !stopping) {
                stopping = true;
                give_up = Clock::now() + kCloseTimeout;
            }
        }
        // What came since the turn took its share, and before the end.
        if (stopping) {
            take_inbox();
        }
        if (stopping && (writes_.empty() || Clock::now() >= give_up)) {
            break;
        }
    }
    shut_down();
}

// Answers what is left and takes everything out of the queue, as its destructor demands.
void EtcdStore::shut_down() {
    take_inbox();
    const Error closing = make_error(Code::kUnavailable, "etcd: the store is closing");
    for (auto write = writes_.begin(); write != writes_.end(); ++write) {
        failed_writes_.fetch_add(1, std::memory_order_relaxed);
        write->done(closing);
        write->done = nullptr;
    }
    for (const Fence& fence : fences_) fence.done(closing);
    fences_.clear();
    for (const Fence& fence : round_) fence.done(closing);
    round_.clear();
    for (const auto& [revision, fence] : fenced_) fence.done(closing);
    fenced_.clear();
    hub_.close(closing);
    alarm_.Cancel();
    for (grpc::ClientContext* context : calls_) {
        context->TryCancel();
    }
    feed_.cancel();
    connected_ = false;
    closing_ = true;
    // The feed needs several turns of the queue to end, and ends for good when it is idle.
    void* tag = nullptr;
    bool ok = false;
    while (!feed_.idle() || !calls_.empty() || alarmed_.load()) {
        if (!queue_.Next(&tag, &ok)) {
            break;
        }
        static_cast<Tag*>(tag)->complete(ok);
    }
    queue_.Shutdown();
    while (queue_.Next(&tag, &ok)) {
        static_cast<Tag*>(tag)->complete(ok);
    }
}

Result<std::unique_ptr<Store>> open_etcd(const EtcdOptions& options) {
    SLUICE_TRY_ASSIGN(std::unique_ptr<Cluster> cluster, Cluster::connect(options));
    auto store = std::make_unique<EtcdStore>(options, std::move(cluster));
    SLUICE_TRY(store->start());
    return std::unique_ptr<Store>(std::move(store));
}

}  // namespace sluice::store
