// The embedded store: one thread takes queued writes in groups, decides each against what the ones
// before it in the group will have done, commits the group in one transaction, and only then makes
// it visible, answers it and tells the watches. Reads use the index and never meet the disk. See
// README.md for the picture.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <future>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>

#include "api/base/log.h"
#include "control/store/database.h"
#include "control/store/indexed_store.h"
#include "control/store/watch_hub.h"

namespace sluice::store {

namespace {

using Clock = std::chrono::steady_clock;

// A group is bounded so that its first write does not wait long for its last.
constexpr std::size_t kMaxGroupWrites = 4'096;
constexpr std::size_t kMaxGroupBytes = std::size_t{8} << 20;
static_assert(kMaxGroupWrites < WatchHub::kReplayPiece);
// Compacted rows removed with a group: more than a group adds, so that the debt shrinks under load. What a small
// group takes beyond its own is little, as its writes wait for it.
constexpr std::size_t kForgetWithGroup = 8;
constexpr std::size_t kForgetPerWrite = 2;
constexpr std::size_t kForgetWhenIdle = 4'096;
// The log is moved into the database at this length: 16 MiB. Longer spreads the cost over more
// writes, and makes opening after a crash slower.
constexpr int kCheckpointPages = 4'096;
constexpr std::chrono::milliseconds kIdleInterval{kProgressIntervalMs};
constexpr std::chrono::seconds kFailureLogInterval{5};

using Done = std::function<void(Result<WriteResult>)>;

struct Queued {
    std::string key;
    std::shared_ptr<const std::string> value;  // null deletes
    std::optional<Revision> expected;
    std::vector<Companion> also;
    Done done;

    [[nodiscard]] std::size_t bytes() const {
        return key.size() + (value == nullptr ? 0 : value->size()) + companion_bytes(also);
    }
};

struct Compaction {
    Revision revision = 0;
    std::promise<Result<void>> done;
};

// The outcome of each write of a group, were the group committed; the index is not touched.
class Group {
public:
    explicit Group(const Index& index) : index_(index), next_(index.revision() + 1) {}

    // In commit order. REQUIRES: `write` outlives the group.
    WriteResult decide(const Queued& write) {
        WriteResult result;
        KeyValue now = as_it_will_be(write.key);
        bool holds = !write.expected || *write.expected == now.mod_revision;
        for (const Companion& other : write.also) {
            holds = holds && (!other.expected ||
                              *other.expected == as_it_will_be(other.key).mod_revision);
        }
        if (!holds) {
            result.revision = next_ - 1;
            result.condition_failed = true;
            result.current = std::move(now);
            return result;
        }
        // Before the key itself, whose revision then shows them too.
        for (const Companion& other : write.also) {
            if (other.unchanged) {
                continue;
            }
            KeyValue before = as_it_will_be(other.key);
            if (other.value) {
                change(other.key, std::make_shared<const std::string>(*other.value), before);
            } else if (before.value != nullptr) {
                change(other.key, nullptr, before);
            }
        }
        if (write.value == nullptr && now.value == nullptr) {
            result.revision = next_ - 1;
            result.current = std::move(now);
            return result;
        }
        result.previous = now.value;
        result.current = change(write.key, write.value, now);
        result.revision = next_ - 1;
        return result;
    }

    [[nodiscard]] const std::vector<KeyValue>& changes() const { return changes_; }

private:
    [[nodiscard]] KeyValue as_it_will_be(const std::string& key) const {
        const auto pending = pending_.find(key);
        return pending == pending_.end() ? index_.newest(key) : pending->second;
    }
    // The key as it then is. `key` is that of a queued write.
    KeyValue change(const std::string& key, std::shared_ptr<const std::string> value,
                    const KeyValue& before) {
        const Revision revision = next_++;
        const bool creates = before.value == nullptr;
        KeyValue made{key, std::move(value), creates ? revision : before.create_revision, revision,
                      false};
        if (made.value == nullptr) {
            made.create_revision = 0;
        }
        changes_.push_back(made);
        if (made.value == nullptr) {
            made.mod_revision = 0;  // What later writes see is a key that does not exist.
        }
        pending_.insert_or_assign(key, made);
        return made;
    }

