// The subcommands about the store: snapshot save, snapshot restore, store migrate. Each returns a
// sentence for the person who asked.
#pragma once

#include <string>

#include "api/base/result.h"
#include "control/main/storage.h"

namespace sluice::control {

// Of the running server's store or, when none runs, of the one in the data directory. Checked before the
// file counts. `flags` with etcd are refused: etcd has snapshots of its own.
Result<std::string> save_snapshot(const std::string& data_dir, const StorageFlags& flags,
                                  const std::string& file);

// Into a data directory without a store.
Result<std::string> restore_snapshot(const std::string& data_dir, const StorageFlags& flags,
                                     const std::string& file, std::uint64_t skip);

// from, to: "embedded" (the data directory's) and "etcd" (--etcd-servers), in either order. Values go as
// they are stored. REQUIRES: no server uses either of them.
Result<std::string> migrate_store(const std::string& data_dir, const StorageFlags& flags,
                                  const std::string& from, const std::string& to);

}  // namespace sluice::control
