#include "control/controllers/pod_control.h"

#include <boost/json.hpp>

#include <algorithm>

#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/podtemplate.pb.h"

namespace sluice::controllers {
namespace {

constexpr const char* kOwnerIndex = "controller";
constexpr const char* kStrategicMerge = "application/strategic-merge-patch+json";

std::string orphan_value(const std::string& name_space) { return "orphans/" + name_space; }

std::string pod_key(const Pod& pod) { return client::object_key(pod); }

bool same_labels(const Pod& a, const Pod& b) {
    const auto& left = a.metadata().labels();
    const auto& right = b.metadata().labels();
    return left.size() == right.size() && std::ranges::all_of(left, [&](const auto& label) {
        const auto found = right.find(label.first);
        return found != right.end() && found->second == label.second;
    });
}

}  // namespace

PodControl::PodControl(Context& context, const codec::KindInfo& owner_kind)
    : context_(context),
      owner_kind_(owner_kind),
      pods_(context.informers.get(*codec::find_kind({"", "v1", "Pod"}))) {
    pods_.add_index(kOwnerIndex, [](const google::protobuf::Message& object) {
        const auto owner = controller_of(object);
        return std::vector<std::string>{
            owner ? owner->uid : orphan_value(codec::object_meta(object).namespace_())};
    });
}

Pods PodControl::candidates(const google::protobuf::Message& owner) const {
    const auto& metadata = codec::object_meta(owner);
    Pods out;
    for (const auto& value : {metadata.uid(), orphan_value(metadata.namespace_())}) {
        for (const auto& object : pods_.by_index(kOwnerIndex, value)) {
            out.push_back(client::as<Pod>(object));
        }
    }
    return out;
}

Result<Pods> PodControl::claim(const google::protobuf::Message& owner,
                               const codec::LabelSelector& selector, const Pods& candidates) {
    const auto& metadata = codec::object_meta(owner);
    Pods out;
    bool asked = false;
    for (const auto& pod : candidates) {
        const bool owned = controller_of(*pod).has_value();
        const bool matches = selects(selector, *pod);
        if (owned && matches) {
            out.push_back(pod);
            continue;
        }
        if (metadata.has_deletiontimestamp() || owned == matches) continue;
        if (!owned && is_deleting(*pod)) continue;
        if (!owned && !asked) {
            SLUICE_TRY(may_adopt(context_.client, owner_kind_, owner));
            asked = true;
        }
        const std::string patch =
            owned ? release_patch(metadata.uid(), pod->metadata().uid())
                  : adoption_patch(owner, owner_kind_, pod->metadata().uid());
        const auto patched = context_.client.patch(pods_.kind(), pod->metadata().namespace_(),
                                                   pod->metadata().name(), kStrategicMerge, patch);
        if (!patched) {
            // Gone, or another pod of that name: neither is ours.
            const int status = patched.error().http_status;
            if (status == 404 || status == 422 || (owned && status == 409)) continue;
            return Error(patched.error());
        }
        if (!owned) out.push_back(pod);
    }
    return out;
}

PodControl::Done PodControl::create(
    const google::protobuf::Message& owner,
    const ::k8s::io::api::core::v1::PodTemplateSpec& pod_template, int count,
    const std::function<void(int index, Pod* pod)>& customize) {
    const auto& metadata = codec::object_meta(owner);
    Done done;
    for (int index = 0; index < count; ++index) {
        Pod pod;
        *pod.mutable_metadata()->mutable_labels() = pod_template.metadata().labels();
        *pod.mutable_metadata()->mutable_annotations() = pod_template.metadata().annotations();
        *pod.mutable_metadata()->mutable_finalizers() = pod_template.metadata().finalizers();
        *pod.mutable_spec() = pod_template.spec();
        pod.mutable_metadata()->set_generatename(metadata.name() + "-");
        pod.mutable_metadata()->set_namespace_(metadata.namespace_());
        set_controller_reference(owner, owner_kind_, &pod);
        if (customize) customize(index, &pod);
        const auto created = context_.client.create_object(pods_.kind(), pod);
        if (!created) {
            done.error = created.error();
            done.error->message = words_of(created.error());
            // Nobody is told of a namespace that is going away.
            if (created.error().reason != "Forbidden" ||
                created.error().message.find("being terminated") == std::string::npos) {
                context_.events.record(owner, client::EventType::kWarning, "FailedCreate",
                                       "Error creating: " + done.error->message);
            }
            return done;
        }
        ++done.count;
        context_.events.record(owner, client::EventType::kNormal, "SuccessfulCreate",
                               "Created pod: " + codec::object_meta(**created).name());
    }
    return done;
}

PodControl::Done PodControl::remove(const google::protobuf::Message& owner, const Pods& pods) {
    Done done;
    for (const auto& pod : pods) {
        client::DeleteRequest request;
        request.uid = pod->metadata().uid();
        const auto removed = context_.client.remove(pods_.kind(), pod->metadata().namespace_(),
                                                    pod->metadata().name(), request);
        if (!removed && !removed.error().not_found() && removed.error().http_status != 409) {
            const std::string words = words_of(removed.error());
            if (!done.error) {
                done.error = removed.error();
                done.error->message = words;
            }
            done.unseen.push_back(pod_key(*pod));
            context_.events.record(owner, client::EventType::kWarning, "FailedDelete",
                                   "Error deleting: " + words);
            continue;
        }
        ++done.count;
        if (!removed) {
            done.unseen.push_back(pod_key(*pod));
            continue;
        }
        context_.events.record(owner, client::EventType::kNormal, "SuccessfulDelete",
                               "Deleted pod: " + pod->metadata().name());
    }
    return done;
}

void set_controller_reference(const google::protobuf::Message& owner, const codec::KindInfo& kind,
                              google::protobuf::Message* object) {
    auto* reference = codec::object_meta(*object).add_ownerreferences();
    reference->set_apiversion(kind.gvk.api_version());
    reference->set_kind(kind.gvk.kind);
    reference->set_name(codec::object_meta(owner).name());
    reference->set_uid(codec::object_meta(owner).uid());
    reference->set_controller(true);
    reference->set_blockownerdeletion(true);
}

std::string adoption_patch(const google::protobuf::Message& owner, const codec::KindInfo& kind,
                           const std::string& uid) {
    const auto& metadata = codec::object_meta(owner);
    return boost::json::serialize(boost::json::object{
        {"metadata",
         {{"uid", uid},
          {"ownerReferences",
           boost::json::array{boost::json::object{{"apiVersion", kind.gvk.api_version()},
                                                  {"kind", kind.gvk.kind},
                                                  {"name", metadata.name()},
                                                  {"uid", metadata.uid()},
                                                  {"controller", true},
                                                  {"blockOwnerDeletion", true}}}}}}});
}

std::string release_patch(const std::string& owner_uid, const std::string& uid) {
    return boost::json::serialize(boost::json::object{
        {"metadata",
         {{"uid", uid},
          {"ownerReferences", boost::json::array{boost::json::object{
                                  {"$patch", "delete"}, {"uid", owner_uid}}}}}}});
}

std::string words_of(const client::ApiError& error) {
    // "POST /api/v1/...: words"; without an answer there is nothing but the transport's own.
    const std::size_t end = error.message.find(": ");
    if (error.http_status == 0 || end == std::string::npos) return error.message;
    return error.message.substr(end + 2);
}

Result<void> may_adopt(client::Client& client, const codec::KindInfo& kind,
                       const google::protobuf::Message& owner) {
    const auto& metadata = codec::object_meta(owner);
    const auto found = client.get(kind, metadata.namespace_(), metadata.name());
    if (!found && !found.error().not_found()) return Error(found.error());
    if (found) {
        const auto& now = codec::object_meta(**found);
        if (now.uid() == metadata.uid() && !now.has_deletiontimestamp()) return {};
    }
    return make_error(Code::kAborted, "{} {}/{} is being deleted and adopts nothing",
                      kind.gvk.kind, metadata.namespace_(), metadata.name());
}

bool selects(const codec::LabelSelector& selector, const google::protobuf::Message& object) {
    const auto& labels = codec::object_meta(object).labels();
    return selector.matches([&](std::string_view key) -> std::optional<std::string_view> {
        const auto found = labels.find(std::string(key));
        if (found == labels.end()) return std::nullopt;
        return found->second;
    });
}

void follow_pods(client::Informer& pods, client::WorkQueue& queue, Expectations& expectations,
                 const codec::KindInfo& owner_kind,
                 std::function<std::vector<std::string>(const Pod& orphan)> owners_of) {
    const auto owner_key = [&owner_kind](const Pod& pod) -> std::optional<std::string> {
        const auto owner = controller_of(pod);
        if (!owner || owner->kind != owner_kind.gvk.kind ||
            owner->api_version != owner_kind.gvk.api_version()) {
            return std::nullopt;
        }
        return pod.metadata().namespace_() + "/" + owner->name;
    };
    pods.add_handler([&queue, &expectations, owner_key, owners_of = std::move(owners_of)](
                         const client::SharedObject& before, const client::SharedObject& after) {
        const auto was = client::as<Pod>(before);
        const auto is = client::as<Pod>(after);
        const auto old_owner = was == nullptr ? std::nullopt : owner_key(*was);
        const auto new_owner = is == nullptr ? std::nullopt : owner_key(*is);
        if (was == nullptr && new_owner && !is_deleting(*is)) {
            expectations.creation_observed(*new_owner);
        }
        // A pod that is on its way out no longer counts, as one that is gone.
        const bool leaves = is == nullptr || is_deleting(*is);
        if (leaves && (new_owner || old_owner)) {
            expectations.deletion_observed(new_owner ? *new_owner : *old_owner,
                                           pod_key(is == nullptr ? *was : *is));
        }
        if (old_owner && old_owner != new_owner) queue.add(*old_owner);
        if (new_owner) {
            queue.add(*new_owner);
        } else if (is != nullptr && !controller_of(*is) &&
                   (was == nullptr || controller_of(*was) || !same_labels(*was, *is))) {
            for (const auto& key : owners_of(*is)) queue.add(key);
        }
    });
}

}  // namespace sluice::controllers
