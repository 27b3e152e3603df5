#include "control/store/etcd/transfer.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <thread>

#include "api/base/log.h"
#include "control/store/etcd/cluster_private.h"

namespace sluice::store {

namespace {

constexpr const char* kScratchKey = "sluice_migration";
constexpr int kRaisers = 64;
// Of one transaction; etcd's own limits are 128 operations and 1.5 MiB.
constexpr int kMaxPuts = 100;
constexpr std::size_t kMaxPutBytes = std::size_t{1} << 20;
constexpr std::chrono::seconds kCallTimeout{30};
constexpr std::chrono::minutes kLoadTimeout{10};
constexpr Revision kLogEach = 100'000;

SystemTime in(std::chrono::seconds time) { return std::chrono::system_clock::now() + time; }

Result<Revision> transact(Member& member, const pb::TxnRequest& request) {
    grpc::ClientContext context;
    context.set_deadline(in(kCallTimeout));
    pb::TxnResponse response;
    const grpc::Status status = member.kv->Txn(&context, request, &response);
    if (!status.ok()) {
        return to_error(status).with_context(member.url);
    }
    return static_cast<Revision>(response.header().revision());
}

// The first member that answers.
Result<std::unique_ptr<Cluster>> reach(const EtcdOptions& options) {
    SLUICE_TRY_ASSIGN(std::unique_ptr<Cluster> cluster, Cluster::connect(options));
    std::optional<Error> last;
    for (std::size_t i = 0; i < cluster->size(); ++i) {
        auto answered = cluster->revision(in(kCallTimeout));
        if (answered) {
            return cluster;
        }
        last = answered.error();
        cluster->rotate();
    }
    return *last;
}

// Many at a time, since each waits for the disk.
Result<void> raise_revision(Member& member, Revision now, Revision wanted) {
    std::atomic<Revision> reached{now};
    std::mutex mutex;
    std::optional<Error> failure;
    std::vector<std::thread> raisers;
    pb::TxnRequest request;
    request.add_success()->mutable_request_put()->set_key(kScratchKey);
    for (int i = 0; i < kRaisers; ++i) {
        raisers.emplace_back([&] {
            while (reached.load() < wanted) {
                auto at = transact(member, request);
                if (!at) {
                    const std::lock_guard guard(mutex);
                    failure = at.error();
                    return;
                }
                Revision before = reached.load();
                while (before < *at && !reached.compare_exchange_weak(before, *at)) {
                }
                if (*at % kLogEach == 0) {
                    log::info("store", "etcd is raised to revision {}: {}", wanted, *at);
                }
            }
        });
    }
    for (std::thread& raiser : raisers) {
        raiser.join();
    }
    if (reached.load() < wanted) {
        return failure->with_context("raising etcd's revision");
    }
    return {};
}

Result<void> put_all(Member& member, const KeySpace& space, const std::vector<KeyValue>& items) {
    pb::TxnRequest request;
    std::size_t bytes = 0;
    for (const KeyValue& item : items) {
        const auto key = space.to_remote(item.key);
        if (!key) {
            return make_error(Code::kInvalidArgument, "the key {} does not begin with {}",
                              item.key, space.local());
        }
        if (request.success_size() > 0 && (request.success_size() == kMaxPuts ||
                                           bytes + item.value->size() > kMaxPutBytes)) {
            SLUICE_TRY(transact(member, request));
            request.Clear();
            bytes = 0;
        }
        auto* put = request.add_success()->mutable_request_put();
        put->set_key(*key);
        put->set_value(*item.value);
        bytes += item.value->size() + key->size();
    }
    if (request.success_size() > 0) {
        SLUICE_TRY(transact(member, request));
    }
    return {};
}

}  // namespace

Result<Snapshot> read_etcd(const EtcdOptions& options) {
    SLUICE_TRY_ASSIGN(std::unique_ptr<Cluster> cluster, reach(options));
    const KeySpace space(options.local_prefix, options.remote_prefix);
    SLUICE_TRY_ASSIGN(Picture picture, cluster->load(space, 0, in(kLoadTimeout)));
    return Snapshot{std::move(picture.items), picture.revision};
}

Result<Revision> write_etcd(const EtcdOptions& options, const Snapshot& snapshot) {
    SLUICE_TRY_ASSIGN(std::unique_ptr<Cluster> cluster, reach(options));
    const KeySpace space(options.local_prefix, options.remote_prefix);
    Member& member = cluster->current();
    SLUICE_TRY_ASSIGN(const Picture there, cluster->load(space, 0, in(kLoadTimeout)));
    if (!there.items.empty()) {
        return make_error(Code::kAlreadyExists,
                          "etcd has {} keys below {} already, such as {}: they are not overwritten",
                          there.items.size(), space.remote(), there.items.front().key);
    }
    SLUICE_TRY(raise_revision(member, there.revision, snapshot.revision));
    SLUICE_TRY(put_all(member, space, snapshot.items));
    pb::TxnRequest clear;
    clear.add_success()->mutable_request_delete_range()->set_key(kScratchKey);
    SLUICE_TRY_ASSIGN(const Revision newest, transact(member, clear));
    grpc::ClientContext context;
    context.set_deadline(in(kCallTimeout));
    pb::CompactionRequest request;
    request.set_revision(static_cast<std::int64_t>(newest));
    pb::CompactionResponse response;
    const grpc::Status status = member.kv->Compact(&context, request, &response);
    if (!status.ok() && status.error_code() != grpc::StatusCode::OUT_OF_RANGE) {
        return to_error(status).with_context("compacting etcd");
    }
    return newest;
}

}  // namespace sluice::store
