// A shared cache of one kind of object, kept in step with the server by a reflector, with handlers that hear of every
// change: what controllers, the scheduler and the kubelet build on.
//
// Thread-safe. Objects are immutable once they are in the cache: readers share them.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "api/client/reflector.h"

namespace sluice::client {

using SharedObject = std::shared_ptr<const google::protobuf::Message>;

// Tells of a change: before is null for a new object, after is null for one that is gone. Called on the informer's
// thread, one call at a time, after the cache has changed; must not block (put a key into a WorkQueue).
// The objects that exist when a handler is added are told first, on the caller's thread.
using Handler = std::function<void(const SharedObject& before, const SharedObject& after)>;
// The names under which an index keeps an object.
using Indexer = std::function<std::vector<std::string>(const google::protobuf::Message& object)>;

// "namespace/name", or "name" without a namespace.
[[nodiscard]] std::string object_key(const google::protobuf::Message& object);
// Both parts of a key.
[[nodiscard]] std::pair<std::string, std::string> split_key(const std::string& key);

class Informer {
public:
    // client outlives it. Nothing runs before start().
    Informer(Client& client, const codec::KindInfo& kind, Selection selection = {});
    ~Informer();
    Informer(const Informer&) = delete;
    Informer& operator=(const Informer&) = delete;

    // Indexes are added before start().
    void add_index(std::string name, Indexer indexer);
    void add_handler(Handler handler);
    void start();
    // Ends the thread; the cache stays readable.
    void stop();

    // True once all objects that existed at the start are in the cache, or the server does not serve the kind.
    [[nodiscard]] bool synced() const;
    // False when stopped first.
    bool wait_synced(const std::stop_token& stop) const;

    // Null when there is none.
    [[nodiscard]] SharedObject get(std::string_view key) const;
    [[nodiscard]] std::vector<SharedObject> list() const;
    // The objects that the index keeps under the value. REQUIRES: the index was added.
    [[nodiscard]] std::vector<SharedObject> by_index(const std::string& index,
                                                     const std::string& value) const;
    [[nodiscard]] std::size_t size() const;
    [[nodiscard]] const codec::KindInfo& kind() const { return kind_; }

    // Applies a batch as the reflector would. For tests, which have no server.
    void apply(const Batch& batch);

private:
    struct Index {
        Indexer indexer;
        std::unordered_map<std::string, std::unordered_set<std::string>> keys;  // by value
    };
    void index_locked(const std::string& key, const SharedObject& before,
                      const SharedObject& after);

    Client& client_;
    const codec::KindInfo& kind_;
    const Selection selection_;
    mutable std::shared_mutex mutex_;  // guards objects_, indexes_
    std::unordered_map<std::string, SharedObject> objects_;
    std::unordered_map<std::string, Index> indexes_;
    std::mutex handlers_mutex_;  // held while handlers run, so that they hear one change at a time
    std::vector<Handler> handlers_;
    mutable std::mutex synced_mutex_;
    mutable std::condition_variable_any synced_changed_;
    bool synced_ = false;
    std::jthread thread_;
};

// The object as its own type. REQUIRES: the informer is of that kind.
template <class T>
std::shared_ptr<const T> as(const SharedObject& object) {
    return std::static_pointer_cast<const T>(object);
}

}  // namespace sluice::client
