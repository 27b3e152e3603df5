// The store: keys and values under one revision counter, as etcd has it, kept durably and watched.
// Every committed change has the next revision; a reader sees a state that existed at one revision.
//
// Reads come from memory (all live values, and the history since the last compaction) and never
// block on the disk. Writes are queued, committed in groups, and acknowledged only once they are
// durable. An implementation over etcd keeps the same picture in memory, fed by a watch.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/base/result.h"

namespace sluice::store {

using Revision = std::uint64_t;  // 0 is never a revision of a change

struct KeyValue {
    std::string key;
    std::shared_ptr<const std::string> value;  // null for a deletion
    Revision create_revision = 0;
    Revision mod_revision = 0;
    // Stored in a form that a write of the same would renew (encrypted with an older key).
    bool stale = false;
};

struct Event {
    KeyValue current;                             // current.value is null for a deletion
    std::shared_ptr<const std::string> previous;  // the value before; null for a creation
};

struct RangeResult {
    std::vector<KeyValue> items;  // in key order
    Revision revision = 0;        // the state they were read from
    bool more = false;
    std::uint64_t remaining = 0;  // items after the last one returned
};

// A further key of a write, changed with it or not at all.
struct Companion {
    std::string key;
    std::optional<std::string> value;  // nullopt deletes
    std::optional<Revision> expected;  // as in Write
    bool unchanged = false;            // only its condition counts
};

struct Write {
    std::string key;
    std::optional<std::string> value;  // nullopt deletes
    // The mod_revision the key must have; 0: it must not exist. nullopt: unconditional.
    std::optional<Revision> expected;
    // In one transaction with the key, and only if every condition holds, theirs too: at most
    // kMaxCompanions, each key once and none of them `key`. Their revisions are not above the
    // result's, which is the key's own: who can read that can read all of it.
    std::vector<Companion> also = {};
};

// What a write did. kUnavailable may mean that nobody knows: the answer of a store over a network can
// be lost after it committed. It is never told as a failed condition, which is a result, not an
// Error: condition_failed with the key as it is in `current` (current.value null: no such key), for
// the caller to answer with a conflict (or a companion's). Neither it nor the deletion of an absent key changes
// anything: `revision` is then the revision of the state that was examined.
struct WriteResult {
    Revision revision = 0;  // of the change
    bool condition_failed = false;
    KeyValue current;  // the key as it now is; value null and both revisions 0 if it does not exist
    std::shared_ptr<const std::string>
        previous;  // the value before the change; null if there was none
};

// Upper bounds of the durations below, in milliseconds; one more bucket is for all longer ones.
inline constexpr std::array<std::uint32_t, 23> kRequestBucketsMs = {
    5,     25,    50,    100,   200,   400,   600,   800,    1'000,  1'250,  1'500, 2'000,
    3'000, 4'000, 5'000, 6'000, 8'000, 10'000, 15'000, 20'000, 30'000, 45'000, 60'000};

// Requests of one kind to a store over a network.
struct RequestFigures {
    std::string operation;  // "create", "update", "delete", "list", "count"
    std::string type;       // first words of the key: "pods", "services/specs"; "*": of no one kind
    std::uint64_t requests = 0;
    std::uint64_t errors = 0;  // a failed condition is none
    std::uint64_t duration_us = 0;
    std::array<std::uint64_t, kRequestBucketsMs.size() + 1> buckets{};  // not cumulative
};

// What the store has done since it was opened, and how often a limit was reached.
struct Stats {
    std::uint64_t writes = 0;          // answered without an error, failed conditions included
    std::uint64_t groups = 0;          // transactions that carried them
    std::uint64_t failed_writes = 0;   // answered with an error of the disk
    std::uint64_t refused_writes = 0;  // the queue was full, or the write was not a valid one
    std::uint64_t checkpoints = 0;
    std::uint64_t keys = 0;  // in memory, those deleted since the last compaction included
    std::uint64_t history_events = 0;  // changes after compacted()
    std::uint64_t history_bytes = 0;   // what superseded values cost in memory
    std::uint64_t watches = 0;
    std::uint64_t size_bytes = 0;  // on disk, as far as known
    // Of a store over a network only.
    std::uint64_t fences = 0;          // asked for
    std::uint64_t fence_rounds = 0;    // round trips that served them
    std::uint64_t refused_fences = 0;  // kMaxQueuedFences, or not known in time
    std::uint64_t reconnects = 0;      // of the watch that feeds the picture in memory
    std::uint64_t reloads = 0;         // the history was lost while away: read anew, watches ended
    std::vector<RequestFigures> requests;
};

// The changes of one call: one object for all watches of a prefix that are told of them. Never null.
using EventBatch = std::shared_ptr<const std::vector<Event>>;

// Called from the store's own thread, in revision order, without gaps. Must not block, must not
// throw; it may be called before watch() returns. All events of one commit group arrive in one
// call; history is replayed in pieces. `revision`: every change up to it has been delivered; a call
// with no events is progress (a bookmark is possible): one comes when the replay of history has
// reached the present, and later within kProgressIntervalMs of changes to other keys. An error ends
// the watch: kOutOfRange when compaction overtook its replay or the history was lost, kUnavailable
// when the store closes.
using WatchSink = std::function<void(Result<EventBatch> events, Revision revision)>;

// Ends its watch when destroyed; after the destructor returns the sink is not called any more.
// The sink and what it holds are destroyed with it. It may outlive the store.
// REQUIRES: not destroyed from inside its own sink, nor while holding a lock that the sink takes.
class Watch {
public:
    virtual ~Watch() = default;
};

// Thread-safe. Destroying it commits what is queued, answers it, and ends the watches.
class Store {
public:
    virtual ~Store() = default;

    // The newest revision that is durable and visible.
    [[nodiscard]] virtual Revision revision() const = 0;
    // The oldest revision that reads and watches can still ask for.
    [[nodiscard]] virtual Revision compacted() const = 0;

    // at = 0: the newest. An `at` below compacted() is kOutOfRange; above revision() is
    // kFailedPrecondition.
    [[nodiscard]] virtual Result<std::optional<KeyValue>> get(std::string_view key,
                                                              Revision at = 0) const = 0;
    // Keys that begin with prefix and are greater than `after` (if not empty); limit = 0: all.
    [[nodiscard]] virtual Result<RangeResult> range(std::string_view prefix, std::string_view after,
                                                    std::uint64_t limit, Revision at = 0) const = 0;

    // done is called from the store's thread once the write is durable (or has failed), in commit
    // order; it must not block or throw, and may write again. A full queue (kMaxQueuedWrites,
    // kMaxQueuedBytes) is kResourceExhausted and a key or value beyond its limit kInvalidArgument:
    // both are told at once, from the calling thread. A failing disk is kUnavailable and a full one
    // kResourceExhausted: nothing of that group of writes is in force, reads go on, and later
    // writes are tried anew.
    virtual void write(Write write, std::function<void(Result<WriteResult>)> done) = 0;

    // Every change to keys with this prefix after revision `after` (which may be revision() for
    // "from now on"). kOutOfRange when `after` is below compacted(), kFailedPrecondition when it is
    // above revision(), kResourceExhausted beyond kMaxWatches.
    virtual Result<std::unique_ptr<Watch>> watch(std::string prefix, Revision after,
                                                 WatchSink sink) = 0;

    // Forgets the history before `revision`: reads at it and watches from it are still possible.
    // Blocks until that is durable. Below compacted() there is nothing to do; above revision() is
    // kFailedPrecondition. REQUIRES: not called from a sink or a done (kFailedPrecondition).
    virtual Result<void> compact(Revision revision) = 0;

    // Calls done once everything that was acknowledged to anybody before this call is visible here,
    // with a revision that shows it: what a read of "the newest" needs when several processes write
    // (shared()). Without others that is at once, from the calling thread; else from the store's
    // thread, under the rules of a write's done, after a round trip that many callers share.
    // kUnavailable within a bounded time when it cannot be known.
    virtual void fence(std::function<void(Result<Revision>)> done) { done(revision()); }
    // True when other processes write to the same store, so that get() and range() may lag.
    [[nodiscard]] virtual bool shared() const { return false; }
    // kUnavailable with the reason while writes and fences cannot be served. Thread-safe and quick.
    [[nodiscard]] virtual Result<void> healthy() const { return {}; }

    [[nodiscard]] virtual Stats stats() const { return {}; }
};

// How the errors of a store over a network begin: etcd's own, and those of the connection to it.
inline constexpr std::string_view kEtcdSays = "etcdserver: ";
inline constexpr std::string_view kConnectionSays = "rpc error: code = ";

inline constexpr std::size_t kMaxQueuedWrites = 65'536;
inline constexpr std::size_t kMaxQueuedBytes = std::size_t{256}
                                               << 20;  // keys and values of queued writes
inline constexpr std::size_t kMaxKeyBytes = 4'096;     // of prefixes too; a key is not empty
inline constexpr std::size_t kMaxValueBytes =
    (std::size_t{3} << 20) / 2;  // 1.5 MiB, as etcd's request limit
inline constexpr std::size_t kMaxCompanions = 100;  // etcd takes 128 operations at once
inline constexpr std::size_t kMaxWatches = 65'536;
inline constexpr std::size_t kMaxQueuedFences = 65'536;
inline constexpr int kProgressIntervalMs = 100;


inline constexpr std::uint64_t kHistoryBytes = std::uint64_t{16} << 20;

struct SqliteOptions {
    std::string path;     // the database file; made with mode 0600 if absent
    bool durable = true;  // false: no fsync (benchmarks and throw-away clusters)
    std::size_t history_events =
        100'000;  // kept in memory and on disk before automatic compaction; at least 1
    // The same by what superseded values cost in memory (Index::history_bytes), whichever comes first.
    std::uint64_t history_bytes = kHistoryBytes;
};
// A file that is not such a store, is damaged, or has a newer format is kDataLoss or
// kFailedPrecondition, with the path and what to do, and is left as it was. A second process on the
// same file is kFailedPrecondition.
Result<std::unique_ptr<Store>> open_sqlite(const SqliteOptions& options);

}  // namespace sluice::store
