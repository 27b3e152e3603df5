#include <fmt/format.h>
#include <google/protobuf/message.h>

#include <boost/json/serialize.hpp>

#include "api/codec/apply/entries.h"
#include "api/codec/apply/message_fields.h"
#include "api/codec/json.h"
#include "api/codec/time.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/conversion/conversion.h"
#include "control/apiserver/registry/rest/applying_private.h"
#include "control/apiserver/registry/table/cells.h"
#include "control/apiserver/registry/validation/field_errors.h"

namespace sluice::registry {

namespace {

namespace json = boost::json;

constexpr const char* kLastApplied = "kubectl.kubernetes.io/last-applied-configuration";
// The manager whose applies take over from kubectl's own.
constexpr std::string_view kKubectl = "kubectl";
// All annotations of one object together.
constexpr std::size_t kMaxAnnotationBytes = 256U << 10U;
constexpr std::string_view kScaleVersion = "autoscaling/v1";

std::string text_member(const json::value& document, const char* name) {
    const auto* object = document.if_object();
    const auto* member = object == nullptr ? nullptr : object->if_contains(name);
    return member != nullptr && member->is_string() ? std::string(member->get_string()) : std::string();
}

const json::value* member_at(const json::value& document, const char* outer, const char* inner) {
    const auto* object = document.if_object();
    const auto* holder = object == nullptr ? nullptr : object->if_contains(outer);
    const auto* members = holder == nullptr ? nullptr : holder->if_object();
    return members == nullptr ? nullptr : members->if_contains(inner);
}

// "apps/v1, Kind=Deployment"
std::string shown(const std::string& group, const std::string& version, const std::string& kind) {
    return fmt::format("{}/{}, Kind={}", group, version, kind);
}

StatusError no_typed_patch(const Application& application, std::string_view name_space, std::string_view why) {
    const auto& gvk = application.kind.gvk;
    return unclassified(fmt::format("failed to create typed patch object ({}/{}; {}): {}", name_space,
                                    application.name, shown(gvk.group, gvk.version, gvk.kind), why));
}

Answer<void> check_config(const Application& application, const json::value& config) {
    const auto& gvk = application.kind.gvk;
    const std::string api_version = text_member(config, "apiVersion");
    const std::string kind = text_member(config, "kind");
    const std::size_t slash = api_version.find('/');
    const std::string group = slash == std::string::npos ? "" : api_version.substr(0, slash);
    const std::string version = slash == std::string::npos ? api_version : api_version.substr(slash + 1);
    if (group != gvk.group || version != gvk.version || kind != gvk.kind) {
        return refuse(bad_request(fmt::format("invalid object type: {}", shown(group, version, kind))));
    }
    const json::value* fields = member_at(config, "metadata", "managedFields");
    if (fields != nullptr && !fields->is_null()) {
        return refuse(bad_request("metadata.managedFields must be nil"));
    }
    if (auto fits = codec::check_typed(config, *application.kind.prototype->GetDescriptor()); !fits) {
        const json::value* name_space = member_at(config, "metadata", "namespace");
        return refuse(no_typed_patch(
            application,
            name_space != nullptr && name_space->is_string() ? std::string(name_space->get_string()) : "",
            fits.error().message));
    }
    return {};
}

std::string manager_text(const codec::Conflict& conflict) {
    std::string out = go_quote(conflict.manager.name);
    if (!conflict.manager.subresource.empty()) {
        out += " with subresource " + go_quote(conflict.manager.subresource);
    }
    if (conflict.manager.operation == codec::ManagerOperation::kUpdate) out += " using " + conflict.api_version;
    return out;
}

StatusError conflict_error(const std::vector<codec::Conflict>& conflicts) {
    StatusError out;
    out.code = 409;
    out.reason = "Conflict";
    out.has_details = true;
    std::string list;
    for (const codec::Conflict& conflict : conflicts) {
        const std::string who = manager_text(conflict);
        list += fmt::format("{}conflicts with {}:", list.empty() ? "" : "\n", who);
        for (const std::string& field : conflict.fields) {
            out.causes.push_back({"FieldManagerConflict", "conflict with " + who, field});
            list += "\n- " + field;
        }
    }
    if (out.causes.size() == 1) {
        out.message = fmt::format("Apply failed with 1 conflict: {}: {}", out.causes.front().message,
                                  out.causes.front().field);
    } else {
        out.message = fmt::format("Apply failed with {} conflicts: {}", out.causes.size(), list);
    }
    return out;
}

const json::string* last_applied(const json::value& object) {
    const json::value* annotations = member_at(object, "metadata", "annotations");
    if (annotations == nullptr || !annotations->is_object()) return nullptr;
    const json::value* text = annotations->as_object().if_contains(kLastApplied);
    return text != nullptr && text->is_string() && !text->get_string().empty() ? &text->get_string() : nullptr;
}

// What kubectl applied itself earlier, it may take over: the conflicts that are left.
std::vector<codec::Conflict> without_own(std::vector<codec::Conflict> conflicts, const Application& application,
                                         const json::value& live) {
    const json::string* text = last_applied(live);
    if (application.writer.manager != kKubectl || text == nullptr) return conflicts;
    auto before = codec::parse_json(*text);
    if (!before || text_member(*before, "apiVersion") != application.kind.gvk.api_version()) return conflicts;
    const auto& type = *application.kind.prototype->GetDescriptor();
    if (!codec::check_typed(*before, type)) return conflicts;
    const auto own = codec::fields_still_applied(*before, live, type);
    if (!own) return conflicts;
    for (codec::Conflict& conflict : conflicts) {
        conflict.set = conflict.set.minus(*own);
        conflict.fields = codec::paths_of(conflict.set);
    }
    std::erase_if(conflicts, [](const codec::Conflict& conflict) { return conflict.set.empty(); });
    return conflicts;
}

json::value sorted(const json::value& value) {
    if (value.is_array()) {
        json::array out;
        for (const auto& item : value.as_array()) out.push_back(sorted(item));
        return out;
    }
    if (!value.is_object()) return value;
    std::map<std::string, const json::value*> members;
    for (const auto& [name, member] : value.as_object()) members.emplace(std::string(name), &member);
    json::object out;
    for (const auto& [name, member] : members) out.emplace(name, sorted(*member));
    return out;
}

// An object that kubectl once applied itself keeps saying what was applied last, so that an older kubectl still finds
// its way.
void note_last_applied(const json::value& config, json::value* object) {
    if (last_applied(*object) == nullptr) return;
    json::value bare = sorted(config);
    if (const json::value* annotations = member_at(bare, "metadata", "annotations");
        annotations != nullptr && annotations->is_object()) {
        bare.as_object()["metadata"].as_object()["annotations"].as_object().erase(kLastApplied);
    }
    const std::string text = json::serialize(bare) + "\n";
    auto& annotations = object->as_object()["metadata"].as_object()["annotations"].as_object();
    annotations[kLastApplied] = text;
    std::size_t bytes = 0;
    for (const auto& [name, value] : annotations) {
        bytes += name.size() + (value.is_string() ? value.get_string().size() : 0);
    }
    if (bytes > kMaxAnnotationBytes) annotations.erase(kLastApplied);
}

json::value live_document(const codec::KindInfo& kind, const StoredObject* existing) {
    if (existing == nullptr) return codec::to_json_value(*kind.new_object(), &kind.gvk);
    const StoredObject& shown = existing->as(kind);
    const std::unique_ptr<Message> copy(shown.message().New());
    copy->CopyFrom(shown.message());
    codec::object_meta(*copy).clear_managedfields();
    return codec::to_json_value(*copy, &kind.gvk);
}

}  // namespace

Answer<void> check_declared(const Application& application, const Strategy& strategy, const json::value& config) {
    if (application.kind.custom == nullptr) return {};
    const auto object = application.kind.new_object();
    // What else may be wrong with it, apply_to says.
    if (!codec::from_json_value(config, object.get())) return {};
    std::vector<std::string> unknown;
    strategy.settle_body(object.get(), &unknown);
    if (unknown.empty()) return {};
    std::string why;
    for (const std::string& text : unknown) {
        // unknown field "spec.x"
        const std::string path = text.substr(text.find('"') + 1, text.rfind('"') - text.find('"') - 1);
        why += fmt::format("{}.{}: field not declared in schema", unknown.size() > 1 ? "\n  " : "", path);
    }
    if (unknown.size() > 1) why.insert(0, "errors:");
    return refuse(no_typed_patch(application, application.name_space, why));
}

Answer<void> apply_to(const Application& application, const json::value& config, json::value* live,
                      codec::Managers* managers) {
    if (auto ok = check_config(application, config); !ok) return ok;
    codec::ApplyOptions options;
    options.manager = {application.writer.manager, codec::ManagerOperation::kApply,
                       application.kind.gvk.api_version(), application.writer.subresource};
    options.force = application.force;
    options.now = codec::format_time(unix_now());
    options.ignored = &application.ignored;
    const auto& type = *application.kind.prototype->GetDescriptor();
    auto conflicts = codec::apply_config(live, config, type, options, managers);
    if (!conflicts) return refuse(unclassified(conflicts.error().message));
    if (conflicts->empty()) return {};
    const auto left = without_own(std::move(*conflicts), application, *live);
    if (!left.empty()) return refuse(conflict_error(left));
    options.force = true;
    auto done = codec::apply_config(live, config, type, options, managers);
    if (!done) return refuse(unclassified(done.error().message));
    return {};
}

Answer<std::unique_ptr<Message>> applied_object(const Application& application, const json::value& config,
                                                const StoredObject* existing) {
    const codec::KindInfo& kind = application.kind;
    codec::Managers managers;
    if (existing != nullptr) {
        auto known = codec::read_managers(existing->meta());
        if (!known) {
            return refuse(unclassified("failed to decode managed fields: " + known.error().message));
        }
        managers = std::move(*known);
        if (managers.empty()) {
            // What was there before anybody was recorded is somebody's all the same.
            const auto all = codec::owned_change(codec::compared(*kind.new_object(), existing->as(kind).message()),
                                                 application.ignored);
            codec::record_update(all,
                                 {codec::kBeforeFirstApplyManager, codec::ManagerOperation::kUpdate,
                                  kind.gvk.api_version(), application.writer.subresource},
                                 codec::format_time(unix_now()), &managers);
        }
    }
    json::value document = live_document(kind, existing);
    if (auto ok = apply_to(application, config, &document, &managers); !ok) return refuse(std::move(ok).error());
    if (application.writer.manager == kKubectl) note_last_applied(config, &document);
    auto object = kind.new_object();
    if (auto read = codec::from_json_value(document, object.get()); !read) {
        return refuse(unclassified(fmt::format(
            "failed to convert new object ({}/{}; {}) to proper version: {}", application.name_space,
            application.name, shown(kind.gvk.group, kind.gvk.version, kind.gvk.kind), read.error().message)));
    }
    codec::write_managers(managers, &codec::object_meta(*object));
    auto stored = to_stored(kind, std::move(object));
    if (!stored) return refuse(bad_request(stored.error().message));
    return std::move(*stored);
}

codec::Managers managers_of_scale(const codec::Managers& workload) {
    codec::FieldSet replicas;
    replicas.insert_path({"spec", "replicas"});
    codec::Managers out;
    for (const auto& [manager, owned] : workload) {
        if (owned.fields.intersected(replicas).empty()) continue;
        codec::Manager same = manager;
        if (!same.api_version.empty()) same.api_version = kScaleVersion;
        out.insert_or_assign(same, codec::Owned{replicas, owned.time, std::string(kScaleVersion)});
    }
    return out;
}

void merge_scale_managers(codec::Managers scale, const std::string& workload_version, codec::Managers* workload) {
    codec::FieldSet replicas;
    replicas.insert_path({"spec", "replicas"});
    for (auto& [manager, owned] : *workload) {
        if (owned.fields.intersected(replicas).empty()) continue;
        codec::Manager in_scale = manager;
        if (!in_scale.api_version.empty()) in_scale.api_version = kScaleVersion;
        if (scale.erase(in_scale) == 0) owned.fields = owned.fields.minus(replicas);
    }
    std::erase_if(*workload, [](const auto& entry) { return entry.second.fields.empty(); });
    for (auto& [manager, owned] : scale) {
        if (owned.fields.intersected(replicas).empty()) continue;
        codec::Manager mine = manager;
        if (!mine.api_version.empty()) mine.api_version = workload_version;
        codec::Owned& entry = (*workload)[mine];
        entry.fields = entry.fields.united(replicas);
        entry.api_version = workload_version;
    }
}

}  // namespace sluice::registry
