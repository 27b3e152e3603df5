#include "control/apiserver/registry/rest/lifecycle.h"

#include <fmt/format.h>
#include <google/protobuf/message.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <vector>

#include "api/codec/protobuf.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/rest/admission.h"
#include "control/apiserver/registry/table/cells.h"

namespace sluice::registry {

namespace {

// REQUIRES: size of at most some bytes, as those of a UID.
void fill_random(std::uint8_t* out, std::size_t size) {
    // Up to 256 bytes getrandom neither fails nor returns short once the kernel's pool is ready. Several UIDs of
    // them are asked for at once.
    constexpr std::size_t kAtOnce = 256;
    thread_local std::array<std::uint8_t, kAtOnce> pool;
    thread_local std::size_t left = 0;
    if (left < size) {
        const ssize_t got = getrandom(pool.data(), pool.size(), 0);
        SLUICE_ASSERT(got == static_cast<ssize_t>(pool.size()));
        left = pool.size();
    }
    std::copy_n(pool.end() - static_cast<std::ptrdiff_t>(left), size, out);
    left -= size;
}

Answer<void> check_version(const Strategy& strategy, const StoredObject& existing,
                           metav1::ObjectMeta* meta) {
    auto given = parse_resource_version(meta->resourceversion());
    if (!given) return refuse(std::move(given).error());
    if (*given == 0) {
        if (!strategy.allow_unconditional_update()) {
            FieldErrors errors;
            errors.invalid("metadata.resourceVersion", BadValue::verbatim("0x0"),
                           "must be specified for an update");
            // Upstream names the resource here, not the Kind.
            codec::KindInfo by_resource = strategy.kind();
            by_resource.gvk.kind = by_resource.resource;
            return refuse(invalid(by_resource, meta->name(), errors));
        }
        meta->set_resourceversion(existing.meta().resourceversion());
        return {};
    }
    if (*given != existing.revision()) {
        return refuse(object_modified(strategy.kind(), existing.meta().name()));
    }
    return {};
}

// What the server owns is taken from the stored object when the client left it out.
void inherit_system_fields(const metav1::ObjectMeta& old, metav1::ObjectMeta* meta) {
    if (meta->uid().empty()) meta->set_uid(old.uid());
    if (!meta->has_creationtimestamp() || meta->creationtimestamp().seconds() == 0) {
        *meta->mutable_creationtimestamp() = old.creationtimestamp();
    }
    if (!meta->has_deletiontimestamp() && old.has_deletiontimestamp()) {
        *meta->mutable_deletiontimestamp() = old.deletiontimestamp();
    }
    if (!meta->has_deletiongraceperiodseconds() && old.has_deletiongraceperiodseconds()) {
        meta->set_deletiongraceperiodseconds(old.deletiongraceperiodseconds());
    }
    if (old.has_generation()) {
        meta->set_generation(old.generation());
    } else {
        meta->clear_generation();
    }
    meta->clear_selflink();
}

// metadata.finalizers and a Namespace's spec.finalizers.
bool has_finalizers(const Strategy& strategy, const Message& object) {
    return codec::object_meta(object).finalizers_size() > 0 ||
           strategy.deletion_terms(object, std::nullopt).lingers;
}

bool same_stored(const StoredObject& existing, const Message& object) {
    return existing.message().ByteSizeLong() == object.ByteSizeLong() &&
           codec::encode_protobuf_raw(existing.message()) == codec::encode_protobuf_raw(object);
}

// The garbage collector's finalizers as the deletion asks for them. Without a policy, those of an earlier deletion
// hold, and then the kind's own.
std::vector<std::string> finalizers_after(const Strategy& strategy, const metav1::ObjectMeta& meta,
                                          Propagation propagation) {
    std::vector<std::string> out(meta.finalizers().begin(), meta.finalizers().end());
    const auto has = [&](std::string_view name) { return std::find(out.begin(), out.end(), name) != out.end(); };
    if (propagation == Propagation::kDefault) {
        const bool decided = has("orphan") || has("foregroundDeletion");
        if (!decided && strategy.orphans_by_default()) out.emplace_back("orphan");
        return out;
    }
    std::erase(out, "foregroundDeletion");
    std::erase(out, "orphan");
    if (propagation == Propagation::kForeground) out.emplace_back("foregroundDeletion");
    if (propagation == Propagation::kOrphan) out.emplace_back("orphan");
    return out;
}

// kDelete with what the object gives back.
Change removal(const Strategy& strategy, const Message& object) {
    Change change;
    change.kind = Change::Kind::kDelete;
    change.reservation = strategy.release(object);
    return change;
}

Answer<void> check_preconditions(const Strategy& strategy, const StoredObject& existing,
                                 const DeleteOptions& options) {
    const auto& meta = existing.meta();
    codec::KindInfo by_kind = strategy.kind();
    by_kind.resource = by_kind.gvk.kind;  // upstream names the Kind here, not the resource
    if (options.uid && *options.uid != meta.uid()) {
        return refuse(conflict(
            by_kind, meta.name(),
            fmt::format("the UID in the precondition ({}) does not match the UID in record ({}). "
                        "The object might have been deleted and then recreated",
                        *options.uid, meta.uid())));
    }
    if (options.resource_version && *options.resource_version != meta.resourceversion()) {
        return refuse(conflict(
            by_kind, meta.name(),
            fmt::format("the ResourceVersion in the precondition ({}) does not match the "
                        "ResourceVersion in record ({}). The object might have been modified",
                        *options.resource_version, meta.resourceversion())));
    }
    return {};
}

// The kind's own admission between what the plugins add before and after it.
Answer<void> admit(const Strategy& strategy, const WriteOrigin& origin, const Message* old, Message* object) {
    const Admission* plugins = origin.call == nullptr ? nullptr : origin.call->core->admission.load();
    const auto own = [&]() -> Answer<void> {
        if (plugins != nullptr) {
            if (auto ok = plugins->mutate(admission_request(*origin.call, *object, old), object); !ok) return ok;
        }
        // Subresources get no defaults of the whole object.
        const bool whole = origin.call == nullptr || origin.call->info.subresource.empty();
        return whole ? strategy.admit(object, old) : Answer<void>();
    };
    if (auto ok = own(); !ok) return ok;
    if (plugins == nullptr) return {};
    return plugins->mutate_last(admission_request(*origin.call, *object, old), object, own);
}

}  // namespace

// A precondition of the object's storage: the answer is kube-apiserver's, key and all.
StatusError uid_precondition_failed(const Strategy& strategy, const StoredObject& existing,
                                    std::string_view wanted) {
    const auto& meta = existing.meta();
    return conflict(strategy.kind(), meta.name(),
                    fmt::format("StorageError: invalid object, Code: 4, Key: {}, ResourceVersion: "
                                "0, AdditionalErrorMsg: Precondition failed: UID in precondition: "
                                "{}, UID in object meta: {}",
                                object_key(strategy, meta.namespace_(), meta.name()), wanted,
                                meta.uid()));
}

std::string new_uid() {
    std::array<std::uint8_t, 16> bytes{};
    fill_random(bytes.data(), bytes.size());
    bytes[6] = static_cast<std::uint8_t>((bytes[6] & 0x0fU) | 0x40U);  // RFC 4122, version 4
    bytes[8] = static_cast<std::uint8_t>((bytes[8] & 0x3fU) | 0x80U);
    constexpr std::string_view kDigits = "0123456789abcdef";
    constexpr std::size_t kUidSize = 36;
    std::string out;
    out.reserve(kUidSize);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        if (i == 4 || i == 6 || i == 8 || i == 10) out += '-';
        out += kDigits[bytes[i] >> 4U];
        out += kDigits[bytes[i] & 0x0fU];
    }
    return out;
}

