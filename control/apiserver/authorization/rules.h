// One rule of a role, and what it permits (rbac.authorization.k8s.io/v1, PolicyRule). Pure values.
#pragma once

#include <string>
#include <vector>

#include "control/apiserver/authorization/attributes.h"

namespace k8s::io::api::rbac::v1 {
class PolicyRule;
}

namespace sluice::authorization {

struct Rule {
    std::vector<std::string> verbs;           // "*": all
    std::vector<std::string> groups;          // "*": all
    std::vector<std::string> resources;       // "*": all; "pods/log"; "*/scale": that subresource of all
    std::vector<std::string> names;           // empty: all
    std::vector<std::string> paths;           // of requests for no resource; "*" at the end: whatever follows
    auto operator<=>(const Rule&) const = default;
};

[[nodiscard]] Rule rule_from(const ::k8s::io::api::rbac::v1::PolicyRule& rule);

[[nodiscard]] bool permits(const Rule& rule, const Attributes& asked);

// Whether everything that `wanted` permits is permitted by the rules of `held` together: nobody may grant what he
// does not have. The wanted rule is taken apart into single requests, and each must be permitted by one held rule.
[[nodiscard]] bool covers(const std::vector<Rule>& held, const Rule& wanted);

}  // namespace sluice::authorization
