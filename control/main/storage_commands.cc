#include "control/main/storage_commands.h"

#include <fmt/format.h>

#include <filesystem>

#include "control/main/snapshot_socket.h"
#include "control/pki/files.h"
#include "control/store/etcd/transfer.h"
#include "control/store/snapshot/snapshot.h"

namespace sluice::control {

namespace {

std::string store_path(const std::string& data_dir) { return data_dir + "/store.db"; }

Result<void> refuse_etcd(const StorageFlags& flags) {
    if (flags.etcd_servers.empty()) return {};
    return make_error(Code::kInvalidArgument,
                      "snapshots are of the embedded store; of etcd take them with etcdctl snapshot");
}

Result<store::Snapshot> read_embedded(const std::string& data_dir) {
    std::error_code error;
    if (!std::filesystem::exists(store_path(data_dir), error)) {
        return make_error(Code::kNotFound, "{} does not exist", store_path(data_dir));
    }
    store::SqliteOptions options;
    options.path = store_path(data_dir);
    SLUICE_TRY_ASSIGN(const auto opened, store::open_sqlite(options));
    return store::take_snapshot(*opened);
}

Result<std::string> offline_bytes(const std::string& data_dir) {
    SLUICE_TRY_ASSIGN(const store::Snapshot snapshot, read_embedded(data_dir));
    std::string bytes;
    SLUICE_TRY(store::encode_snapshot(snapshot, [&bytes](std::string_view piece) {
        bytes += piece;
        return Result<void>();
    }));
    return bytes;
}

}  // namespace

Result<std::string> save_snapshot(const std::string& data_dir, const StorageFlags& flags,
                                  const std::string& file) {
    SLUICE_TRY(refuse_etcd(flags));
    auto bytes = fetch_snapshot(data_dir);
    if (!bytes && bytes.error().code == Code::kUnavailable) bytes = offline_bytes(data_dir);
    if (!bytes) return bytes.error();
    SLUICE_TRY_ASSIGN(const store::Snapshot snapshot, store::decode_snapshot(*bytes));
    SLUICE_TRY(store::write_snapshot_file(file, *bytes));
    return fmt::format("{}: {} objects at revision {}\n", file, snapshot.items.size(),
                       snapshot.revision);
}

Result<std::string> restore_snapshot(const std::string& data_dir, const StorageFlags& flags,
                                     const std::string& file, std::uint64_t skip) {
    SLUICE_TRY(refuse_etcd(flags));
    SLUICE_TRY_ASSIGN(const std::string bytes, store::read_snapshot_file(file));
    auto snapshot = store::decode_snapshot(bytes);
    if (!snapshot) return snapshot.error().with_context(file);
    SLUICE_TRY(pki::make_private_directory(data_dir));
    SLUICE_TRY(store::make_embedded_store(store_path(data_dir), *snapshot, skip));
    return fmt::format("{}: {} objects of revision {}, the next one is {}\n", store_path(data_dir),
                       snapshot->items.size(), snapshot->revision, snapshot->revision + skip + 1);
}

Result<std::string> migrate_store(const std::string& data_dir, const StorageFlags& flags,
                                  const std::string& from, const std::string& to) {
    if (flags.etcd_servers.empty()) {
        return make_error(Code::kInvalidArgument, "store migrate needs --etcd-servers");
    }
    SLUICE_TRY_ASSIGN(const store::EtcdOptions options, etcd_options(flags));
    if (from == "embedded" && to == "etcd") {
        SLUICE_TRY_ASSIGN(const store::Snapshot snapshot, read_embedded(data_dir));
        SLUICE_TRY_ASSIGN(const store::Revision newest, store::write_etcd(options, snapshot));
        return fmt::format("{} objects are in etcd, at revision {}\n", snapshot.items.size(), newest);
    }
    if (from == "etcd" && to == "embedded") {
        SLUICE_TRY_ASSIGN(const store::Snapshot snapshot, store::read_etcd(options));
        SLUICE_TRY(pki::make_private_directory(data_dir));
        SLUICE_TRY(store::make_embedded_store(store_path(data_dir), snapshot, 0));
        return fmt::format("{} objects are in {}, at revision {}\n", snapshot.items.size(),
                           store_path(data_dir), snapshot.revision);
    }
    return make_error(Code::kInvalidArgument,
                      "store migrate goes --from embedded --to etcd or --from etcd --to embedded");
}

}  // namespace sluice::control
