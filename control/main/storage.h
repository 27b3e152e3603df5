// Where the objects are kept: the flags of the store, and opening it as they say.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "api/base/result.h"
#include "control/store/etcd/etcd_store.h"
#include "control/store/store.h"

namespace CLI {
class App;
}

namespace sluice::control {

// Values as typed; the flags have kube-apiserver's names.
struct StorageFlags {
    std::vector<std::string> etcd_servers;  // empty: the embedded store in the data directory
    std::string etcd_prefix = "/registry";
    std::string etcd_cafile;
    std::string etcd_certfile;
    std::string etcd_keyfile;
    std::string etcd_compaction_interval = "5m";
    std::string encryption_provider_config;
    std::uint32_t history_mib = store::kHistoryBytes >> 20;
};

void add_storage_flags(CLI::App* app, StorageFlags* flags);

// Errors name the flag. Nothing is opened.
Result<void> check_storage_flags(const CLI::App& app, const StorageFlags& flags);

Result<store::EtcdOptions> etcd_options(const StorageFlags& flags);

struct Storage {
    std::unique_ptr<store::Store> store;
    store::Store* stored = nullptr;  // the same with values as they are kept, encrypted ones included
};
// The embedded store of the data directory, or the one over etcd; behind encryption if asked for.
Result<Storage> open_storage(const std::string& data_dir, const StorageFlags& flags);

}  // namespace sluice::control