std::string name_suffix() {
    // No vowels and nothing that is misread, as upstream.
    constexpr std::string_view kAlphabet = "bcdfghjklmnpqrstvwxz2456789";
    std::array<std::uint8_t, 5> bytes{};
    fill_random(bytes.data(), bytes.size());
    std::string out;
    for (const std::uint8_t byte : bytes) out += kAlphabet[byte % kAlphabet.size()];
    return out;
}

Answer<void> place_in_namespace(const RequestInfo& info, Message* object) {
    auto& meta = codec::object_meta(*object);
    if (!info.kind->namespaced) {
        meta.clear_namespace_();
        return {};
    }
    if (meta.namespace_().empty()) {
        meta.set_namespace_(info.name_space);
    } else if (meta.namespace_() != info.name_space) {
        return refuse(bad_request(
            info.verb == Verb::kCreate
                ? std::string("the namespace of the provided object does not match the namespace "
                              "sent on the request")
                : fmt::format("the namespace of the object ({}) does not match the namespace on "
                              "the request ({})",
                              meta.namespace_(), info.name_space)));
    }
    return {};
}

Answer<void> match_url_name(const RequestInfo& info, const Message& object) {
    const std::string& name = codec::object_meta(object).name();
    if (name == info.name) return {};
    if (name.empty()) {
        return refuse(bad_request(fmt::format(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            info.name)));
    }
    return refuse(bad_request(fmt::format(
        "the name of the object ({}) does not match the name on the URL ({})", name, info.name)));
}

