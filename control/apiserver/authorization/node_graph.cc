#include "control/apiserver/authorization/node_graph.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <functional>
#include <mutex>
#include <string_view>

#include "api/kubernetes/core/v1/persistentvolume.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/storage/v1/storage.pb.h"

namespace sluice::authorization {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;
namespace storagev1 = ::k8s::io::api::storage::v1;
namespace protobuf = ::google::protobuf;

// Called for every message below `message`, itself first.
void walk(const protobuf::Message& message, const std::function<void(const protobuf::Message&)>& visit) {
    visit(message);
    const auto* reflection = message.GetReflection();
    std::vector<const protobuf::FieldDescriptor*> fields;
    reflection->ListFields(message, &fields);
    for (const auto* field : fields) {
        if (field->cpp_type() != protobuf::FieldDescriptor::CPPTYPE_MESSAGE || field->is_map()) continue;
        if (!field->is_repeated()) {
            walk(reflection->GetMessage(message, field), visit);
            continue;
        }
        for (int i = 0; i < reflection->FieldSize(message, field); ++i) {
            walk(reflection->GetRepeatedMessage(message, field, i), visit);
        }
    }
}

std::string text_of(const protobuf::Message& message, const char* name) {
    const auto* field = message.GetDescriptor()->FindFieldByName(name);
    if (field == nullptr || field->is_repeated() ||
        field->cpp_type() != protobuf::FieldDescriptor::CPPTYPE_STRING) {
        return {};
    }
    return message.GetReflection()->GetString(message, field);
}

}  // namespace

std::string NodeGraph::edge(const std::string& node, const Reference& object) {
    // Names of objects have no slash.
    std::string out = node;
    out += '/';
    out += static_cast<char>('a' + static_cast<char>(object.kind));
    out += '/';
    out += object.name_space;
    out += '/';
    out += object.name;
    return out;
}

void NodeGraph::drop_pod(const Key& key) {
    const auto found = pods_.find(key);
    if (found == pods_.end()) return;
    for (const Reference& object : found->second.references) {
        const auto counted = edges_.find(edge(found->second.node, object));
        if (counted != edges_.end() && --counted->second == 0) edges_.erase(counted);
    }
    pods_.erase(found);
}

void NodeGraph::put(const corev1::Pod& pod) {
    const Key key{pod.metadata().namespace_(), pod.metadata().name()};
    PodEdges next;
    next.node = pod.spec().nodename();
    if (!next.node.empty()) {
        if (!pod.metadata().annotations().contains(kMirrorAnnotation)) next.references = references_of(pod);
        next.references.push_back({Referred::kPod, key.first, key.second});
    }
    const std::unique_lock lock(mutex_);
    const auto known = pods_.find(key);
    if (known != pods_.end() && known->second.node == next.node &&
        known->second.references == next.references) {
        return;
    }
    drop_pod(key);
    if (next.node.empty()) return;
    for (const Reference& object : next.references) ++edges_[edge(next.node, object)];
    pods_.emplace(key, std::move(next));
}

void NodeGraph::remove_pod(const std::string& name_space, const std::string& name) {
    const std::unique_lock lock(mutex_);
    drop_pod({name_space, name});
}

void NodeGraph::drop_volume(const std::string& name) {
    const auto found = volumes_.find(name);
    if (found == volumes_.end()) return;
    const auto forget = [&](const Reference& object) {
        const auto entry = volumes_of_.find(object);
        if (entry == volumes_of_.end()) return;
        entry->second.erase(name);
        if (entry->second.empty()) volumes_of_.erase(entry);
    };
    for (const Reference& secret : found->second.secrets) forget(secret);
    volumes_.erase(found);
}

void NodeGraph::put(const corev1::PersistentVolume& volume) {
    const std::string& name = volume.metadata().name();
    VolumeEdges next;
    const auto& claim = volume.spec().claimref();
    next.claim = {Referred::kClaim, claim.namespace_(), claim.name()};
    walk(volume.spec(), [&](const protobuf::Message& message) {
        std::string secret;
        // Where a reference names no namespace, the claim's is meant.
        std::string name_space = claim.namespace_();
        if (message.GetDescriptor() == corev1::SecretReference::descriptor()) {
            secret = text_of(message, "name");
            if (const std::string own = text_of(message, "namespace"); !own.empty()) name_space = own;
        } else {
            secret = text_of(message, "secretName");
            if (const std::string own = text_of(message, "secretNamespace"); !own.empty()) name_space = own;
        }
        if (!secret.empty()) next.secrets.push_back({Referred::kSecret, name_space, secret});
    });
    const std::unique_lock lock(mutex_);
    drop_volume(name);
    if (!volume.spec().has_claimref()) return;
    for (const Reference& secret : next.secrets) volumes_of_[secret].insert(name);
    volumes_.emplace(name, std::move(next));
}

void NodeGraph::remove_volume(const std::string& name) {
    const std::unique_lock lock(mutex_);
    drop_volume(name);
}

void NodeGraph::put(const storagev1::VolumeAttachment& attachment) {
    const std::unique_lock lock(mutex_);
    attachments_[attachment.metadata().name()] = attachment.spec().nodename();
}

void NodeGraph::remove_attachment(const std::string& name) {
    const std::unique_lock lock(mutex_);
    attachments_.erase(name);
}

bool NodeGraph::direct(const std::string& node, const Reference& object) const {
    return edges_.contains(edge(node, object));
}

bool NodeGraph::reaches(const std::string& node, const Reference& object) const {
    const std::shared_lock lock(mutex_);
    const auto volume_reached = [&](const std::string& name) {
        const auto volume = volumes_.find(name);
        return volume != volumes_.end() && direct(node, volume->second.claim);
    };
    if (object.kind == Referred::kVolume) return volume_reached(object.name);
    if (object.kind == Referred::kAttachment) {
        const auto found = attachments_.find(object.name);
        return found != attachments_.end() && found->second == node;
    }
    if (direct(node, object)) return true;
    const auto volumes = volumes_of_.find(object);
    return volumes != volumes_of_.end() &&
           std::any_of(volumes->second.begin(), volumes->second.end(), volume_reached);
}

}  // namespace sluice::authorization
