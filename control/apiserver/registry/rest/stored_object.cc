#include "control/apiserver/registry/rest/stored_object.h"

#include <fmt/format.h>
#include <google/protobuf/message.h>

#include "api/codec/json.h"
#include "api/codec/protobuf.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/conversion/conversion.h"

namespace sluice::registry {

StoredObject::StoredObject(const codec::KindInfo& kind, std::unique_ptr<Message> message,
                           store::Revision revision)
    : kind_(kind), message_(std::move(message)), revision_(revision) {}

StoredObject::~StoredObject() { delete other_version_.load(std::memory_order_acquire); }

const codec::metav1::ObjectMeta& StoredObject::meta() const {
    return codec::object_meta(*message_);
}

const std::string& StoredObject::json() const {
    std::call_once(json_once_, [this] {
        json_ = codec::encode_json(*message_, kind_.custom == nullptr ? nullptr : &kind_.gvk);
    });
    return json_;
}

const std::string& StoredObject::raw() const {
    std::call_once(raw_once_, [this] { raw_ = message_->SerializeAsString(); });
    return raw_;
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

}  // namespace

Answer<ObjectPtr> decode_stored(const codec::KindInfo& kind, std::string_view value,
                                store::Revision revision) {
    const auto unreadable = [&kind, revision](std::string_view why) {
        return refuse(internal_error(fmt::format("stored {} at revision {} cannot be read: {}",
                                                 kind.gvk.kind, revision, why)));
    };
    if (kind.custom != nullptr) {
        auto message = kind.new_object();
        if (const auto ok = codec::decode_json(value, message.get()); !ok) {
            return unreadable(ok.error().message);
        }
        if (const auto ok = kind.custom->complete(message.get()); !ok) {
            return unreadable(ok.error().message);
        }
        codec::object_meta(*message).set_resourceversion(std::to_string(revision));
        return std::make_shared<const StoredObject>(kind, std::move(message), revision);
    }
    auto envelope = codec::open_envelope(value);
    if (!envelope) return refuse(from_error(envelope.error()));
    const codec::KindInfo& written = written_kind(kind, envelope->gvk);
    auto message = written.new_object();
    const auto decoded = codec::decode_protobuf_raw(envelope->raw, message.get());
    if (!decoded) return unreadable(decoded.error().message);
    auto converted = to_stored(written, std::move(message));
    if (!converted) return unreadable(converted.error().message);
    codec::object_meta(**converted).set_resourceversion(std::to_string(revision));
    return std::make_shared<const StoredObject>(kind, std::move(*converted), revision);
}

namespace {

std::string store_form(const codec::KindInfo& kind, const Message& object) {
    if (kind.custom == nullptr) return codec::encode_protobuf(object, kind.gvk);
    return codec::encode_json(object, &kind.custom->stored_gvk()) + "\n";
}

}  // namespace

std::string encode_stored(const codec::KindInfo& kind, const Message& object) {
    if (!codec::object_meta(object).has_resourceversion()) {
        return store_form(kind, object);
    }
    std::unique_ptr<Message> copy(object.New());
    copy->CopyFrom(object);
    codec::object_meta(*copy).clear_resourceversion();
    return store_form(kind, *copy);
}

Answer<ObjectPtr> ObjectCache::get(const codec::KindInfo& kind, store::Revision revision,
                                   std::string_view value) {
    Shard& shard = shards_[revision % kShards];
    const Key key{revision, &kind, std::hash<std::string_view>()(value)};
    {
        const std::lock_guard lock(shard.mutex);
        const auto found = shard.objects.find(key);
        if (found != shard.objects.end()) return found->second.first;
    }
    auto object = decode_stored(kind, value, revision);
    if (!object) return object;
    const std::lock_guard lock(shard.mutex);
    const auto [at, inserted] = shard.objects.try_emplace(key, *object, value.size());
    if (!inserted) return at->second.first;  // another thread was first; share its encodings
    shard.order.push_back(key);
    shard.bytes += value.size();
    while (shard.bytes > kMaxValueBytes / kShards && shard.order.size() > 1) {
        const auto oldest = shard.objects.find(shard.order.front());
        shard.order.pop_front();
        shard.bytes -= oldest->second.second;
        shard.objects.erase(oldest);
    }
    return object;
}

void ObjectCache::forget(const codec::KindInfo& kind) {
    for (Shard& shard : shards_) {
        std::vector<ObjectPtr> gone;  // before the lock, so that they are freed after it is released
        const std::lock_guard lock(shard.mutex);
        std::erase_if(shard.order, [&](const Key& key) {
            if (key.kind != &kind) return false;
            const auto found = shard.objects.find(key);
            shard.bytes -= found->second.second;
            gone.push_back(std::move(found->second.first));
            shard.objects.erase(found);
            return true;
        });
    }
}

}  // namespace sluice::registry
