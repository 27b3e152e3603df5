// Moving a whole state into etcd and out of it, while no API server uses it.
#pragma once

#include "control/store/etcd/etcd_store.h"
#include "control/store/snapshot/snapshot.h"

namespace sluice::store {

// What lies below the prefix, of one revision. kUnavailable when no endpoint answers.
Result<Snapshot> read_etcd(const EtcdOptions& options);

// Writes a snapshot below the prefix, which must be empty (kAlreadyExists). etcd counts its own
// revisions: it is first brought to the snapshot's, by writes to a key that is then removed, so that
// no object's version goes back; all before is compacted. Returns etcd's revision. Cost: a write for
// each revision that etcd is behind.
Result<Revision> write_etcd(const EtcdOptions& options, const Snapshot& snapshot);

}  // namespace sluice::store
