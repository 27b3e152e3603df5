#include "control/apiserver/registry/rest/stored_object.h"

#include <fmt/format.h>
#include <google/protobuf/message.h>
#include <xxhash.h>

#include "api/codec/json.h"
#include "api/codec/json_transcode.h"
#include "api/codec/protobuf.h"
#include "api/codec/protobuf_normal.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/conversion/conversion.h"
#include "control/apiserver/registry/custom/custom_kind.h"
#include "control/apiserver/registry/custom/versions/converter.h"

namespace sluice::registry {

StoredObject::StoredObject(const codec::KindInfo& kind, std::unique_ptr<Message> message,
                           store::Revision revision, std::shared_ptr<const std::string> value)
    : kind_(kind), message_(std::move(message)), revision_(revision), value_(std::move(value)) {}

StoredObject::~StoredObject() {
    delete other_version_.load(std::memory_order_acquire);
    delete frames_.load(std::memory_order_acquire);
}

const std::string& StoredObject::frame(std::size_t number,
                                       const std::function<std::string()>& make) const {
    Frames* frames = frames_.load(std::memory_order_acquire);
    if (frames == nullptr) {
        auto made = std::make_unique<Frames>();
        // Another thread may have been first: then `frames` is what it made.
        if (frames_.compare_exchange_strong(frames, made.get(), std::memory_order_acq_rel)) {
            frames = made.release();
        }
    }
    return frames->at(number).get(make);
}

const codec::metav1::ObjectMeta& StoredObject::meta() const {
    return codec::object_meta(*message_);
}

const std::string& StoredObject::json() const {
    return json_.get([this] {
        std::string out;
        if (kind_.custom != nullptr) return codec::encode_json(*message_, &kind_.gvk);
        // Quicker than by way of the message.
        const auto raw = value_ == nullptr ? std::nullopt : codec::enveloped(*value_, kind_.gvk);
        if (raw && codec::transcode_json(*raw, *message_->GetDescriptor(), nullptr, meta().resourceversion(), &out)) {
            return out;
        }
        return codec::encode_json(*message_, nullptr);
    });
}

const std::string& StoredObject::raw() const {
    return raw_.get([this] { return message_->SerializeAsString(); });
}

const StoredObject& StoredObject::as(const codec::KindInfo& served) const {
    const StoredObject* last = this;
    while (&last->kind_ != &served) {
        const StoredObject* next = last->other_version_.load(std::memory_order_acquire);
        if (next == nullptr) {
            auto made = std::make_unique<StoredObject>(served, to_served(served, *message_),
                                                       revision_);
            // Another thread may have been first, with this version or another: then next is its object.
            if (last->other_version_.compare_exchange_strong(next, made.get(),
                                                             std::memory_order_acq_rel)) {
                next = made.release();
            }
        }
        last = next;
    }
    return *last;
}

namespace {

// The version in the envelope: an older server may have stored another one than this does.
const codec::KindInfo& written_kind(const codec::KindInfo& kind,
                                    const codec::GroupVersionKind& written) {
    if (written == kind.gvk) return kind;
    const codec::KindInfo* other = codec::find_kind(written);
    return other != nullptr && &stored_kind(*other) == &kind ? *other : kind;
}

ObjectPtr stored_object(const codec::KindInfo& kind, std::unique_ptr<Message> message,
                        store::Revision revision) {
    codec::object_meta(*message).set_resourceversion(std::to_string(revision));
    return std::make_shared<const StoredObject>(kind, std::move(message), revision);
}

}  // namespace

Answer<ObjectPtr> decode_stored(const codec::KindInfo& kind, std::string_view value,
                                store::Revision revision) {
    const auto unreadable = [&kind, revision](std::string_view why) {
        return refuse(internal_error(fmt::format("stored {} at revision {} cannot be read: {}",
                                                 kind.gvk.kind, revision, why)));
    };
    if (const Converter* converter = converter_of(kind)) {
        auto messages = converter->read(kind, {value});
        if (!messages) return refuse(std::move(messages).error());
        return stored_object(kind, std::move(messages->front()), revision);
    }
    if (kind.custom != nullptr) {
        auto message = kind.new_object();
        if (const auto ok = codec::decode_json(value, message.get()); !ok) {
            return unreadable(ok.error().message);
        }
        if (const auto ok = kind.custom->complete(message.get()); !ok) {
            return unreadable(ok.error().message);
        }
        return stored_object(kind, std::move(message), revision);
    }
    auto envelope = codec::open_envelope(value);
    if (!envelope) return refuse(from_error(envelope.error()));
    const codec::KindInfo& written = written_kind(kind, envelope->gvk);
    auto message = written.new_object();
    const auto decoded = codec::decode_protobuf_raw(envelope->raw, message.get());
    if (!decoded) return unreadable(decoded.error().message);
    auto converted = to_stored(written, std::move(message));
    if (!converted) return unreadable(converted.error().message);
    return stored_object(kind, std::move(*converted), revision);
}

namespace {

std::string store_form(const codec::KindInfo& kind, const Message& object) {
    if (kind.custom == nullptr) return codec::encode_protobuf(object, kind.gvk);
    return codec::encode_json(object, &kind.custom->stored_gvk()) + "\n";
}

std::unique_ptr<Message> without_version(const Message& object) {
    std::unique_ptr<Message> copy(object.New());
    copy->CopyFrom(object);
    codec::object_meta(*copy).clear_resourceversion();
    return copy;
}

}  // namespace

std::string encode_stored(const codec::KindInfo& kind, const Message& object) {
    if (!codec::object_meta(object).has_resourceversion()) {
        return store_form(kind, object);
    }
    return store_form(kind, *without_version(object));
}

Answer<std::string> value_to_store(const codec::KindInfo& kind, const Message& object) {
    const Converter* converter = converter_of(kind);
    if (converter == nullptr) return encode_stored(kind, object);
    return converter->write(kind, *without_version(object));
}

namespace {

// What a decoded object with its encodings weighs, from the size of its value: strings and fields have lives of
// their own in memory. Measured for ConfigMaps and Pods; to weigh each message would cost more than decoding it.
std::size_t weight_of(std::size_t value_bytes) {
    constexpr std::size_t kPerObject = 512;
    constexpr std::size_t kPerByte = 5;
    return kPerObject + kPerByte * value_bytes;
}

std::uint32_t fingerprint(std::uint64_t digest) {
    return static_cast<std::uint32_t>(digest >> 32U) | 1U;  // never 0
}

}  // namespace

std::uint64_t ObjectCache::digest_of(std::string_view value) { return XXH3_64bits(value.data(), value.size()); }

std::uint32_t& ObjectCache::ghost_of(Shard& shard, const Key& key) {
    return shard.ghosts[key.digest % kGhosts];
}

ObjectPtr ObjectCache::find(const Key& key) {
    Shard& shard = shards_[key.revision % kShards];
    {
        const std::lock_guard lock(shard.mutex);
        const auto found = shard.objects.find(key);
        if (found != shard.objects.end()) {
            Entry& entry = found->second;
            if (entry.uses < kMaxUses) ++entry.uses;
            return entry.object;
        }
    }
    misses_.fetch_add(1, std::memory_order_relaxed);
    return nullptr;
}

Answer<std::vector<ObjectPtr>> ObjectCache::get_converted(const codec::KindInfo& kind,
                                                          const std::vector<Stored>& items) {
    std::vector<ObjectPtr> out;
    const Converter* converter = converter_of(kind);
    if (converter == nullptr) return out;
    std::vector<std::size_t> missing;
    std::vector<std::string_view> values;
    for (const Stored& item : items) {
        out.emplace_back();
        if (item.value.empty()) continue;
        out.back() = find({item.revision, &kind, digest_of(item.value)});
        if (out.back() != nullptr) continue;
        missing.push_back(out.size() - 1);
        values.push_back(item.value);
    }
    if (missing.empty()) return out;
    auto messages = converter->read(kind, values);
    if (!messages) return refuse(std::move(messages).error());
    for (std::size_t i = 0; i < missing.size(); ++i) {
        const Stored& item = items[missing[i]];
        out[missing[i]] = insert({item.revision, &kind, digest_of(item.value)},
                                 stored_object(kind, std::move((*messages)[i]), item.revision), item.value.size());
    }
    return out;
}

Answer<ObjectPtr> ObjectCache::get(const codec::KindInfo& kind, store::Revision revision,
                                   std::string_view value) {
    const Key key{revision, &kind, digest_of(value)};
    if (auto found = find(key)) return found;
    auto object = decode_stored(kind, value, revision);
    if (!object) return object;
    return insert(key, std::move(*object), value.size());
}

Answer<ObjectPtr> ObjectCache::put(const codec::KindInfo& kind, store::Revision revision,
                                   std::shared_ptr<const std::string> value, std::unique_ptr<Message> message) {
    // As it would be read back, which it mostly is already.
    const auto raw = codec::enveloped(*value, kind.gvk);
    if (!raw || !codec::is_normal(*raw, *message->GetDescriptor())) {
        if (const auto normal = codec::normalise(message.get()); !normal) return refuse(from_error(normal.error()));
    }
    codec::object_meta(*message).set_resourceversion(std::to_string(revision));
    const Key key{revision, &kind, digest_of(*value)};
    const std::size_t bytes = value->size();
    return insert(key, std::make_shared<const StoredObject>(kind, std::move(message), revision, std::move(value)),
                  bytes);
}

ObjectPtr ObjectCache::insert(const Key& key, ObjectPtr object, std::size_t value_bytes) {
    Shard& shard = shards_[key.revision % kShards];
    std::vector<ObjectPtr> gone;  // before the lock, so that they are freed after it is released
    const std::lock_guard lock(shard.mutex);
    const auto bytes = static_cast<std::uint32_t>(weight_of(value_bytes));
    const auto [at, inserted] = shard.objects.try_emplace(key, Entry{std::move(object), bytes, 0});
    ObjectPtr out = at->second.object;
    if (!inserted) return out;  // another thread was first; share its encodings
    std::uint32_t& ghost = ghost_of(shard, key);
    if (ghost == fingerprint(key.digest)) {
        ghost = 0;
        shard.kept.push_back(key);
        shard.kept_bytes += bytes;
    } else {
        shard.fresh.push_back(key);
        shard.fresh_bytes += bytes;
    }
    make_room(shard, gone);
    return out;
}

// Each step drops an object, keeps a fresh one for good, or takes a use off a kept one, so that it ends.
void ObjectCache::make_room(Shard& shard, std::vector<ObjectPtr>& gone) const {
    while (shard.fresh_bytes + shard.kept_bytes > max_shard_bytes_ &&
           shard.fresh.size() + shard.kept.size() > 1) {
        const bool from_fresh = !shard.fresh.empty() &&
                                (shard.kept.empty() ||
                                 shard.fresh_bytes > max_shard_bytes_ / kNewPart);
        std::deque<Key>& queue = from_fresh ? shard.fresh : shard.kept;
        const Key key = queue.front();
        queue.pop_front();
        const auto found = shard.objects.find(key);
        Entry& entry = found->second;
        if (from_fresh) shard.fresh_bytes -= entry.bytes;
        if (entry.uses > 0) {
            entry.uses = from_fresh ? 0 : static_cast<std::uint8_t>(entry.uses - 1);
            if (from_fresh) shard.kept_bytes += entry.bytes;
            shard.kept.push_back(key);
            continue;
        }
        if (from_fresh) {
            ghost_of(shard, key) = fingerprint(key.digest);
        } else {
            shard.kept_bytes -= entry.bytes;
        }
        gone.push_back(std::move(entry.object));
        shard.objects.erase(found);
    }
}

void ObjectCache::forget(const codec::KindInfo& kind) {
    for (Shard& shard : shards_) {
        std::vector<ObjectPtr> gone;  // before the lock, so that they are freed after it is released
        const std::lock_guard lock(shard.mutex);
        const auto drop_from = [&](std::deque<Key>& queue, std::size_t& bytes) {
            std::erase_if(queue, [&](const Key& key) {
                if (key.kind != &kind) return false;
                const auto found = shard.objects.find(key);
                bytes -= found->second.bytes;
                gone.push_back(std::move(found->second.object));
                shard.objects.erase(found);
                return true;
            });
        };
        drop_from(shard.fresh, shard.fresh_bytes);
        drop_from(shard.kept, shard.kept_bytes);
    }
}

std::size_t ObjectCache::bytes() const {
    std::size_t out = 0;
    for (const Shard& shard : shards_) {
        const std::lock_guard lock(shard.mutex);
        out += shard.fresh_bytes + shard.kept_bytes;
    }
    return out;
}

}  // namespace sluice::registry