Answer<Change> prepare_creation(const Strategy& strategy, std::unique_ptr<Message> object,
                                const WriteOrigin& origin) {
    auto& meta = codec::object_meta(*object);
    auto version = parse_resource_version(meta.resourceversion());
    if (!version) return refuse(std::move(version).error());
    if (*version != 0) {
        return refuse(unclassified("resourceVersion should not be set on objects to be created"));
    }
    meta.clear_resourceversion();
    meta.clear_selflink();
    meta.clear_deletiontimestamp();
    meta.clear_deletiongraceperiodseconds();
    meta.set_uid(new_uid());
    meta.mutable_creationtimestamp()->Clear();
    meta.mutable_creationtimestamp()->set_seconds(unix_now());
    strategy.set_defaults(object.get());
    // What admission and the strategy add later is nobody's, as in Kubernetes.
    if (!origin.applied) track_creation(strategy, origin.writer, object.get());
    if (auto ok = admit(strategy, origin, nullptr, object.get()); !ok) return refuse(std::move(ok).error());
    strategy.prepare_for_create(object.get());
    FieldErrors errors;
    strategy.validate(*object, &errors);
    for (const std::string& why : check_path_segment(meta.name())) {
        errors.invalid("metadata.name", meta.name(), why);
    }
    if (!errors.empty()) return refuse(invalid(strategy.kind(), meta.name(), errors));
    auto reservation = strategy.reserve(object.get(), nullptr);
    if (!reservation) return refuse(std::move(reservation).error());
    Change change;
    change.kind = Change::Kind::kPut;
    change.object = std::move(object);
    change.reservation = std::move(*reservation);
    return change;
}

