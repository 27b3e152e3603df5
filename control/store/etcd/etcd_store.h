// The store over etcd v3: the same promises as the embedded one, for several API servers on one
// cluster of etcd members. Keys and values lie in etcd as they are (below `remote_prefix`), so that
// etcdctl, and kube-apiserver itself, read them.
//
// The picture in memory is fed by one watch of all of etcd: revisions that changed other keys are
// seen too, and that is how a fence knows that nothing is missing. It asks for no progress
// notifications, which in etcd 3.4 may come before the events that they speak of.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "control/store/store.h"

namespace sluice::store {

struct EtcdOptions {
    std::vector<std::string> endpoints;  // "http://HOST:PORT" or "https://HOST:PORT", one at least
    // PEM files, for https. No CA: those of the system. Certificate and key come together or not
    // at all.
    std::string ca_file;
    std::string cert_file;
    std::string key_file;
    // A key "LOCALx" of this store is "REMOTEx" in etcd. Keys without LOCAL are refused.
    std::string local_prefix = "/registry/";
    std::string remote_prefix = "/registry/";
    // How often what is older than the time between two is compacted, in turn with the other API
    // servers as kube-apiserver does it (the key compact_rev_key); 0: never.
    std::chrono::milliseconds compaction_interval{300'000};
    // Changes kept in memory for watches and reads of older revisions; at least 1.
    std::size_t history_events = 100'000;
    std::uint64_t history_bytes = kHistoryBytes;  // as SqliteOptions'
    // After this a write, a fence or a compaction is answered with kUnavailable.
    std::chrono::milliseconds request_timeout{10'000};
    // How long opening waits for a member that answers.
    std::chrono::milliseconds open_timeout{30'000};
};

// Reads the whole state and returns once the store is as new as etcd was at the call. Wrong options
// and unreadable files are kInvalidArgument, with the name of the option; kUnavailable when no
// endpoint answered in time, with what each said.
Result<std::unique_ptr<Store>> open_etcd(const EtcdOptions& options);

inline constexpr std::size_t kMaxEtcdEndpoints = 32;

}  // namespace sluice::store
