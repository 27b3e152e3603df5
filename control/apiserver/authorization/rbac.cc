#include "control/apiserver/authorization/rbac.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>

#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/rbac/v1/rbac.pb.h"

namespace sluice::authorization {
namespace {

constexpr char kServiceAccountUser[] = "system:serviceaccount:";

template <class RoleMessage>
std::shared_ptr<const std::vector<Rule>> rules_from(const RoleMessage& role) {
    auto out = std::make_shared<std::vector<Rule>>();
    out->reserve(static_cast<std::size_t>(role.rules_size()));
    for (const auto& rule : role.rules()) out->push_back(rule_from(rule));
    return out;
}

}  // namespace

std::string Rbac::index_key(const std::string& name_space, SubjectKind kind, std::string_view name) {
    // Namespaces have no colon, so that no name can be taken for another key.
    return fmt::format("{}:{}:{}", name_space, kind == SubjectKind::kUser ? 'u' : 'g', name);
}

void Rbac::put(const ClusterRole& role) {
    auto rules = rules_from(role);
    const std::unique_lock lock(mutex_);
    roles_[{"", role.metadata().name()}] = std::move(rules);
}

void Rbac::put(const Role& role) {
    auto rules = rules_from(role);
    const std::unique_lock lock(mutex_);
    roles_[{role.metadata().namespace_(), role.metadata().name()}] = std::move(rules);
}

void Rbac::remove_role(const std::string& name_space, const std::string& name) {
    const std::unique_lock lock(mutex_);
    roles_.erase({name_space, name});
}

namespace {

template <class Message, class Binding, class Kind>
void fill(const Message& from, Binding* out) {
    out->name_space = from.metadata().namespace_();
    out->name = from.metadata().name();
    out->role = from.roleref().name();
    out->cluster_role = from.roleref().kind() == "ClusterRole";
    for (const auto& subject : from.subjects()) {
        if (subject.kind() == "User") {
            out->subjects.emplace_back(Kind::kUser, subject.name());
        } else if (subject.kind() == "Group") {
            out->subjects.emplace_back(Kind::kGroup, subject.name());
        } else if (subject.kind() == "ServiceAccount") {
            const std::string& name_space =
                subject.namespace_().empty() ? out->name_space : subject.namespace_();
            // Without a namespace there is no such account: the binding of a cluster has none to lend.
            if (name_space.empty()) continue;
            out->subjects.emplace_back(Kind::kUser,
                                       fmt::format("{}{}:{}", kServiceAccountUser, name_space, subject.name()));
            out->shown.push_back(fmt::format("ServiceAccount \"{}/{}\"", subject.name(), name_space));
            continue;
        } else {
            continue;
        }
        out->shown.push_back(fmt::format("{} \"{}\"", subject.kind(), subject.name()));
    }
}

}  // namespace

void Rbac::put(const ClusterRoleBinding& binding) {
    auto out = std::make_shared<Binding>();
    fill<ClusterRoleBinding, Binding, SubjectKind>(binding, out.get());
    put_binding(std::move(out));
}

void Rbac::put(const RoleBinding& binding) {
    auto out = std::make_shared<Binding>();
    fill<RoleBinding, Binding, SubjectKind>(binding, out.get());
    put_binding(std::move(out));
}

void Rbac::drop(const Binding& binding) {
    for (const auto& [kind, name] : binding.subjects) {
        const auto found = by_subject_.find(index_key(binding.name_space, kind, name));
        if (found == by_subject_.end()) continue;
        std::erase_if(found->second, [&](const BindingPtr& entry) { return entry.get() == &binding; });
        if (found->second.empty()) by_subject_.erase(found);
    }
}

void Rbac::put_binding(BindingPtr binding) {
    const std::unique_lock lock(mutex_);
    BindingPtr& entry = bindings_[{binding->name_space, binding->name}];
    if (entry) drop(*entry);
    entry = binding;
    for (const auto& [kind, name] : binding->subjects) {
        auto& list = by_subject_[index_key(binding->name_space, kind, name)];
        // A subject that is named twice counts once.
        if (std::find(list.begin(), list.end(), binding) != list.end()) continue;
        const auto place = std::upper_bound(list.begin(), list.end(), binding->name,
                                            [](const std::string& key, const BindingPtr& other) {
                                                return key < other->name;
                                            });
        list.insert(place, binding);
    }
}

void Rbac::remove_binding(const std::string& name_space, const std::string& name) {
    const std::unique_lock lock(mutex_);
    const auto found = bindings_.find({name_space, name});
    if (found == bindings_.end()) return;
    drop(*found->second);
    bindings_.erase(found);
}

bool Rbac::visit_subject(const std::string& key, const std::string& name_space, const Visitor& visitor) const {
    const auto found = by_subject_.find(key);
    if (found == by_subject_.end()) return true;
    // The key's last part is the subject, as a list of one kind and name needs no search among the binding's.
    for (const BindingPtr& binding : found->second) {
        const auto role = roles_.find({binding->cluster_role ? std::string() : name_space, binding->role});
        std::string subject;
        for (std::size_t i = 0; i < binding->subjects.size(); ++i) {
            if (index_key(binding->name_space, binding->subjects[i].first, binding->subjects[i].second) == key) {
                subject = binding->shown[i];
                break;
            }
        }
        if (!visitor(*binding, subject, role == roles_.end() ? nullptr : role->second.get())) return false;
    }
    return true;
}

void Rbac::visit(const http::Identity& user, const std::string& name_space, const Visitor& visitor) const {
    const std::shared_lock lock(mutex_);
    const auto at_scope = [&](const std::string& scope) {
        if (!user.user.empty() &&
            !visit_subject(index_key(scope, SubjectKind::kUser, user.user), scope, visitor)) {
            return false;
        }
        return std::all_of(user.groups.begin(), user.groups.end(), [&](const std::string& group) {
            return visit_subject(index_key(scope, SubjectKind::kGroup, group), scope, visitor);
        });
    };
    if (at_scope("") && !name_space.empty()) at_scope(name_space);
}

Decision Rbac::authorize(const Attributes& asked) const {
    Decision out;
    std::vector<std::string> missing;
    visit(asked.user, asked.is_resource ? asked.namespace_name : std::string(),
          [&](const Binding& binding, const std::string& subject, const std::vector<Rule>* rules) {
              if (rules == nullptr) {
                  missing.push_back(binding.cluster_role
                                        ? fmt::format("clusterrole.rbac.authorization.k8s.io \"{}\" not found",
                                                      binding.role)
                                        : fmt::format("role.rbac.authorization.k8s.io \"{}\" not found",
                                                      binding.role));
                  return true;
              }
              const bool allowed =
                  std::any_of(rules->begin(), rules->end(), [&](const Rule& rule) { return permits(rule, asked); });
              if (!allowed) return true;
              out.allowed = true;
              out.reason = fmt::format(
                  "RBAC: allowed by {} of {} to {}",
                  binding.name_space.empty()
                      ? fmt::format("ClusterRoleBinding \"{}\"", binding.name)
                      : fmt::format("RoleBinding \"{}/{}\"", binding.name, binding.name_space),
                  fmt::format("{} \"{}\"", binding.cluster_role ? "ClusterRole" : "Role", binding.role), subject);
              return false;
          });
    if (!out.allowed && !missing.empty()) {
        out.reason = missing.size() == 1 ? "RBAC: " + missing.front()
                                         : fmt::format("RBAC: [{}]", fmt::join(missing, ", "));
    }
    return out;
}

Rbac::RulesOf Rbac::rules_of(const http::Identity& user, const std::string& name_space) const {
    RulesOf out;
    visit(user, name_space, [&](const Binding& binding, const std::string&, const std::vector<Rule>* rules) {
        if (rules == nullptr) {
            out.missing.push_back(binding.role);
            return true;
        }
        for (const Rule& rule : *rules) {
            if (std::find(out.rules.begin(), out.rules.end(), rule) == out.rules.end()) out.rules.push_back(rule);
        }
        return true;
    });
    return out;
}

std::shared_ptr<const std::vector<Rule>> Rbac::rules_of_role(const std::string& name_space,
                                                             const std::string& name) const {
    const std::shared_lock lock(mutex_);
    const auto found = roles_.find({name_space, name});
    return found == roles_.end() ? nullptr : found->second;
}

}  // namespace sluice::authorization