Answer<Change> prepare_update(const Strategy& strategy, const StoredObject& existing,
                              std::unique_ptr<Message> object, Part part,
                              const WriteOrigin& origin) {
    auto& meta = codec::object_meta(*object);
    const auto& old_meta = existing.meta();
    if (auto ok = check_version(strategy, existing, &meta); !ok) {
        return refuse(std::move(ok).error());
    }
    inherit_system_fields(old_meta, &meta);
    strategy.set_defaults(object.get());
    if (!origin.applied) {
        // Defaults leave empty messages behind, which are no change.
        if (auto ok = codec::normalise(object.get()); !ok) {
            return refuse(bad_request(ok.error().message));
        }
        track_update(strategy, existing, origin.writer, part, object.get());
    }
    if (part == Part::kMain || origin.call != nullptr) {
        if (auto ok = admit(strategy, origin, &existing.message(), object.get()); !ok) {
            return refuse(std::move(ok).error());
        }
    }
    // Defaults leave empty messages behind; what did not change must be seen not to have changed.
    if (auto ok = codec::normalise(object.get()); !ok) {
        return refuse(bad_request(ok.error().message));
    }
    FieldErrors errors;
    if (part == Part::kMain) {
        strategy.prepare_for_update(object.get(), existing.message());
        // Upstream checks metadata before it asks the strategy, which then checks it again: clients see such errors
        // twice among the causes.
        strategy.Strategy::validate_update(*object, existing.message(), &errors);
        strategy.validate_update(*object, existing.message(), &errors);
    } else if (part == Part::kStatus) {
        strategy.prepare_for_status_update(object.get(), existing.message());
        strategy.validate_status_update(*object, existing.message(), &errors);
    } else if (part == Part::kApproval) {
        strategy.prepare_for_approval(object.get(), existing.message());
        strategy.validate_approval(*object, existing.message(), &errors);
    }
    if (!errors.empty()) return refuse(invalid(strategy.kind(), old_meta.name(), errors));
    const bool dying = meta.has_deletiontimestamp() && meta.deletiongraceperiodseconds() == 0;
    if (dying && !has_finalizers(strategy, *object) && has_finalizers(strategy, existing.message())) {
        return removal(strategy, existing.message());
    }
    keep_times(existing, object.get());
    if (same_stored(existing, *object)) return Change{};
    Change change;
    change.kind = Change::Kind::kPut;
    if (part == Part::kMain) {
        auto reservation = strategy.reserve(object.get(), &existing.message());
        if (!reservation) return refuse(std::move(reservation).error());
        change.reservation = std::move(*reservation);
    }
    change.object = std::move(object);
    return change;
}

Answer<Change> prepare_deletion(const Strategy& strategy, const StoredObject& existing,
                                const DeleteOptions& options) {
    if (auto ok = strategy.check_deletion(existing.message()); !ok) {
        return refuse(std::move(ok).error());
    }
    if (auto ok = check_preconditions(strategy, existing, options); !ok) {
        return refuse(std::move(ok).error());
    }
    DeletionTerms terms = strategy.deletion_terms(existing.message(), options.grace_seconds);
    const auto& old = existing.meta();
    const bool already = old.has_deletiontimestamp();
    // A deletion under way may only be hurried, and only when asked.
    if (already && old.deletiongraceperiodseconds() > 0 && terms.grace_seconds > 0 &&
        (!options.grace_seconds || terms.grace_seconds >= old.deletiongraceperiodseconds())) {
        terms.grace_seconds = old.deletiongraceperiodseconds();
    }
    const auto finalizers = finalizers_after(strategy, old, options.propagation);
    if (finalizers.empty() && terms.grace_seconds == 0 && !terms.lingers) {
        return removal(strategy, existing.message());
    }
    std::unique_ptr<Message> object(existing.message().New());
    object->CopyFrom(existing.message());
    auto& meta = codec::object_meta(*object);
    const std::vector<std::string> before(meta.finalizers().begin(), meta.finalizers().end());
    if (before != finalizers) {
        meta.clear_finalizers();
        for (const std::string& name : finalizers) meta.add_finalizers(name);
    }
    if (!already) {
        meta.mutable_deletiontimestamp()->set_seconds(unix_now() + terms.grace_seconds);
        // A Namespace's own finalizers, not time, hold it.
        if (!terms.lingers || !finalizers.empty()) {
            meta.set_deletiongraceperiodseconds(terms.grace_seconds);
        }
        if (meta.generation() > 0) meta.set_generation(meta.generation() + 1);
        strategy.mark_deleted(object.get());
    } else if (terms.grace_seconds < old.deletiongraceperiodseconds()) {
        meta.mutable_deletiontimestamp()->set_seconds(old.deletiontimestamp().seconds() -
                                                      old.deletiongraceperiodseconds() +
                                                      terms.grace_seconds);
        meta.set_deletiongraceperiodseconds(terms.grace_seconds);
    }
    if (same_stored(existing, *object)) return Change{};
    Change change;
    change.kind = Change::Kind::kPut;
    change.object = std::move(object);
    return change;
}

}  // namespace sluice::registry
