// The store's picture in memory: every live key, and each key's older values since the last
// compaction, so that reads at an older revision and watches from one need no disk. It knows
// nothing of how changes became durable; any backend that can put changes into one order can feed
// it.
//
// A backend may leave revisions out (in etcd, those that changed keys of others) and may change
// several keys in one, each of them once.
//
// Invariants: history_ ascends by revision and holds every change after compacted(); a key's
// versions ascend by revision, at most the first of them is at or below compacted(), and that one
// is no deletion.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/store/rw_lock.h"
#include "control/store/store.h"

namespace sluice::store {

// The revision of a store that was never written to; its first change is the next one, as in etcd.
inline constexpr Revision kFirstRevision = 1;

// Threads: get, range, revision, compacted and the counts from any thread; the rest from the one
// thread that commits (it may read without the lock, as nobody else writes).
class Index {
public:
    explicit Index(Revision compacted);
    ~Index();
    Index(const Index&) = delete;
    Index& operator=(const Index&) = delete;

    [[nodiscard]] Revision revision() const { return revision_.load(std::memory_order_acquire); }
    [[nodiscard]] Revision compacted() const { return compacted_.load(std::memory_order_acquire); }
    [[nodiscard]] std::uint64_t key_count() const { return keys_.load(std::memory_order_relaxed); }
    // What the history costs in memory: values that others took the place of, and what keeps them.
    [[nodiscard]] std::uint64_t history_bytes() const {
        return history_bytes_.load(std::memory_order_relaxed);
    }

    // As Store::get and Store::range. A long range takes the lock in pieces of kRangePiece keys; it
    // still is of one revision. Cost: O(log keys + keys walked); with a limit, the keys after it
    // are walked to be counted.
    [[nodiscard]] Result<std::optional<KeyValue>> get(std::string_view key, Revision at) const;
    [[nodiscard]] Result<RangeResult> range(std::string_view prefix, std::string_view after,
                                            std::uint64_t limit, Revision at) const;

    // The key as it is now; value null and revisions 0 if it does not exist. Committing thread.
    [[nodiscard]] KeyValue newest(std::string_view key) const;

    // Makes changes visible, all at once; revision() is then `through`. REQUIRES: mod_revision
    // ascends from above revision() to `through` at most, the same one several times only for
    // different keys; a deletion (value null) is of a key that exists, with create_revision 0.
    void apply(std::span<const KeyValue> changes, Revision through);

    // Adds one change read back from disk, in revision order, before anyone reads the index.
    // Changes at or below compacted() may have gaps. Returns kDataLoss when it does not fit what
    // came before. The revisions of changes that compaction has already made superfluous are
    // appended to `forgotten`.
    Result<void> load(KeyValue change, std::vector<Revision>& forgotten);

    // Forgets what no read at or after `revision` can see, in steps that hold the lock briefly.
    // Appends the revisions forgotten to `forgotten`; those of one key ascend. REQUIRES: revision
    // <= revision().
    void compact(Revision revision, std::vector<Revision>& forgotten);

    // The history by position, oldest first; compact() and reset() move positions. Committing thread.
    [[nodiscard]] std::size_t history_size() const { return history_.size(); }
    // The position of the first change after `revision`, history_size() if there is none.
    // O(log history).
    [[nodiscard]] std::size_t history_after(Revision revision) const;
    [[nodiscard]] Revision history_revision(std::size_t position) const;
    [[nodiscard]] const std::string& history_key(std::size_t position) const;
    [[nodiscard]] Event history_event(std::size_t position) const;
    // What became of the key at `revision`; nullopt when it did not change then, or that is
    // forgotten. Committing thread.
    [[nodiscard]] std::optional<Event> change_of(std::string_view key, Revision revision) const;

    // Puts another state in place of this one, whose history is then empty: for a backend that has
    // lost the thread of changes. Reads under way at an older revision fail with kOutOfRange.
    // `items` are live keys, each once. Committing thread; holds the lock for a swap only.
    void reset(std::vector<KeyValue> items, Revision revision);

    static constexpr std::size_t kRangePiece = 1'024;
    static constexpr std::size_t kCompactPiece = 1'024;
    // Of a version, beside its value: the record, and the value's own two allocations.
    static constexpr std::uint64_t kVersionBytes = 128;

private:
    struct Version {
        Revision mod_revision = 0;
        Revision create_revision = 0;
        std::shared_ptr<const std::string> value;  // null: deleted
    };
    using Versions = std::vector<Version>;
    using Keys = std::map<std::string, Versions, std::less<>>;

    // Where a key is in map_, which alone would take a dozen comparisons of keys that are alike.
    struct Table;
    [[nodiscard]] Keys::iterator find(std::string_view key) const;
    // The same, made if there is none; true when it was.
    std::pair<Keys::iterator, bool> place(const std::string& key);
    void erase(Keys::iterator node);
    // The version of the key that a reader at `at` sees, nullptr for none.
    static const Version* visible(const Versions& versions, Revision at);
    [[nodiscard]] Result<Revision> resolve(Revision at) const;
    void add(const KeyValue& change);
    // What a version that is not the key's value any more costs.
    static std::uint64_t bytes_of(const Version& version) {
        return kVersionBytes + (version.value == nullptr ? 0 : version.value->size());
    }
    void forget_before(Keys::iterator node, Revision revision, std::vector<Revision>& forgotten);
    static Event event_of(const std::string& key, const Versions& versions, const Version& version);
    struct Cursor;
    void walk_piece(std::string_view prefix, std::uint64_t limit, Cursor& cursor,
                    std::size_t piece) const;

    mutable RwLock lock_;
    Keys map_;                            // guarded by lock_, as is the next
    std::unique_ptr<Table> table_;
    struct Change {
        Revision revision = 0;
        Keys::iterator node;
    };
    std::deque<Change> history_;  // committing thread only
    std::atomic<Revision> revision_;
    std::atomic<Revision> compacted_;
    std::atomic<std::uint64_t> keys_{0};
    std::atomic<std::uint64_t> history_bytes_{0};  // by bytes_of() of all versions but newest values
};

}  // namespace sluice::store
