// The store: keys and values under one revision counter, as etcd has it, kept durably and watched.
// Every committed change has the next revision; a reader sees a state that existed at one revision.
//
// Reads come from memory (all live values, and the history since the last compaction) and never block on the
// disk. Writes are queued, committed in groups, and acknowledged only once they are durable.
// An implementation over etcd keeps the same picture in memory, fed by a watch.
#pragma once

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
};

struct Event {
    KeyValue current;                          // current.value is null for a deletion
    std::shared_ptr<const std::string> previous;  // the value before; null for a creation
};

struct RangeResult {
    std::vector<KeyValue> items;  // in key order
    Revision revision = 0;        // the state they were read from
    bool more = false;
    std::uint64_t remaining = 0;  // items after the last one returned
};

struct Write {
    std::string key;
    std::optional<std::string> value;  // nullopt deletes
    // The mod_revision the key must have; 0: it must not exist. nullopt: unconditional.
    std::optional<Revision> expected;
};

// What a write did. A failed condition is kAborted with `current` set (current.value null: no such key).
struct WriteResult {
    Revision revision = 0;
    bool condition_failed = false;
    KeyValue current;  // the key as it now is
    std::shared_ptr<const std::string> previous;
};

// Called from the store's own thread, in revision order, without gaps. Must not block; it may be called before
// watch() returns. All events of one commit group arrive in one call. `revision`: the store's revision
// after them; a call with no events is progress (a bookmark is possible). An error ends the watch.
using WatchSink = std::function<void(Result<std::vector<Event>> events, Revision revision)>;

// Ends its watch when destroyed; after the destructor returns the sink is not called any more.
// REQUIRES: not destroyed from inside its own sink.
class Watch {
public:
    virtual ~Watch() = default;
};

class Store {
public:
    virtual ~Store() = default;

    // The newest revision that is durable and visible.
    [[nodiscard]] virtual Revision revision() const = 0;
    // The oldest revision that reads and watches can still ask for.
    [[nodiscard]] virtual Revision compacted() const = 0;

    // at = 0: the newest. An `at` below compacted() is kOutOfRange; above revision() is kFailedPrecondition.
    [[nodiscard]] virtual Result<std::optional<KeyValue>> get(std::string_view key,
                                                              Revision at = 0) const = 0;
    // Keys that begin with prefix and are greater than `after` (if not empty); limit = 0: all.
    [[nodiscard]] virtual Result<RangeResult> range(std::string_view prefix, std::string_view after,
                                                    std::uint64_t limit, Revision at = 0) const = 0;

    // done is called from the store's thread once the write is durable (or has failed), in commit order. A full queue
    // (kMaxQueuedWrites) is kResourceExhausted; a failing disk kUnavailable, and reads go on.
    virtual void write(Write write, std::function<void(Result<WriteResult>)> done) = 0;

    // Every change to keys with this prefix after revision `after` (which may be revision() for "from now on").
    // kOutOfRange when `after` is below compacted().
    virtual Result<std::unique_ptr<Watch>> watch(std::string prefix, Revision after,
                                                 WatchSink sink) = 0;

    // Forgets history at and below `revision`, keeping live values.
    virtual Result<void> compact(Revision revision) = 0;
};

inline constexpr std::size_t kMaxQueuedWrites = 65'536;

struct SqliteOptions {
    std::string path;                      // the database file; made with mode 0600 if absent
    bool durable = true;                   // false: no fsync (benchmarks and throw-away clusters)
    std::size_t history_events = 100'000;  // kept in memory and on disk before automatic compaction
};
// A file that is not such a store, is damaged, or has a newer format is kDataLoss or kFailedPrecondition, with the
// path and what to do, and is left as it was. A second process on the same file is kFailedPrecondition.
Result<std::unique_ptr<Store>> open_sqlite(const SqliteOptions& options);

}  // namespace sluice::store
