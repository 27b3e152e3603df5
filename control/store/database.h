// The store's file: an SQLite database in WAL mode that holds the changes by revision. It is a log
// that is read once, when it is opened; from then on it only grows at its end and loses what
// compaction made superfluous.
//
//     meta     one row: the compacted revision
//     changes  revision -> create revision, key, value (NULL for a deletion), checksum
//
// SQLite verifies the structure of its pages but not their content, so each row carries a checksum
// of its own.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "control/store/store.h"

namespace sluice::store {

// Written into the file's header: "SLUI", and the version of the layout above.
inline constexpr std::uint32_t kApplicationId = 0x534c5549;
inline constexpr std::uint32_t kFormatVersion = 1;

// Threads: one at a time. Lifetime: the file stays locked until it is destroyed.
class Database {
public:
    virtual ~Database() = default;

    // Opens or makes the file and checks it; see open_sqlite in store.h for the errors. Until
    // accept() is called neither the file nor its write-ahead log is written to, and closing leaves
    // both as they are.
    static Result<std::unique_ptr<Database>> open(const SqliteOptions& options);

    [[nodiscard]] virtual Revision compacted() const = 0;
    // Hands every change to `row` in revision order. Stops at the first error of either and returns
    // it.
    virtual Result<void> load(const std::function<Result<void>(KeyValue)>& row) = 0;
    // What was loaded is sound: from now on the file may be written. A durable store's log is given
    // room for `log_pages` at once, as a sync of a file that grows takes many times as long as one
    // that does not.
    virtual void accept(int log_pages) = 0;

    // One transaction: appends the changes, stores the compacted revision, and removes the changes
    // `forgotten`, of which neighbours in ascending order cost the least. When it returns, they are
    // on disk (if the store is durable); on an error none of it is in force.
    virtual Result<void> commit(std::span<const KeyValue> changes, Revision compacted,
                                std::span<const Revision> forgotten) = 0;

    // Pages in the write-ahead log, each of kPageBytes; checkpoint() moves them into the database.
    [[nodiscard]] virtual int log_pages() const = 0;
    virtual Result<void> checkpoint() = 0;

    static constexpr int kPageBytes = 4'096;
};

}  // namespace sluice::store
