#include "control/apiserver/authorization/escalation.h"

#include <fmt/format.h>
#include <google/protobuf/message.h>
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>

#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/rbac/v1/rbac.pb.h"
#include "control/http/status_body.h"

namespace sluice::authorization {
namespace {

namespace rbacv1 = ::k8s::io::api::rbac::v1;

constexpr char kGroup[] = "rbac.authorization.k8s.io";

template <class List>
std::vector<Rule> rules_of(const List& list) {
    std::vector<Rule> out;
    for (const auto& rule : list) out.push_back(rule_from(rule));
    return out;
}

// One request each, as the check takes a rule apart.
std::vector<Rule> singles(const Rule& rule) {
    std::vector<Rule> out;
    static const std::vector<std::string> kNoName = {std::string()};
    for (const auto& group : rule.groups) {
        for (const auto& resource : rule.resources) {
            for (const auto& verb : rule.verbs) {
                for (const auto& name : rule.names.empty() ? kNoName : rule.names) {
                    Rule one{{verb}, {group}, {resource}, {}, {}};
                    if (!name.empty()) one.names = {name};
                    out.push_back(std::move(one));
                }
            }
        }
    }
    for (const auto& path : rule.paths) {
        for (const auto& verb : rule.verbs) out.push_back({{verb}, {}, {}, {}, {path}});
    }
    return out;
}

std::string shown(const Rule& rule) {
    std::string out;
    const auto add = [&](const char* name, const std::vector<std::string>& list) {
        if (list.empty()) return;
        out += fmt::format("{}{}:{}", out.empty() ? "" : ", ", name, quoted_list(list));
    };
    add("APIGroups", rule.groups);
    add("Resources", rule.resources);
    add("NonResourceURLs", rule.paths);
    add("ResourceNames", rule.names);
    add("Verbs", rule.verbs);
    return "{" + out + "}";
}

Escalation compare(const Authorizer& authorizer, const http::Identity& user, const std::string& name_space,
                   const std::vector<Rule>& wanted) {
    const Permitted held = authorizer.permitted(user, name_space);
    const auto missing = uncovered(held.rules, wanted);
    Escalation out;
    if (missing.empty()) return out;
    out.refused = true;
    out.message = fmt::format(
        "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        http::json_quote(user.user), quoted_list(user.groups), fmt::join(missing, "\n"));
    if (!held.error.empty()) out.message += "; resolution errors: " + held.error;
    return out;
}

bool may(const Authorizer& authorizer, const http::Identity& user, const char* verb, const char* resource,
         const std::string& name_space, const std::string& name) {
    Attributes asked;
    asked.user = user;
    asked.verb = verb;
    asked.is_resource = true;
    asked.group = kGroup;
    asked.version = "v1";
    asked.resource = resource;
    asked.namespace_name = name_space;
    asked.name = name;
    return authorizer.authorize(asked).allowed;
}

template <class List>
bool same(const List& a, const List& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
        return x.SerializeAsString() == y.SerializeAsString();
    });
}

Escalation check_role(const Authorizer& authorizer, const http::Identity& user, const rbacv1::Role& role,
                      const rbacv1::Role* old) {
    if (old != nullptr && same(role.rules(), old->rules())) return {};
    const auto& meta = role.metadata();
    if (may(authorizer, user, "escalate", "roles", meta.namespace_(), meta.name())) return {};
    return compare(authorizer, user, meta.namespace_(), rules_of(role.rules()));
}

Escalation check_cluster_role(const Authorizer& authorizer, const http::Identity& user,
                              const rbacv1::ClusterRole& role, const rbacv1::ClusterRole* old) {
    const bool same_aggregation =
        old != nullptr && role.has_aggregationrule() == old->has_aggregationrule() &&
        google::protobuf::util::MessageDifferencer::Equals(role.aggregationrule(), old->aggregationrule());
    if (same_aggregation && same(role.rules(), old->rules())) return {};
    if (may(authorizer, user, "escalate", "clusterroles", "", role.metadata().name())) return {};
    std::vector<Rule> wanted = rules_of(role.rules());
    // Whatever others label will come into an aggregated role, so that only who has everything may make one.
    const bool aggregates = role.has_aggregationrule() || (old != nullptr && old->has_aggregationrule());
    if (aggregates && !same_aggregation) {
        wanted.push_back({{"*"}, {"*"}, {"*"}, {}, {}});
        wanted.push_back({{"*"}, {}, {}, {}, {"*"}});
    }
    return compare(authorizer, user, "", wanted);
}

template <class Binding>
Escalation check_binding(const Authorizer& authorizer, const http::Identity& user, const Binding& binding,
                         const Binding* old) {
    if (old != nullptr && same(binding.subjects(), old->subjects()) &&
        binding.roleref().SerializeAsString() == old->roleref().SerializeAsString()) {
        return {};
    }
    const std::string& name_space = binding.metadata().namespace_();
    const bool cluster = binding.roleref().kind() == "ClusterRole";
    const char* resource = cluster ? "clusterroles" : "roles";
    const std::string& name = binding.roleref().name();
    if (may(authorizer, user, "bind", resource, name_space, name)) return {};
    const auto rules = authorizer.rbac().rules_of_role(cluster ? std::string() : name_space, name);
    if (rules == nullptr) {
        Escalation out;
        out.refused = true;
        out.role_missing = true;
        out.missing_resource = resource;
        out.missing_role = name;
        return out;
    }
    return compare(authorizer, user, name_space, *rules);
}

}  // namespace

