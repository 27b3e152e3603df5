// Objects as they lie in the store, decoded once and encoded once.
//
// Every change has its own revision, so the revision alone identifies a decoded object: lists, gets and all watches
// that show it share one StoredObject and its encodings.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "api/codec/scheme.h"
#include "control/apiserver/registry/rest/made_once.h"
#include "control/apiserver/registry/rest/status_error.h"
#include "control/store/store.h"

namespace sluice::registry {

using Message = google::protobuf::Message;

// Immutable and thread-safe; encodings are made on first use.
class StoredObject {
public:
    // value: the bytes that the message was stored as, of which its JSON can be made; null: they are not at hand.
    StoredObject(const codec::KindInfo& kind, std::unique_ptr<Message> message,
                 store::Revision revision, std::shared_ptr<const std::string> value = nullptr);
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
    // What `make` gives the first time, for each of kFrames numbers: frames of watches, which all watches share that
    // show the object in the same way.
    static constexpr std::size_t kFrames = 8;
    [[nodiscard]] const std::string& frame(std::size_t number,
                                           const std::function<std::string()>& make) const;
    // The same object in another version of its kind (conversion/); *this for its own. Made on first use and kept as
    // long as this object.
    [[nodiscard]] const StoredObject& as(const codec::KindInfo& served) const;

private:
    const codec::KindInfo& kind_;
    const std::unique_ptr<Message> message_;
    const store::Revision revision_;
    const std::shared_ptr<const std::string> value_;
    MadeOnce json_;
    MadeOnce raw_;
    using Frames = std::array<MadeOnce, kFrames>;
    mutable std::atomic<Frames*> frames_{nullptr};  // owned; most objects are never seen by a watch
    // The next of the versions made so far, owned; the list only grows.
    mutable std::atomic<const StoredObject*> other_version_{nullptr};
};

using ObjectPtr = std::shared_ptr<const StoredObject>;

// Reads a store's value, in whatever version it was written; sets metadata.resourceVersion to `revision`.
Answer<ObjectPtr> decode_stored(const codec::KindInfo& kind, std::string_view value,
                                store::Revision revision);
// The bytes to store: the Kubernetes protobuf envelope, or JSON for custom kinds, without a resourceVersion.
std::string encode_stored(const codec::KindInfo& kind, const Message& object);
// The same, converted where a webhook does that, for which it waits.
Answer<std::string> value_to_store(const codec::KindInfo& kind, const Message& object);

// Thread-safe; bounded by what the objects weigh. What is looked up again stays, so that neither a flood of writes nor
// a walk over many objects drives out those that lists and watches share (S3-FIFO, SOSP'23; the ghosts are a table of
// digests instead of a queue).
class ObjectCache {
public:
    explicit ObjectCache(std::size_t max_bytes = kMaxBytes) : max_shard_bytes_(max_bytes / kShards) {}

    static constexpr std::size_t kMaxBytes = 16U << 20U;

    // The object that the change `revision` made (or, for a deletion, removed).
    Answer<ObjectPtr> get(const codec::KindInfo& kind, store::Revision revision,
                          std::string_view value);
    // Those of several changes at once, where a webhook converts them: what is not kept is read anew in as few calls as
    // can be. None for other kinds, which are cheaper one by one. Waits.
    struct Stored {
        store::Revision revision = 0;
        std::string_view value;  // without bytes: null is given for it
    };
    Answer<std::vector<ObjectPtr>> get_converted(const codec::KindInfo& kind, const std::vector<Stored>& items);
    // The same as get(), when the message that the value was encoded from (encode_stored) is at hand.
    Answer<ObjectPtr> put(const codec::KindInfo& kind, store::Revision revision,
                          std::shared_ptr<const std::string> value, std::unique_ptr<Message> message);
    // Drops all objects of a kind that is about to be freed.
    void forget(const codec::KindInfo& kind);
    // What the objects held weigh, and how many were looked for without being there.
    [[nodiscard]] std::size_t bytes() const;
    [[nodiscard]] std::uint64_t misses() const { return misses_.load(std::memory_order_relaxed); }

private:
    static constexpr std::size_t kShards = 16;
    static constexpr std::size_t kGhosts = 4'096;  // of a shard
    static constexpr std::uint8_t kMaxUses = 3;
    // Objects that were not looked up again yet may have this part of a full cache.
    static constexpr std::size_t kNewPart = 10;
    // The versions of a custom kind read one change each in its own way. In etcd one revision may have changed
    // several objects (etcdctl del --prefix), which the value tells apart.
    struct Key {
        store::Revision revision = 0;
        const codec::KindInfo* kind = nullptr;
        std::uint64_t digest = 0;
        bool operator==(const Key&) const = default;
    };
    struct Hash {
        std::size_t operator()(const Key& key) const { return key.digest ^ key.revision; }
    };
    struct Entry {
        ObjectPtr object;
        std::uint32_t bytes = 0;
        std::uint8_t uses = 0;
    };
    struct Shard {
        mutable std::mutex mutex;
        std::unordered_map<Key, Entry, Hash> objects;
        std::deque<Key> fresh;  // not looked up again yet; oldest first
        std::deque<Key> kept;
        std::size_t fresh_bytes = 0;
        std::size_t kept_bytes = 0;
        // Digests of what left `fresh`: whoever comes back is kept at once. 0: none.
        std::array<std::uint32_t, kGhosts> ghosts{};
    };

    [[nodiscard]] static std::uint64_t digest_of(std::string_view value);
    [[nodiscard]] static std::uint32_t& ghost_of(Shard& shard, const Key& key);
    // Null when it is not kept.
    ObjectPtr find(const Key& key);
    ObjectPtr insert(const Key& key, ObjectPtr object, std::size_t value_bytes);
    void make_room(Shard& shard, std::vector<ObjectPtr>& gone) const;

    const std::size_t max_shard_bytes_;
    std::array<Shard, kShards> shards_;
    std::atomic<std::uint64_t> misses_{0};
};

}  // namespace sluice::registry
