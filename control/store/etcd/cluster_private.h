// The members of an etcd cluster as gRPC channels, the mapping of keys, and reading the whole state.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/external/etcd/rpc.grpc.pb.h"
#include "control/store/etcd/etcd_store.h"

namespace sluice::store {

namespace pb = ::etcdserverpb;
using SystemTime = std::chrono::system_clock::time_point;

// The end of the range of all keys with the prefix, in etcd's terms.
[[nodiscard]] std::string prefix_end(std::string prefix);

// The error of an answer. What etcd says goes on as it is, since clients know these sentences; a
// deadline that passed gets the sentence that etcd has for it.
[[nodiscard]] Error to_error(const grpc::Status& status);

// The kind of object that a key is of, as Kubernetes writes it in etcd's metrics: "pods",
// "widgets.example.com". prefix: what all keys begin with.
[[nodiscard]] std::string request_type(std::string_view key, std::string_view prefix);

class KeySpace {
public:
    KeySpace(std::string local, std::string remote)
        : local_(std::move(local)), remote_(std::move(remote)) {}
    // nullopt: not a key of this space.
    [[nodiscard]] std::optional<std::string> to_remote(std::string_view key) const;
    [[nodiscard]] std::optional<std::string> to_local(std::string_view key) const;
    [[nodiscard]] const std::string& remote() const { return remote_; }
    [[nodiscard]] const std::string& local() const { return local_; }

private:
    std::string local_;
    std::string remote_;
};

// One member. Two connections, so that a long answer to the watch does not hold up requests.
struct Member {
    std::string url;
    std::string address;  // HOST:PORT
    std::shared_ptr<grpc::ChannelCredentials> credentials;
    std::chrono::steady_clock::time_point connected;
    std::unique_ptr<pb::KV::Stub> kv;
    std::unique_ptr<pb::Watch::Stub> watch;
    std::unique_ptr<pb::Maintenance::Stub> maintenance;

    // Makes its connections, in place of those that there are.
    void connect();
};

// What is in etcd below the prefix at one revision.
struct Picture {
    std::vector<KeyValue> items;
    Revision revision = 0;
};

// Threads: from one at a time.
class Cluster {
public:
    static Result<std::unique_ptr<Cluster>> connect(const EtcdOptions& options);

    [[nodiscard]] Member& current() { return members_[current_]; }
    [[nodiscard]] std::size_t size() const { return members_.size(); }
    // To the next member, as the current one does not answer. Its connections are made anew, unless they are young:
    // whatever became of them, those begin at the beginning.
    void rotate();

    // The revision etcd is at, by a linearizable read of the current member. Blocks.
    Result<Revision> revision(SystemTime deadline);
    // The state at a revision, 0 for the newest, from the current member, in pages of one revision.
    // kOutOfRange when it is compacted. Blocks; `deadline` is of the whole.
    Result<Picture> load(const KeySpace& space, Revision at, SystemTime deadline);

private:
    std::vector<Member> members_;
    std::size_t current_ = 0;
};

}  // namespace sluice::store