std::string quoted_list(const std::vector<std::string>& list) {
    std::string out = "[";
    for (const std::string& item : list) {
        if (out.size() > 1) out += ' ';
        out += http::json_quote(item);
    }
    return out + "]";
}

std::vector<std::string> uncovered(const std::vector<Rule>& held, const std::vector<Rule>& wanted) {
    std::vector<Rule> missing;
    for (const Rule& rule : wanted) {
        for (Rule& one : singles(rule)) {
            if (covers(held, one)) continue;
            const auto together = std::find_if(missing.begin(), missing.end(), [&](const Rule& other) {
                return one.names.empty() && other.names.empty() && !one.resources.empty() &&
                       other.groups == one.groups && other.resources == one.resources;
            });
            if (together == missing.end()) {
                missing.push_back(std::move(one));
            } else if (std::find(together->verbs.begin(), together->verbs.end(), one.verbs[0]) ==
                       together->verbs.end()) {
                together->verbs.push_back(one.verbs[0]);
            }
        }
    }
    std::vector<std::string> out;
    for (const Rule& rule : missing) out.push_back(shown(rule));
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
}

Escalation check_escalation(const Authorizer& authorizer, const http::Identity& user,
                            const google::protobuf::Message& object,
                            const google::protobuf::Message* old) {
    if (in_group(user, kMastersGroup)) return {};
    const auto* type = object.GetDescriptor();
    if (type == rbacv1::Role::descriptor()) {
        return check_role(authorizer, user, static_cast<const rbacv1::Role&>(object),
                          static_cast<const rbacv1::Role*>(old));
    }
    if (type == rbacv1::ClusterRole::descriptor()) {
        return check_cluster_role(authorizer, user, static_cast<const rbacv1::ClusterRole&>(object),
                                  static_cast<const rbacv1::ClusterRole*>(old));
    }
    if (type == rbacv1::RoleBinding::descriptor()) {
        return check_binding(authorizer, user, static_cast<const rbacv1::RoleBinding&>(object),
                             static_cast<const rbacv1::RoleBinding*>(old));
    }
    if (type == rbacv1::ClusterRoleBinding::descriptor()) {
        return check_binding(authorizer, user, static_cast<const rbacv1::ClusterRoleBinding&>(object),
                             static_cast<const rbacv1::ClusterRoleBinding*>(old));
    }
    return {};
}

}  // namespace sluice::authorization
