// Objects as they lie in the store, decoded once and encoded once.
//
// Every change has its own revision, so the revision alone identifies a decoded object: lists, gets and all watches
// that show it share one StoredObject and its encodings.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "api/codec/scheme.h"
#include "control/apiserver/registry/rest/status_error.h"
#include "control/store/store.h"

namespace sluice::registry {

using Message = google::protobuf::Message;

// Immutable and thread-safe; encodings are made on first use.
class StoredObject {
public:
    StoredObject(const codec::KindInfo& kind, std::unique_ptr<Message> message,
                 store::Revision revision);
    ~StoredObject();
    StoredObject(const StoredObject&) = delete;
    StoredObject& operator=(const StoredObject&) = delete;

    [[nodiscard]] const codec::KindInfo& kind() const { return kind_; }
    [[nodiscard]] const Message& message() const { return *message_; }
    [[nodiscard]] const codec::metav1::ObjectMeta& meta() const;
    // The change that made it so; 0 for an object that was not stored (dry run).
    [[nodiscard]] store::Revision revision() const { return revision_; }
    // JSON as items of a list are written: without kind and apiVersion, but for objects of custom kinds.
    [[nodiscard]] const std::string& json() const;
    // The message's own protobuf encoding, without the envelope.
    [[nodiscard]] const std::string& raw() const;
    // The same object in another version of its kind (conversion/); *this for its own. Made on first use and kept as
    // long as this object.
    [[nodiscard]] const StoredObject& as(const codec::KindInfo& served) const;

private:
    const codec::KindInfo& kind_;
    const std::unique_ptr<Message> message_;
    const store::Revision revision_;
    mutable std::once_flag json_once_;
    mutable std::once_flag raw_once_;
    mutable std::string json_;
    mutable std::string raw_;
    // The next of the versions made so far, owned; the list only grows.
    mutable std::atomic<const StoredObject*> other_version_{nullptr};
};

using ObjectPtr = std::shared_ptr<const StoredObject>;

// Reads a store's value, in whatever version it was written; sets metadata.resourceVersion to `revision`.
Answer<ObjectPtr> decode_stored(const codec::KindInfo& kind, std::string_view value,
                                store::Revision revision);
// The bytes to store: the Kubernetes protobuf envelope, or JSON for custom kinds, without a resourceVersion.
std::string encode_stored(const codec::KindInfo& kind, const Message& object);

// Thread-safe; bounded by the size of the values it holds, oldest insertions go first.
class ObjectCache {
public:
    // Decoded objects weigh about six times their stored bytes with both encodings made.
    static constexpr std::size_t kMaxValueBytes = 48U << 20U;

    // The object that the change `revision` made (or, for a deletion, removed).
    Answer<ObjectPtr> get(const codec::KindInfo& kind, store::Revision revision,
                          std::string_view value);
    // Drops all objects of a kind that is about to be freed.
    void forget(const codec::KindInfo& kind);

private:
    static constexpr std::size_t kShards = 16;
    // The versions of a custom kind read one change each in its own way. In etcd one revision may have changed
    // several objects (etcdctl del --prefix), which the value tells apart.
    struct Key {
        store::Revision revision = 0;
        const codec::KindInfo* kind = nullptr;
        std::size_t digest = 0;
        bool operator==(const Key&) const = default;
    };
    struct Hash {
        std::size_t operator()(const Key& key) const {
            return std::hash<store::Revision>()(key.revision) ^
                   std::hash<const codec::KindInfo*>()(key.kind);
        }
    };
    struct Shard {
        std::mutex mutex;
        std::unordered_map<Key, std::pair<ObjectPtr, std::size_t>, Hash> objects;
        std::deque<Key> order;
        std::size_t bytes = 0;
    };
    std::array<Shard, kShards> shards_;
};

}  // namespace sluice::registry
