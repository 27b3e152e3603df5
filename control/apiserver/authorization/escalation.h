// Nobody grants what he does not have: roles hold no rule, and bindings no role, beyond what their author may do,
// unless he may escalate (roles) or bind (bindings). As kube-apiserver's storage of RBAC objects checks it.
#pragma once

#include <string>
#include <vector>

#include "control/apiserver/authorization/authorizer.h"

namespace google::protobuf {
class Message;
}
namespace sluice::codec {
struct KindInfo;
}

namespace sluice::authorization {

struct Escalation {
    bool refused = false;
    bool role_missing = false;  // the binding names a role that does not exist: missing_role, a 404
    std::string missing_resource;  // "clusterroles"
    std::string missing_role;
    std::string message;  // what the 403 says after "is forbidden: "
};

// object: a Role, ClusterRole, RoleBinding or ClusterRoleBinding as it would be stored; old: null at creation.
// Other kinds are never refused.
[[nodiscard]] Escalation check_escalation(const Authorizer& authorizer, const http::Identity& user,
                                          const google::protobuf::Message& object,
                                          const google::protobuf::Message* old);

// The rules of `wanted` that `held` does not cover, in the form of messages: single requests, verbs of one resource
// together, sorted: `{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}`.
[[nodiscard]] std::vector<std::string> uncovered(const std::vector<Rule>& held, const std::vector<Rule>& wanted);

// A list as Go's %q prints it: ["a" "b"].
[[nodiscard]] std::string quoted_list(const std::vector<std::string>& list);

}  // namespace sluice::authorization
