// NodeRestriction: what authorization cannot see because it is in the body, or in the object that is to be changed.
#include <fmt/format.h>
#include <google/protobuf/message.h>
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <array>
#include <set>
#include <string>

#include "api/kubernetes/core/v1/node.pb.h"
#include "api/kubernetes/core/v1/persistentvolumeclaim.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/admission/admission.h"
#include "control/apiserver/registry/validation/field_errors.h"

namespace sluice::admission {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;

using registry::AdmissionRequest;
using registry::Answer;
using registry::go_quote;
using registry::Operation;
using registry::refuse;

Answer<void> no(const AdmissionRequest& request, std::string why) {
    return refuse(registry::forbidden(request.kind, request.name, why));
}

// Labels below kubernetes.io and k8s.io that kubelets may set on their Node, besides those below kubelet.kubernetes.io
// and node.kubernetes.io.
constexpr std::array<std::string_view, 11> kKubeletLabels = {
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
};

bool in_domain(std::string_view name_space, std::string_view domain) {
    return name_space == domain ||
           (name_space.size() > domain.size() && name_space.ends_with(domain) &&
            name_space[name_space.size() - domain.size() - 1] == '.');
}

bool may_set_label(std::string_view label) {
    const std::size_t slash = label.find('/');
    if (slash == std::string_view::npos) return true;
    const std::string_view name_space = label.substr(0, slash);
    if (in_domain(name_space, "node-restriction.kubernetes.io")) return false;
    if (!in_domain(name_space, "kubernetes.io") && !in_domain(name_space, "k8s.io")) return true;
    if (in_domain(name_space, "kubelet.kubernetes.io") || in_domain(name_space, "node.kubernetes.io")) return true;
    return std::find(kKubeletLabels.begin(), kKubeletLabels.end(), label) != kKubeletLabels.end();
}

template <class Labels>
std::string value_in(const Labels& labels, const std::string& key) {
    const auto found = labels.find(key);
    return found == labels.end() ? std::string("\x01") : found->second;
}

// Labels that differ and that a kubelet may not touch, "a, b".
std::string forbidden_labels(const corev1::Node* old, const corev1::Node& now) {
    static const corev1::Node kNone;
    const auto& before = (old == nullptr ? kNone : *old).metadata().labels();
    const auto& after = now.metadata().labels();
    std::set<std::string> names;
    for (const auto& [key, value] : before) names.insert(key);
    for (const auto& [key, value] : after) names.insert(key);
    std::string out;
    for (const std::string& key : names) {
        if (may_set_label(key) || value_in(before, key) == value_in(after, key)) continue;
        out += (out.empty() ? "" : ", ") + key;
    }
    return out;
}

Answer<void> check_own_node(const AdmissionRequest& request, const std::string& node) {
    if (request.name != node) {
        return no(request, fmt::format("node {} is not allowed to modify node {}", go_quote(node),
                                       go_quote(request.name)));
    }
    if (request.object == nullptr) return {};
    const auto& now = static_cast<const corev1::Node&>(*request.object);
    if (request.old == nullptr) {
        // Whatever a Node is born with, its kubelet may say; but not the labels that others decide by.
        const std::string labels = forbidden_labels(nullptr, now);
        if (!labels.empty()) {
            return no(request, fmt::format("node {} is not allowed to set the following labels: {}",
                                           go_quote(node), labels));
        }
        if (now.metadata().ownerreferences_size() > 0) {
            return no(request, fmt::format("node {} is not allowed to set ownerReferences", go_quote(node)));
        }
        return {};
    }
    const auto& old = static_cast<const corev1::Node&>(*request.old);
    const auto serialized = [](const corev1::Node& of) {
        std::string out;
        for (const auto& taint : of.spec().taints()) out += taint.SerializeAsString() + "\n";
        return out;
    };
    if (serialized(old) != serialized(now)) {
        return no(request, fmt::format("node {} is not allowed to modify taints", go_quote(node)));
    }
    const std::string labels = forbidden_labels(&old, now);
    if (!labels.empty()) {
        return no(request, fmt::format("is not allowed to modify labels: {}", labels));
    }
    const auto owners = [](const corev1::Node& of) {
        std::string out;
        for (const auto& owner : of.metadata().ownerreferences()) out += owner.SerializeAsString() + "\n";
        return out;
    };
    if (owners(old) != owners(now)) {
        return no(request, fmt::format("node {} is not allowed to update ownerReferences", go_quote(node)));
    }
    return {};
}

std::string_view name_of(authorization::Referred kind) {
    switch (kind) {
        case authorization::Referred::kSecret: return "secrets";
        case authorization::Referred::kConfigMap: return "configmaps";
        case authorization::Referred::kClaim: return "persistentvolumeclaims";
        case authorization::Referred::kServiceAccount: return "a service account";
        case authorization::Referred::kResourceClaim: return "resourceclaims";
        default: return "other objects";
    }
}

// A mirror of a static Pod, bound to the node, owned by it, and with access to nothing.
Answer<void> check_mirror(const AdmissionRequest& request, const std::string& node, const corev1::Pod& pod) {
    if (!pod.metadata().annotations().contains(authorization::kMirrorAnnotation)) {
        return no(request, fmt::format("pod does not have {} annotation, node {} can only create mirror pods",
                                       go_quote(authorization::kMirrorAnnotation), go_quote(node)));
    }
    if (pod.spec().nodename() != node) {
        return no(request, fmt::format("node {} can only create pods with spec.nodeName set to itself",
                                       go_quote(node)));
    }
    const auto& owners = pod.metadata().ownerreferences();
    if (owners.size() > 1) {
        return no(request, fmt::format("node {} can only create pods with a single owner reference set to itself",
                                       go_quote(node)));
    }
    if (owners.empty()) {
        return no(request, fmt::format("node {} can only create pods with an owner reference set to itself",
                                       go_quote(node)));
    }
    const auto& owner = owners[0];
    if (owner.apiversion() != "v1" || owner.kind() != "Node" || owner.name() != node) {
        return no(request, fmt::format("node {} can only create pods with an owner reference set to itself",
                                       go_quote(node)));
    }
    if (!owner.controller()) {
        return no(request, fmt::format("node {} can only create pods with a controller owner reference set to itself",
                                       go_quote(node)));
    }
    if (owner.blockownerdeletion()) {
        return no(request, fmt::format("node {} must not set blockOwnerDeletion on an owner reference",
                                       go_quote(node)));
    }
    const auto references = authorization::references_of(pod);
    if (!references.empty()) {
        return no(request, fmt::format("node {} can not create pods that reference {}", go_quote(node),
                                       name_of(references.front().kind)));
    }
    return {};
}

Answer<void> check_pod(const AdmissionRequest& request, const std::string& node) {
    const auto* old = static_cast<const corev1::Pod*>(request.old);
    const auto* now = static_cast<const corev1::Pod*>(request.object);
    const bool bound = old != nullptr && old->spec().nodename() == node;
    if (request.subresource == "status") {
        if (!bound) {
            return no(request, fmt::format("node {} can only update pod status for pods with spec.nodeName set "
                                           "to itself",
                                           go_quote(node)));
        }
        const auto labels = [](const corev1::Pod& pod) {
            const auto& map = pod.metadata().labels();
            return std::set<std::pair<std::string, std::string>>(map.begin(), map.end());
        };
        if (now != nullptr && labels(*old) != labels(*now)) {
            return no(request, fmt::format("node {} cannot update labels through pod status", go_quote(node)));
        }
        return {};
    }
    if (request.subresource == "eviction") {
        if (bound) return {};
        return no(request, fmt::format("node {} can only evict pods with spec.nodeName set to itself", go_quote(node)));
    }
    if (!request.subresource.empty()) {
        return no(request, fmt::format("unexpected pod subresource {}, only 'status' and 'eviction' are allowed",
                                       go_quote(request.subresource)));
    }
    if (request.operation == Operation::kDelete) {
        if (bound) return {};
        return no(request, fmt::format("node {} can only delete pods with spec.nodeName set to itself",
                                       go_quote(node)));
    }
    if (request.operation == Operation::kCreate && now != nullptr) return check_mirror(request, node, *now);
    return no(request, fmt::format("unexpected operation on a pod, node {} can only create and delete mirror pods",
                                   go_quote(node)));
}

// Only the size that the volume was given, and how far giving it is.
Answer<void> check_claim(const AdmissionRequest& request, const std::string& node) {
    if (request.subresource != "status" || request.object == nullptr || request.old == nullptr) {
        return no(request, fmt::format("node {} may only update PVC status", go_quote(node)));
    }
    auto now = static_cast<const corev1::PersistentVolumeClaim&>(*request.object);
    auto old = static_cast<const corev1::PersistentVolumeClaim&>(*request.old);
    for (auto* claim : {&now, &old}) {
        claim->mutable_status()->clear_capacity();
        claim->mutable_status()->clear_conditions();
        claim->mutable_status()->clear_allocatedresources();
        claim->mutable_status()->clear_allocatedresourcestatuses();
        claim->mutable_metadata()->clear_managedfields();
        claim->mutable_metadata()->clear_resourceversion();
    }
    if (!google::protobuf::util::MessageDifferencer::Equals(now, old)) {
        return no(request, fmt::format("node {} is not allowed to update fields other than status.quantity and "
                                       "status.conditions",
                                       go_quote(node)));
    }
    return {};
}

}  // namespace

Answer<void> check_node(const AdmissionRequest& request) {
    const auto node = authorization::node_of(request.user);
    if (!node) return {};
    if (node->empty()) {
        return no(request, fmt::format("could not determine node from user {}", go_quote(request.user.user)));
    }
    const std::string& group = request.kind.gvk.group;
    const std::string& resource = request.kind.resource;
    if (group.empty() && resource == "nodes") return check_own_node(request, *node);
    if (group.empty() && resource == "pods") return check_pod(request, *node);
    if (group.empty() && resource == "persistentvolumeclaims") return check_claim(request, *node);
    if (group == "coordination.k8s.io" && resource == "leases") {
        if (request.name_space != "kube-node-lease") {
            return no(request, "can only access leases in the \"kube-node-lease\" system namespace");
        }
        if (request.name != *node) {
            return no(request, "can only access node lease with the same name as the requesting node");
        }
    }
    if (group == "storage.k8s.io" && resource == "csinodes" && request.name != *node) {
        return no(request, "can only access CSINode with the same name as the requesting node");
    }
    return {};
}

}  // namespace sluice::admission
