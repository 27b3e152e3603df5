#include "control/apiserver/authorization/node_authorizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/rbac/v1/rbac.pb.h"
#include "control/apiserver/authorization/policy/policy.h"

namespace sluice::authorization {
namespace {

namespace rbacv1 = ::k8s::io::api::rbac::v1;

constexpr std::string_view kLeaseNamespace = "kube-node-lease";

Decision allow() { return {true, {}}; }
Decision deny(std::string why) { return {false, std::move(why)}; }

template <class... Names>
bool is_one_of(const std::string& value, Names... names) {
    return ((value == names) || ...);
}

Decision lease(const std::string& node, const Attributes& asked) {
    if (!is_one_of(asked.verb, "get", "create", "update", "patch", "delete")) {
        return deny("can only get, create, update, patch, or delete a node lease");
    }
    if (asked.namespace_name != kLeaseNamespace) {
        return deny(fmt::format("can only access leases in the \"{}\" system namespace", kLeaseNamespace));
    }
    // The name of what is created is in the body, which NodeRestriction sees.
    if (asked.verb != "create" && asked.name != node) {
        return deny("can only access node lease with the same name as the requesting node");
    }
    return allow();
}

Decision csi_node(const std::string& node, const Attributes& asked) {
    if (!is_one_of(asked.verb, "get", "create", "update", "patch", "delete")) {
        return deny("can only get, create, update, patch, or delete a CSINode");
    }
    if (!asked.subresource.empty()) return deny("cannot authorize CSINode subresources");
    if (asked.verb != "create" && asked.name != node) {
        return deny("can only access CSINode with the same name as the requesting node");
    }
    return allow();
}

Decision own_node(const std::string& node, const Attributes& asked) {
    if (asked.subresource == "status") {
        return is_one_of(asked.verb, "update", "patch") ? allow() : deny({});
    }
    if (!asked.subresource.empty()) return deny({});
    // Which Node is NodeRestriction's to check, by name and content.
    if (is_one_of(asked.verb, "create", "update", "patch")) return allow();
    if (is_one_of(asked.verb, "get", "list", "watch")) {
        if (asked.name == node) return allow();
        if (!asked.name.empty()) {
            return deny(fmt::format("node '{}' cannot read '{}', only its own Node object", node, asked.name));
        }
        return deny(fmt::format("node '{}' cannot read all nodes, only its own Node object", node));
    }
    return deny({});
}

}  // namespace

std::optional<std::string> node_of(const http::Identity& user) {
    if (!user.user.starts_with(kNodeUserPrefix) || !in_group(user, kNodesGroup)) return std::nullopt;
    return user.user.substr(std::string_view(kNodeUserPrefix).size());
}

NodeAuthorizer::NodeAuthorizer(const NodeGraph& graph) : graph_(graph) {
    for (const PolicyObject& object : default_policy()) {
        if (object->GetDescriptor() != rbacv1::ClusterRole::descriptor()) continue;
        const auto& role = static_cast<const rbacv1::ClusterRole&>(*object);
        if (role.metadata().name() != "system:node") continue;
        for (const auto& rule : role.rules()) rules_.push_back(rule_from(rule));
    }
}

Decision NodeAuthorizer::related(const std::string& node, const Attributes& asked, Referred kind) const {
    if (asked.name.empty()) return deny("No Object name found");
    const bool cluster = kind == Referred::kVolume || kind == Referred::kAttachment;
    if (graph_.reaches(node, {kind, cluster ? std::string() : asked.namespace_name, asked.name})) return allow();
    return deny(fmt::format("no relationship found between node '{}' and this object", node));
}

Decision NodeAuthorizer::get_one(const std::string& node, const Attributes& asked, Referred kind) const {
    if (asked.verb != "get") return deny("can only get individual resources of this type");
    if (!asked.subresource.empty()) return deny("cannot get subresource");
    return related(node, asked, kind);
}

Decision NodeAuthorizer::read_some(const std::string& node, const Attributes& asked, Referred kind) const {
    if (!is_one_of(asked.verb, "get", "list", "watch")) return deny("can only read resources of this type");
    if (!asked.subresource.empty()) return deny("cannot read subresource");
    if (asked.namespace_name.empty()) return deny("can only read namespaced object of this type");
    return related(node, asked, kind);
}

Decision NodeAuthorizer::claim_status(const std::string& node, const Attributes& asked) const {
    if (!is_one_of(asked.verb, "update", "patch", "get")) return deny("can only get/update/patch this type");
    return related(node, asked, Referred::kClaim);
}

Decision NodeAuthorizer::token(const std::string& node, const Attributes& asked) const {
    if (asked.verb != "create" || asked.name.empty()) {
        return deny("can only create tokens for individual service accounts");
    }
    if (asked.subresource != "token") return deny("can only create token subresource of serviceaccount");
    return related(node, asked, Referred::kServiceAccount);
}

Decision NodeAuthorizer::pod(const std::string& node, const Attributes& asked) const {
    if (asked.subresource == "status") {
        return is_one_of(asked.verb, "update", "patch") ? allow() : deny({});
    }
    if (asked.subresource == "eviction") return asked.verb == "create" ? allow() : deny({});
    if (!asked.subresource.empty()) return deny({});
    if (asked.verb == "get") return get_one(node, asked, Referred::kPod);
    if (is_one_of(asked.verb, "list", "watch")) {
        if (selected_value(asked.field_selector, "spec.nodeName") == node) return allow();
        if (!asked.name.empty()) return related(node, asked, Referred::kPod);
        return deny("can only list/watch pods with spec.nodeName field selector");
    }
    // NodeRestriction sees to it that they are mirrors, and its own.
    return is_one_of(asked.verb, "create", "delete") ? allow() : deny({});
}

Decision NodeAuthorizer::authorize(const Attributes& asked) const {
    const auto node = node_of(asked.user);
    if (!node) return deny({});
    if (node->empty()) return deny(fmt::format("unknown node for user \"{}\"", asked.user.user));
    if (asked.is_resource) {
        if (asked.group.empty()) {
            if (asked.resource == "secrets") return read_some(*node, asked, Referred::kSecret);
            if (asked.resource == "configmaps") return read_some(*node, asked, Referred::kConfigMap);
            if (asked.resource == "persistentvolumeclaims") {
                if (asked.subresource == "status") return claim_status(*node, asked);
                return get_one(*node, asked, Referred::kClaim);
            }
            if (asked.resource == "persistentvolumes") return get_one(*node, asked, Referred::kVolume);
            if (asked.resource == "serviceaccounts") return token(*node, asked);
            if (asked.resource == "nodes") return own_node(*node, asked);
            if (asked.resource == "pods") return pod(*node, asked);
        }
        if (asked.group == "resource.k8s.io" && asked.resource == "resourceclaims") {
            return get_one(*node, asked, Referred::kResourceClaim);
        }
        if (asked.group == "storage.k8s.io" && asked.resource == "volumeattachments") {
            return get_one(*node, asked, Referred::kAttachment);
        }
        if (asked.group == "coordination.k8s.io" && asked.resource == "leases") return lease(*node, asked);
        if (asked.group == "storage.k8s.io" && asked.resource == "csinodes") return csi_node(*node, asked);
    }
    const bool permitted =
        std::any_of(rules_.begin(), rules_.end(), [&](const Rule& rule) { return permits(rule, asked); });
    return permitted ? allow() : deny({});
}

}  // namespace sluice::authorization
