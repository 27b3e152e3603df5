// Role-based access control (rbac.authorization.k8s.io/v1): who has which roles where, and what follows for a request.
//
// Bindings are indexed by subject, so that a request costs a look-up for its user and each of its groups, however many
// bindings there are. Roles are kept apart from bindings: either may come first.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "control/apiserver/authorization/rules.h"

namespace k8s::io::api::rbac::v1 {
class ClusterRole;
class ClusterRoleBinding;
class Role;
class RoleBinding;
}

namespace sluice::authorization {

struct Decision {
    bool allowed = false;
    // Which binding permits it, or what was amiss with bindings that might have; empty: nobody has anything to say.
    std::string reason;
};

// Thread-safe. A namespace of "" stands for the cluster.
class Rbac {
public:
    using ClusterRole = ::k8s::io::api::rbac::v1::ClusterRole;
    using ClusterRoleBinding = ::k8s::io::api::rbac::v1::ClusterRoleBinding;
    using Role = ::k8s::io::api::rbac::v1::Role;
    using RoleBinding = ::k8s::io::api::rbac::v1::RoleBinding;

    void put(const ClusterRole& role);
    void put(const Role& role);
    void put(const ClusterRoleBinding& binding);
    void put(const RoleBinding& binding);
    void remove_role(const std::string& name_space, const std::string& name);
    void remove_binding(const std::string& name_space, const std::string& name);

    [[nodiscard]] Decision authorize(const Attributes& asked) const;

    struct RulesOf {
        std::vector<Rule> rules;  // in the order of bindings, equal ones once
        std::vector<std::string> missing;  // roles that bindings name and that are not there
    };
    // All that the user may do in the namespace, what holds for the cluster included.
    [[nodiscard]] RulesOf rules_of(const http::Identity& user, const std::string& name_space) const;
    // Of a role; nullopt-like null: there is none.
    [[nodiscard]] std::shared_ptr<const std::vector<Rule>> rules_of_role(const std::string& name_space,
                                                                         const std::string& name) const;

private:
    enum class SubjectKind : std::uint8_t { kUser, kGroup };
    struct Binding {
        std::string name_space;
        std::string name;
        std::string role;
        bool cluster_role = false;
        std::vector<std::pair<SubjectKind, std::string>> subjects;  // service accounts as their user names
        std::vector<std::string> shown;                             // the same for people: `Group "a"`
    };
    using BindingPtr = std::shared_ptr<const Binding>;
    using Key = std::pair<std::string, std::string>;  // namespace, name
    // What a visitor is told of: a binding for the user, by which of its subjects, and the rules; false ends.
    using Visitor = std::function<bool(const Binding&, const std::string& subject, const std::vector<Rule>*)>;

    void put_binding(BindingPtr binding);
    void drop(const Binding& binding);
    void visit(const http::Identity& user, const std::string& name_space, const Visitor& visitor) const;
    bool visit_subject(const std::string& subject, const std::string& name_space, const Visitor& visitor) const;
    static std::string index_key(const std::string& name_space, SubjectKind kind, std::string_view name);

    mutable std::shared_mutex mutex_;
    std::map<Key, std::shared_ptr<const std::vector<Rule>>> roles_;
    std::map<Key, BindingPtr> bindings_;
    std::unordered_map<std::string, std::vector<BindingPtr>> by_subject_;  // by index_key, ordered by name
};

}  // namespace sluice::authorization
