#include "control/apiserver/registry/rest/field_tracking.h"

#include <google/protobuf/message.h>

#include "api/codec/apply/entries.h"
#include "api/codec/apply/message_fields.h"
#include "api/codec/time.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/conversion/conversion.h"
#include "control/apiserver/registry/table/cells.h"

namespace sluice::registry {

namespace {

constexpr std::size_t kMaxManagerBytes = 128;
constexpr std::string_view kUnknownManager = "unknown";

struct ResetSets {
    codec::FieldSet main, status, pod_status, deployment_status, none;
};

const ResetSets& reset_sets() {
    static const ResetSets sets = [] {
        ResetSets out;
        out.main.insert_path({"status"});
        out.status.insert_path({"spec"});
        out.pod_status = out.status;
        out.pod_status.insert_path({"metadata", "deletionTimestamp"});
        out.pod_status.insert_path({"metadata", "ownerReferences"});
        out.deployment_status = out.status;
        out.deployment_status.insert_path({"metadata", "labels"});
        return out;
    }();
    return sets;
}

// REQUIRES: one of the sets above.
const codec::FieldSet& skipped_of(const codec::FieldSet& ignored) {
    const ResetSets& sets = reset_sets();
    static const codec::FieldSet main = codec::skipped_at_creation(sets.main);
    static const codec::FieldSet none = codec::skipped_at_creation(sets.none);
    SLUICE_ASSERT(&ignored == &sets.main || &ignored == &sets.none);
    return &ignored == &sets.main ? main : none;
}

// What of a name can be printed, no more than a manager's name may have.
std::string printable(std::string_view text) {
    std::string out;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte >= 0x20 && byte < 0x7f && out.size() < kMaxManagerBytes) out += c;
    }
    return out;
}

codec::Manager manager_of(const FieldWriter& writer) {
    return {writer.manager, codec::ManagerOperation::kUpdate, writer.kind->gvk.api_version(), writer.subresource};
}

// The object in the version that the client writes; `held` keeps what was made for it.
const Message& shown(const Message& object, const Strategy& strategy, const FieldWriter& writer,
                     std::unique_ptr<Message>* held) {
    if (writer.kind == &strategy.kind()) return object;
    *held = to_served(*writer.kind, object);
    return **held;
}

std::string time_of(const FieldWriter& writer) {
    return writer.timeless ? std::string() : codec::format_time(unix_now());
}

bool same_entries(const metav1::ObjectMeta& a, const metav1::ObjectMeta& b) {
    if (!codec::same_but_times(a, b)) return false;
    for (int i = 0; i < a.managedfields_size(); ++i) {
        if (a.managedfields(i).time().seconds() != b.managedfields(i).time().seconds()) return false;
    }
    return true;
}

// The object's own entries if a client may and did write them, else the live object's.
codec::Managers managers_before(const metav1::ObjectMeta& live, const metav1::ObjectMeta& given, bool from_given) {
    if (from_given) {
        auto own = codec::read_managers(given);
        if (own && !own->empty()) return std::move(*own);
    }
    auto known = codec::read_managers(live);
    return known ? std::move(*known) : codec::Managers();
}

}  // namespace

const codec::FieldSet& reset_fields(const codec::KindInfo& kind, Part part) {
    const ResetSets& sets = reset_sets();
    switch (part) {
        case Part::kMain: return kind.has_status ? sets.main : sets.none;
        case Part::kFinalize: return sets.main;
        case Part::kStatus:
        case Part::kApproval: break;
    }
    if (kind.gvk.kind == "Pod") return sets.pod_status;
    return kind.gvk.kind == "Deployment" ? sets.deployment_status : sets.status;
}

FieldWriter field_writer(const Call& call, const WriteOptions& options) {
    FieldWriter out;
    out.kind = call.info.kind;
    out.manager = options.field_manager;
    if (out.manager.empty()) {
        const std::string_view agent = call.request->header("user-agent");
        out.manager = printable(agent.substr(0, agent.find('/')));
    }
    if (out.manager.empty()) out.manager = kUnknownManager;
    out.subresource = call.info.subresource;
    return out;
}

void track_creation(const Strategy& strategy, const FieldWriter* writer, Message* object) {
    auto& meta = codec::object_meta(*object);
    const codec::FieldSet& ignored = reset_fields(strategy.kind(), Part::kMain);
    if (writer == nullptr) return meta.clear_managedfields();
    if (meta.managedfields_size() == 0 || codec::resets_managers(meta)) {
        std::unique_ptr<Message> held;
        std::string fields = codec::created_fields(shown(*object, strategy, *writer, &held), ignored,
                                                   skipped_of(ignored));
        meta.clear_managedfields();
        if (fields == "{}") return;
        auto* entry = meta.add_managedfields();
        entry->set_manager(writer->manager);
        entry->set_operation("Update");
        entry->set_apiversion(writer->kind->gvk.api_version());
        entry->mutable_time()->set_seconds(unix_now());
        entry->set_fieldstype("FieldsV1");
        entry->mutable_fieldsv1()->set_raw(std::move(fields));
        return;
    }
    auto managers = managers_before(metav1::ObjectMeta::default_instance(), meta, true);
    std::unique_ptr<Message> held;
    const Message& made = shown(*object, strategy, *writer, &held);
    const std::unique_ptr<Message> nothing(made.New());
    const auto change = codec::owned_change(codec::compared(*nothing, made), ignored);
    codec::record_update(change, manager_of(*writer), time_of(*writer), &managers);
    codec::write_managers(managers, &meta);
}

void track_update(const Strategy& strategy, const StoredObject& existing, const FieldWriter* writer,
                  Part part, Message* object) {
    auto& meta = codec::object_meta(*object);
    const auto& live = existing.meta();
    const bool whole = writer != nullptr && part == Part::kMain && writer->subresource.empty();
    if (whole && codec::resets_managers(meta)) return meta.clear_managedfields();
    const bool from_given = whole && meta.managedfields_size() > 0 && !same_entries(meta, live);
    if (writer == nullptr || (!from_given && live.managedfields_size() == 0)) {
        *meta.mutable_managedfields() = live.managedfields();
        return;
    }
    std::unique_ptr<Message> held;
    const auto change = codec::owned_change(codec::compared(existing.as(*writer->kind).message(),
                                                            shown(*object, strategy, *writer, &held)),
                                            reset_fields(strategy.kind(), part));
    const bool changes = !change.added.empty() || !change.modified.empty() || !change.removed.empty();
    if (!changes && !from_given) {
        *meta.mutable_managedfields() = live.managedfields();
        return;
    }
    auto managers = managers_before(live, meta, from_given);
    codec::record_update(change, manager_of(*writer), time_of(*writer), &managers);
    codec::write_managers(managers, &meta);
}

void keep_times(const StoredObject& existing, Message* object) {
    auto& meta = codec::object_meta(*object);
    if (codec::same_but_times(meta, existing.meta())) {
        *meta.mutable_managedfields() = existing.meta().managedfields();
    }
}

}  // namespace sluice::registry
