// Kubernetes' bootstrap policy (1.32) and our own additions, as the objects that a cluster starts with.
//
// The facts are kept as text, split by subject (users.cc, system.cc, controllers.cc, namespaces.cc, sluice.cc), one
// line a rule, and read once at start:
//
//   ClusterRole NAME [label=KEY]... [aggregate=KEY]     opens a role; each KEY gets the value "true"
//   Role NAMESPACE NAME
//   Controller NAME            ClusterRole system:controller:NAME, bound to ServiceAccount kube-system/NAME
//     VERBS GROUPS RESOURCES [NAMES]                    a rule; lists with commas
//     VERBS urls PATHS
//   ClusterRoleBinding NAME ROLE SUBJECT...             SUBJECT: User=NAME, Group=NAME, ServiceAccount=NAMESPACE/NAME
//   RoleBinding NAMESPACE NAME ROLE SUBJECT...          of the Role ROLE of that namespace
//
// A line that ends with a backslash goes on in the next one. GROUPS: "core" is the group without a name. VERBS:
// "read" is get,list,watch, "write" what changes objects.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "api/base/result.h"

namespace google::protobuf {
class Message;
}

namespace sluice::authorization {

using PolicyObject = std::shared_ptr<const google::protobuf::Message>;

// Roles and bindings of rbac.authorization.k8s.io/v1, each with the label and the annotation of bootstrap objects,
// rules sorted as kube-apiserver stores them. Roles come before the bindings of their text.
// Errors: kInvalidArgument with the line.
Result<std::vector<PolicyObject>> parse_policy(std::string_view text);

// All of the policy; made once.
[[nodiscard]] const std::vector<PolicyObject>& default_policy();

// The label and the annotation.
inline constexpr char kBootstrappingLabel[] = "kubernetes.io/bootstrapping";
inline constexpr char kBootstrappingValue[] = "rbac-defaults";
inline constexpr char kAutoUpdateAnnotation[] = "rbac.authorization.kubernetes.io/autoupdate";

// The parts of the text.
[[nodiscard]] std::string_view policy_for_users();
[[nodiscard]] std::string_view policy_for_system();
[[nodiscard]] std::string_view policy_for_controllers();
[[nodiscard]] std::string_view policy_for_namespaces();
[[nodiscard]] std::string_view policy_for_sluice();

}  // namespace sluice::authorization
