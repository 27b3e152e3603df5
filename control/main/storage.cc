#include "control/main/storage.h"

#include <CLI/CLI.hpp>

#include "api/codec/time.h"
#include "control/store/encryption/encrypted_store.h"

namespace sluice::control {

namespace {

constexpr std::int64_t kMillisecond = 1'000'000;
constexpr std::int64_t kMaxIntervalMs = 24LL * 3'600'000;
constexpr std::uint32_t kMaxHistoryMib = 65'536;

// "5m"; 0 is never.
Result<std::chrono::milliseconds> compaction_interval(const std::string& text) {
    const auto duration = codec::parse_duration_ns(text);
    if (!duration || *duration < 0 || *duration / kMillisecond > kMaxIntervalMs) {
        return make_error(Code::kInvalidArgument,
                          "--etcd-compaction-interval \"{}\": it must be between 0 and 24h, as 5m",
                          text);
    }
    return std::chrono::milliseconds(*duration / kMillisecond);
}

// The number of changes that are kept goes with the memory that they may take.
template <class Options>
void set_history(const StorageFlags& flags, Options* options) {
    const std::uint64_t bytes = std::uint64_t{flags.history_mib} << 20;
    options->history_events = options->history_events * bytes / store::kHistoryBytes;
    options->history_bytes = bytes;
}

}  // namespace

void add_storage_flags(CLI::App* app, StorageFlags* flags) {
    app->add_option("--etcd-servers", flags->etcd_servers,
                    "Keep the objects in etcd: http(s)://HOST:PORT of its members, separated by commas; "
                    "by default they are kept in the data directory")
        ->delimiter(',');
    app->add_option("--etcd-prefix", flags->etcd_prefix, "What all keys in etcd begin with")
        ->capture_default_str();
    app->add_option("--etcd-cafile", flags->etcd_cafile, "CA that etcd's certificates are checked with");
    app->add_option("--etcd-certfile", flags->etcd_certfile, "Client certificate for etcd");
    app->add_option("--etcd-keyfile", flags->etcd_keyfile, "Key of the client certificate for etcd");
    app->add_option("--etcd-compaction-interval", flags->etcd_compaction_interval,
                    "How often etcd's history is compacted; 0 for never")
        ->capture_default_str();
    app->add_option("--encryption-provider-config", flags->encryption_provider_config,
                    "EncryptionConfiguration: which resources are encrypted at rest, and how");
    app->add_option("--history-mib", flags->history_mib,
                    "Memory for what was changed and deleted: a list's next page and a watch from before it are told "
                    "410 and begin anew")
        ->check(CLI::Range(1U, kMaxHistoryMib))
        ->capture_default_str();
}

Result<void> check_storage_flags(const CLI::App& app, const StorageFlags& flags) {
    if (flags.etcd_servers.empty()) {
        for (const char* name : {"--etcd-prefix", "--etcd-cafile", "--etcd-certfile",
                                 "--etcd-keyfile", "--etcd-compaction-interval"}) {
            if (app.get_option(name)->count() > 0) {
                return make_error(Code::kInvalidArgument, "{} needs --etcd-servers", name);
            }
        }
    }
    SLUICE_TRY(compaction_interval(flags.etcd_compaction_interval));
    return {};
}

Result<store::EtcdOptions> etcd_options(const StorageFlags& flags) {
    store::EtcdOptions options;
    options.endpoints = flags.etcd_servers;
    options.ca_file = flags.etcd_cafile;
    options.cert_file = flags.etcd_certfile;
    options.key_file = flags.etcd_keyfile;
    SLUICE_TRY_ASSIGN(options.compaction_interval,
                      compaction_interval(flags.etcd_compaction_interval));
    // As kube-apiserver: one slash before, one behind.
    std::string prefix = flags.etcd_prefix;
    while (prefix.ends_with('/')) prefix.pop_back();
    if (!prefix.starts_with('/')) prefix.insert(0, "/");
    options.remote_prefix = prefix + "/";
    set_history(flags, &options);
    return options;
}

Result<Storage> open_storage(const std::string& data_dir, const StorageFlags& flags) {
    Storage storage;
    if (flags.etcd_servers.empty()) {
        store::SqliteOptions options;
        options.path = data_dir + "/store.db";
        set_history(flags, &options);
        SLUICE_TRY_ASSIGN(storage.store, store::open_sqlite(options));
    } else {
        SLUICE_TRY_ASSIGN(const store::EtcdOptions options, etcd_options(flags));
        auto etcd = store::open_etcd(options);
        if (!etcd) {
            return etcd.error().with_context("--etcd-servers");
        }
        storage.store = std::move(*etcd);
    }
    storage.stored = storage.store.get();
    if (!flags.encryption_provider_config.empty()) {
        auto encrypted =
            store::encrypt_store(std::move(storage.store), flags.encryption_provider_config);
        if (!encrypted) {
            return encrypted.error().with_context("--encryption-provider-config");
        }
        storage.store = std::move(*encrypted);
    }
    return storage;
}

}  // namespace sluice::control
