#include "control/apiserver/authorization/aggregation.h"

#include <google/protobuf/message.h>
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <vector>

#include "api/codec/selector.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/rbac/v1/rbac.pb.h"
#include "control/apiserver/authorization/policy/policy.h"
#include "control/apiserver/authorization/rules.h"

namespace sluice::authorization {
namespace {

namespace rbacv1 = ::k8s::io::api::rbac::v1;
namespace metav1 = ::k8s::io::apimachinery::pkg::apis::meta::v1;

bool matches(const metav1::LabelSelector& selector, const rbacv1::ClusterRole& role) {
    const auto parsed = codec::LabelSelector::from_proto(selector);
    if (!parsed) return false;
    const auto& labels = role.metadata().labels();
    return parsed->matches([&](std::string_view key) -> std::optional<std::string_view> {
        const auto found = labels.find(std::string(key));
        if (found == labels.end()) return std::nullopt;
        return found->second;
    });
}

template <class Item, class List>
bool holds(const List& list, const Item& item) {
    const std::string wanted = item.SerializeAsString();
    return std::any_of(list.begin(), list.end(),
                       [&](const auto& other) { return other.SerializeAsString() == wanted; });
}

// Labels and annotations that are missing or differ. True: something changed.
bool merge_metadata(const metav1::ObjectMeta& wanted, metav1::ObjectMeta* meta) {
    bool changed = false;
    const auto merge = [&](const auto& from, auto* to) {
        for (const auto& [key, value] : from) {
            const auto found = to->find(key);
            if (found != to->end() && found->second == value) continue;
            (*to)[key] = value;
            changed = true;
        }
    };
    merge(wanted.labels(), meta->mutable_labels());
    merge(wanted.annotations(), meta->mutable_annotations());
    return changed;
}

bool left_alone(const metav1::ObjectMeta& meta) {
    const auto found = meta.annotations().find(kAutoUpdateAnnotation);
    return found != meta.annotations().end() && found->second == "false";
}

// Rules that the stored ones do not cover are added, as they are wanted.
template <class Role>
bool add_rules(const Role& wanted, Role* role) {
    std::vector<Rule> held;
    for (const auto& rule : role->rules()) held.push_back(rule_from(rule));
    bool changed = false;
    for (const auto& rule : wanted.rules()) {
        if (covers(held, rule_from(rule))) continue;
        *role->add_rules() = rule;
        changed = true;
    }
    return changed;
}

std::unique_ptr<google::protobuf::Message> copy_of(const google::protobuf::Message& message) {
    std::unique_ptr<google::protobuf::Message> out(message.New());
    out->CopyFrom(message);
    return out;
}

template <class Binding>
std::unique_ptr<google::protobuf::Message> reconcile_binding(const Binding& existing, const Binding& wanted) {
    if (existing.roleref().SerializeAsString() != wanted.roleref().SerializeAsString()) return nullptr;
    auto out = std::make_unique<Binding>(existing);
    bool changed = merge_metadata(wanted.metadata(), out->mutable_metadata());
    for (const auto& subject : wanted.subjects()) {
        if (holds(out->subjects(), subject)) continue;
        *out->add_subjects() = subject;
        changed = true;
    }
    if (!changed) return nullptr;
    return out;
}

template <class Role>
std::unique_ptr<Role> reconcile_rules(const Role& existing, const Role& wanted, bool* changed) {
    auto out = std::make_unique<Role>(existing);
    *changed = merge_metadata(wanted.metadata(), out->mutable_metadata());
    return out;
}

std::unique_ptr<google::protobuf::Message> reconcile_cluster_role(const rbacv1::ClusterRole& existing,
                                                                  const rbacv1::ClusterRole& wanted) {
    bool changed = false;
    auto out = reconcile_rules(existing, wanted, &changed);
    // The rules of an aggregated role follow from others.
    if (!wanted.has_aggregationrule()) changed = add_rules(wanted, out.get()) || changed;
    for (const auto& selector : wanted.aggregationrule().clusterroleselectors()) {
        const auto& held = out->aggregationrule().clusterroleselectors();
        if (std::any_of(held.begin(), held.end(), [&](const auto& other) {
                return google::protobuf::util::MessageDifferencer::Equals(other, selector);
            })) {
            continue;
        }
        *out->mutable_aggregationrule()->add_clusterroleselectors() = selector;
        changed = true;
    }
    if (!changed) return nullptr;
    return out;
}

}  // namespace

bool feeds(const rbacv1::ClusterRole& role, const rbacv1::ClusterRole& aggregated) {
    if (role.metadata().name() == aggregated.metadata().name()) return false;
    const auto& selectors = aggregated.aggregationrule().clusterroleselectors();
    return std::any_of(selectors.begin(), selectors.end(),
                       [&](const auto& selector) { return matches(selector, role); });
}

std::unique_ptr<rbacv1::ClusterRole> aggregate(const rbacv1::ClusterRole& aggregated,
                                               const std::map<std::string, ClusterRolePtr>& all) {
    auto out = std::make_unique<rbacv1::ClusterRole>(aggregated);
    out->clear_rules();
    for (const auto& selector : aggregated.aggregationrule().clusterroleselectors()) {
        for (const auto& [name, role] : all) {
            if (name == aggregated.metadata().name() || !matches(selector, *role)) continue;
            for (const auto& rule : role->rules()) {
                if (!holds(out->rules(), rule)) *out->add_rules() = rule;
            }
        }
    }
    const auto same = [](const auto& a, const auto& b) {
        return a.SerializeAsString() == b.SerializeAsString();
    };
    if (std::equal(out->rules().begin(), out->rules().end(), aggregated.rules().begin(),
                   aggregated.rules().end(), same)) {
        return nullptr;
    }
    return out;
}

std::unique_ptr<google::protobuf::Message> reconcile(const google::protobuf::Message* existing,
                                                     const google::protobuf::Message& wanted) {
    if (existing == nullptr) return copy_of(wanted);
    const auto* type = wanted.GetDescriptor();
    if (type == rbacv1::ClusterRole::descriptor()) {
        const auto& stored = static_cast<const rbacv1::ClusterRole&>(*existing);
        if (left_alone(stored.metadata())) return nullptr;
        return reconcile_cluster_role(stored, static_cast<const rbacv1::ClusterRole&>(wanted));
    }
    if (type == rbacv1::Role::descriptor()) {
        const auto& stored = static_cast<const rbacv1::Role&>(*existing);
        if (left_alone(stored.metadata())) return nullptr;
        bool changed = false;
        auto out = reconcile_rules(stored, static_cast<const rbacv1::Role&>(wanted), &changed);
        changed = add_rules(static_cast<const rbacv1::Role&>(wanted), out.get()) || changed;
        if (!changed) return nullptr;
        return out;
    }
    if (type == rbacv1::ClusterRoleBinding::descriptor()) {
        const auto& stored = static_cast<const rbacv1::ClusterRoleBinding&>(*existing);
        if (left_alone(stored.metadata())) return nullptr;
        return reconcile_binding(stored, static_cast<const rbacv1::ClusterRoleBinding&>(wanted));
    }
    const auto& stored = static_cast<const rbacv1::RoleBinding&>(*existing);
    if (left_alone(stored.metadata())) return nullptr;
    return reconcile_binding(stored, static_cast<const rbacv1::RoleBinding&>(wanted));
}

}  // namespace sluice::authorization
