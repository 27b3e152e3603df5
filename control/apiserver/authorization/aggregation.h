// Aggregated ClusterRoles: their rules are those of all ClusterRoles that their selectors match, and the
// reconciliation of roles and bindings that the cluster brings along. Pure decisions; RbacFeed carries them out.
#pragma once

#include <map>
#include <memory>
#include <string>

namespace google::protobuf {
class Message;
}
namespace k8s::io::api::rbac::v1 {
class ClusterRole;
}

namespace sluice::authorization {

using ClusterRolePtr = std::shared_ptr<const ::k8s::io::api::rbac::v1::ClusterRole>;

// Whether the role is one of those that `aggregated` draws on. A role never draws on itself.
[[nodiscard]] bool feeds(const ::k8s::io::api::rbac::v1::ClusterRole& role,
                         const ::k8s::io::api::rbac::v1::ClusterRole& aggregated);

// The role with the rules it ought to have, in the order of selectors and then of names, equal ones once; null when
// it has those already. `all` by name.
[[nodiscard]] std::unique_ptr<::k8s::io::api::rbac::v1::ClusterRole> aggregate(
    const ::k8s::io::api::rbac::v1::ClusterRole& aggregated,
    const std::map<std::string, ClusterRolePtr>& all);

// What a stored role or binding becomes so that it holds at least what `wanted` (of the same kind) says; null: it
// does. existing null: it is made. Rules and subjects that people added stay; metadata is added to. An object whose
// annotation autoupdate is "false" is left alone, and so is a binding of that name to another role, as roleRef cannot
// change.
[[nodiscard]] std::unique_ptr<google::protobuf::Message> reconcile(
    const google::protobuf::Message* existing, const google::protobuf::Message& wanted);

}  // namespace sluice::authorization
