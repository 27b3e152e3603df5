// The whole state of a store at one revision as a file: saved from a running store, restored into a
// new embedded one, and what a migration between stores carries.
//
//     "SLUICESNAP1\n" | revision | count | count x {key bytes, value bytes, created, modified, key,
//     value} | SHA-256 of all before                                  (numbers: 8 bytes, little endian)
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "control/store/store.h"

namespace sluice::store {

struct Snapshot {
    std::vector<KeyValue> items;  // live keys, in key order; values as they are stored
    Revision revision = 0;
};

// Of the newest revision. The store goes on meanwhile; nothing is copied but keys.
Result<Snapshot> take_snapshot(const Store& store);

// Calls `sink` with pieces of the file's bytes; its first error ends it.
Result<void> encode_snapshot(const Snapshot& snapshot,
                             const std::function<Result<void>(std::string_view)>& sink);
// The whole file is checked before any of it is believed; kDataLoss says what is wrong.
Result<Snapshot> decode_snapshot(std::string_view bytes);

// Complete or not there: a new name, synced, and then renamed. Mode 0600. An existing file is
// kAlreadyExists.
Result<void> write_snapshot_file(const std::string& path, std::string_view bytes);
Result<std::string> read_snapshot_file(const std::string& path);

// Makes an embedded store at `path`, which must not exist yet (kAlreadyExists), from a snapshot.
// Revisions of objects stay; the store's own goes on `skip` higher, and what is before is compacted,
// so that no revision handed out after the snapshot was taken is used twice, and whoever holds one
// has to begin anew.
Result<void> make_embedded_store(const std::string& path, const Snapshot& snapshot, Revision skip);

inline constexpr Revision kDefaultSkip = 1'000'000;
inline constexpr std::size_t kMaxSnapshotBytes = std::size_t{8} << 30;

}  // namespace sluice::store