    const Index& index_;
    Revision next_;
    std::vector<KeyValue> changes_;
    std::unordered_map<std::string_view, KeyValue> pending_;  // keys are those of the queued writes
};

class SqliteStore final : public IndexedStore {
public:
    SqliteStore(const SqliteOptions& options, std::unique_ptr<Database> database)
        : IndexedStore(database->compacted()),
          path_(options.path),
          history_limit_(std::max<std::size_t>(options.history_events, 1)),
          history_bytes_limit_(options.history_bytes),
          database_(std::move(database)) {}
    ~SqliteStore() override;
    SqliteStore(const SqliteStore&) = delete;
    SqliteStore& operator=(const SqliteStore&) = delete;

    Result<void> start();

    void write(Write write, Done done) override;
    Result<std::unique_ptr<Watch>> watch(std::string prefix, Revision after,
                                         WatchSink sink) override;
    Result<void> compact(Revision revision) override;
    [[nodiscard]] Stats stats() const override;

private:
    void run();
    void take_group(std::vector<Queued>& group);
    void commit_group(std::vector<Queued>& group);
    [[nodiscard]] Revision compaction_due(Revision newest) const;
    void compact_as_asked(Compaction& compaction);
    void compact_history();
    void forget_when_idle();
    void sort_by_page(std::vector<Revision>::iterator first);
    void checkpoint_if_long();
    void refuse(const Done& done, Error error);
    // The first rows of forgotten_ that the next transaction shall remove.
    [[nodiscard]] std::span<const Revision> forgettable(std::size_t limit) const {
        return std::span(forgotten_)
            .subspan(forgotten_done_)
            .first(std::min(limit, forgotten_.size() - forgotten_done_));
    }
    void forgot(std::size_t count);
    Result<void> commit(std::span<const KeyValue> changes, Revision compacted, std::size_t forget);

    const std::string path_;
    const std::size_t history_limit_;
    const std::uint64_t history_bytes_limit_;

    std::unique_ptr<Database> database_;  // store's thread, once started
    WatchHub hub_;

    mutable std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<Queued> queue_;            // guarded by mutex_
    std::size_t queued_bytes_ = 0;        // guarded by mutex_
    std::deque<Compaction> compactions_;  // guarded by mutex_; bounded by their callers, who wait
    bool attention_ = false;              // guarded by mutex_; a watch was added
    bool stopping_ = false;               // guarded by mutex_

    // Store's thread only.
    std::vector<Revision>
        forgotten_;                   // rows that compaction made superfluous and are still on disk
    std::size_t forgotten_done_ = 0;  // of these, removed already
    Revision compact_to_ = 0;         // on disk already, in the index after the group is delivered
    Clock::time_point last_progress_;
    Clock::time_point last_failure_log_;

    std::atomic<std::uint64_t> writes_{0};
    std::atomic<std::uint64_t> groups_{0};
    std::atomic<std::uint64_t> failed_writes_{0};
    std::atomic<std::uint64_t> refused_writes_{0};
    std::atomic<std::uint64_t> checkpoints_{0};

    std::thread thread_;  // last: it uses everything above
};

// Rows of one page go together, as each page that a transaction touches is written whole. A key's older
// rows still go before its newer ones, so that a crash between cannot bring a deleted key back.
void SqliteStore::sort_by_page(std::vector<Revision>::iterator first) {
    std::sort(first, forgotten_.end());
}

Result<void> SqliteStore::start() {
    SLUICE_TRY(database_->load(
        [this](KeyValue change) { return index_.load(std::move(change), forgotten_); }));
    sort_by_page(forgotten_.begin());
    database_->accept(kCheckpointPages + kCheckpointPages / 8);
    compact_to_ = index_.compacted();
    last_progress_ = Clock::now();
    thread_ = std::thread([this] { run(); });
    return {};
}

SqliteStore::~SqliteStore() {
    if (thread_.joinable()) {
        {
            std::lock_guard guard(mutex_);
            stopping_ = true;
        }
        wake_.notify_one();
        thread_.join();
    }
}

void SqliteStore::refuse(const Done& done, Error error) {
    refused_writes_.fetch_add(1, std::memory_order_relaxed);
    done(std::move(error));
}

void SqliteStore::write(Write write, Done done) {
    if (auto fault = fault_of(write)) {
        return refuse(done, make_error(Code::kInvalidArgument, "store {}: {}", path_, *fault));
    }
    Queued queued{std::move(write.key), nullptr, write.expected, std::move(write.also),
                  std::move(done)};
    if (write.value) {
        queued.value = std::make_shared<const std::string>(std::move(*write.value));
    }
    const std::size_t bytes = queued.bytes();
    bool closing = false;
    {
        std::lock_guard guard(mutex_);
        closing = stopping_;
        if (!closing && queue_.size() < kMaxQueuedWrites &&
            queued_bytes_ + bytes <= kMaxQueuedBytes) {
            queued_bytes_ += bytes;
            queue_.push_back(std::move(queued));
            if (queue_.size() == 1) {
                wake_.notify_one();
            }
            return;
        }
    }
    refuse(queued.done,
           closing ? make_error(Code::kUnavailable, "store {} is closing", path_)
                   : make_error(Code::kResourceExhausted,
                                "store {}: the queue of writes is full ({} writes, {} bytes)",
                                path_, kMaxQueuedWrites, kMaxQueuedBytes));
}

Result<std::unique_ptr<Watch>> SqliteStore::watch(std::string prefix, Revision after,
                                                  WatchSink sink) {
    SLUICE_TRY_ASSIGN(std::unique_ptr<Watch> watch,
                      hub_.add(index_, std::move(prefix), after, std::move(sink)));
    {
        std::lock_guard guard(mutex_);
        attention_ = true;
    }
    wake_.notify_one();
    return watch;
}

Result<void> SqliteStore::compact(Revision revision) {
    if (std::this_thread::get_id() == thread_.get_id()) {
        return make_error(Code::kFailedPrecondition,
                          "store {}: compact was called from the store's own thread", path_);
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
            return make_error(Code::kUnavailable, "store {} is closing", path_);
        }
        compactions_.push_back(std::move(compaction));
    }
    wake_.notify_one();
    return done.get();
}

Stats SqliteStore::stats() const {
    Stats stats;
    stats.writes = writes_.load(std::memory_order_relaxed);
    stats.groups = groups_.load(std::memory_order_relaxed);
    stats.failed_writes = failed_writes_.load(std::memory_order_relaxed);
    stats.refused_writes = refused_writes_.load(std::memory_order_relaxed);
    stats.checkpoints = checkpoints_.load(std::memory_order_relaxed);
    stats.keys = index_.key_count();
    const Revision compacted = index_.compacted();  // read first, as both only grow
    stats.history_events = index_.revision() - compacted;
    stats.history_bytes = index_.history_bytes();
    stats.watches = hub_.size();
    for (const char* part : {"", "-wal"}) {
        std::error_code ignored;
        const auto size = std::filesystem::file_size(path_ + part, ignored);
        stats.size_bytes += ignored ? 0 : size;
    }
    return stats;
}

void SqliteStore::forgot(std::size_t count) {
    forgotten_done_ += count;
    if (forgotten_done_ == forgotten_.size()) {
        forgotten_.clear();
        forgotten_done_ = 0;
    } else if (forgotten_done_ > forgotten_.size() / 2) {
        forgotten_.erase(forgotten_.begin(),
                         forgotten_.begin() + static_cast<std::ptrdiff_t>(forgotten_done_));
        forgotten_done_ = 0;
    }
}

Result<void> SqliteStore::commit(std::span<const KeyValue> changes, Revision compacted,
                                 std::size_t forget) {
    const std::span<const Revision> rows = forgettable(forget);
    auto result = database_->commit(changes, compacted, rows);
    if (result) {
        compact_to_ = compacted;
        forgot(rows.size());
        return {};
    }
    const auto now = Clock::now();
    if (now - last_failure_log_ > kFailureLogInterval) {
        last_failure_log_ = now;
        log::error("store", "{}", result.error().to_string());
    }
    // If the log could not grow, emptying it into the database lets the next group begin at its
    // start.
    if (database_->checkpoint()) {
        checkpoints_.fetch_add(1, std::memory_order_relaxed);
    }
    return result;
}

void SqliteStore::take_group(std::vector<Queued>& group) {
    std::size_t bytes = 0;
    std::size_t changes = 0;
    while (!queue_.empty() && changes + kMaxCompanions < kMaxGroupWrites && bytes < kMaxGroupBytes) {
        bytes += queue_.front().bytes();
        changes += 1 + queue_.front().also.size();
        group.push_back(std::move(queue_.front()));
        queue_.pop_front();
    }
    queued_bytes_ -= bytes;
}

// Where history is to begin once it goes on to `newest`. It is trimmed some events at a time, as storing the
// compacted revision costs a page.
Revision SqliteStore::compaction_due(Revision newest) const {
    Revision compacted = compact_to_;
    if (newest - compacted > history_limit_) {
        compacted = newest - history_limit_ + history_limit_ / 64;
    }
    if (index_.history_bytes() > history_bytes_limit_ && index_.history_size() > 0) {
        compacted = std::max(compacted, index_.history_revision(index_.history_size() / 16));
    }
    // What this group adds stays in history until the watches have been told.
    return std::min(compacted, index_.revision());
}

void SqliteStore::commit_group(std::vector<Queued>& group) {
    Group decided(index_);
    std::vector<WriteResult> results;
    results.reserve(group.size());
    for (const Queued& write : group) {
        results.push_back(decided.decide(write));
    }
    const std::vector<KeyValue>& changes = decided.changes();
    if (!changes.empty()) {
        const Revision compacted = compaction_due(index_.revision() + changes.size());
        auto committed =
            commit(changes, compacted, kForgetWithGroup + kForgetPerWrite * changes.size());
        if (!committed) {
            failed_writes_.fetch_add(group.size(), std::memory_order_relaxed);
            for (Queued& write : group) {
                write.done(committed.error());
            }
            return;
        }
        index_.apply(changes, changes.back().mod_revision);
    }
    writes_.fetch_add(group.size(), std::memory_order_relaxed);
    groups_.fetch_add(1, std::memory_order_relaxed);
    for (std::size_t i = 0; i < group.size(); ++i) {
        group[i].done(std::move(results[i]));
    }
}

// Brings the index to the compaction that is on disk. After delivery, so that no live watch loses a
// change.
void SqliteStore::compact_history() {
    if (compact_to_ > index_.compacted()) {
        const auto known = static_cast<std::ptrdiff_t>(forgotten_.size());
        index_.compact(compact_to_, forgotten_);
        sort_by_page(forgotten_.begin() + known);
    }
}

void SqliteStore::compact_as_asked(Compaction& compaction) {
    Result<void> result;
    if (compaction.revision > compact_to_) {
        result = commit({}, compaction.revision, 0);
        if (result) {
            compact_history();
        }
    }
    compaction.done.set_value(std::move(result));
}

void SqliteStore::forget_when_idle() {
    if (!forgotten_.empty()) {
        // A failure is logged by commit(), and the rows stay listed for the next time.
        static_cast<void>(commit({}, compact_to_, kForgetWhenIdle));
    }
}

void SqliteStore::checkpoint_if_long() {
    if (database_->log_pages() < kCheckpointPages) {
        return;
    }
    auto result = database_->checkpoint();
    if (result) {
        checkpoints_.fetch_add(1, std::memory_order_relaxed);
        return;
    }
    const auto now = Clock::now();
    if (now - last_failure_log_ > kFailureLogInterval) {
        last_failure_log_ = now;
        log::error("store", "{}", result.error().to_string());
    }
}

void SqliteStore::run() {
    std::vector<Queued> group;
    std::deque<Compaction> compactions;
    bool behind = false;
    bool stopping = false;
    while (!stopping) {
        bool idle = false;
        {
            std::unique_lock lock(mutex_);
            auto busy = [this] {
                return !queue_.empty() || !compactions_.empty() || attention_ || stopping_;
            };
            if (behind) {
                // A replay goes on at once.
            } else if (hub_.needs_progress() || !forgotten_.empty()) {
                idle = !wake_.wait_for(lock, kIdleInterval, busy);
            } else {
                wake_.wait(lock, busy);
            }
            take_group(group);
            compactions.swap(compactions_);
            attention_ = false;
            stopping = stopping_ && queue_.empty();
        }
        if (!group.empty()) {
            commit_group(group);
            group.clear();
        }
        behind = hub_.deliver(index_);
        compact_history();
        for (Compaction& compaction : compactions) {
            compact_as_asked(compaction);
        }
        compactions.clear();
        if (hub_.needs_progress() && Clock::now() - last_progress_ >= kIdleInterval) {
            hub_.progress(index_);
            last_progress_ = Clock::now();
        }
        if (idle) {
            forget_when_idle();
        }
        checkpoint_if_long();
    }
    hub_.close(make_error(Code::kUnavailable, "store {} is closing", path_));
}

}  // namespace

Result<std::unique_ptr<Store>> open_sqlite(const SqliteOptions& options) {
    SLUICE_TRY_ASSIGN(std::unique_ptr<Database> database, Database::open(options));
    auto store = std::make_unique<SqliteStore>(options, std::move(database));
    SLUICE_TRY(store->start());
    return std::unique_ptr<Store>(std::move(store));
}

}  // namespace sluice::store
