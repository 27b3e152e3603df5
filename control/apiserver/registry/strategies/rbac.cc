// Roles and their bindings, for a namespace and for the whole cluster.
#include <fmt/format.h>

#include "api/codec/time.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/rbac/v1/rbac.pb.h"
#include "control/apiserver/registry/strategies/kinds.h"
#include "control/apiserver/registry/table/cells.h"
#include "control/apiserver/registry/validation/scheduling.h"

namespace sluice::registry {

namespace {

namespace rbacv1 = ::k8s::io::api::rbac::v1;

constexpr const char* kGroup = "rbac.authorization.k8s.io";

constexpr Column kRoleColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Created At", "date", "", "When the object was created."},
};
constexpr Column kBindingColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Role", "string", "", "The role that is granted."},
    {"Age", "string", "", "Time since the object was created."},
    {"Users", "string", "", "Users who have it.", 1},
    {"Groups", "string", "", "Groups that have it.", 1},
    {"ServiceAccounts", "string", "", "Service accounts that have it.", 1},
};

template <class List>
BadValue shown_list(const List& list) {
    return BadValue::verbatim(go_string_list(std::vector<std::string>(list.begin(), list.end())));
}

void check_rule(const rbacv1::PolicyRule& rule, bool namespaced, const std::string& field,
                FieldErrors* errors) {
    if (rule.verbs_size() == 0) {
        errors->required(field + ".verbs", "verbs must contain at least one value");
    }
    if (rule.nonresourceurls_size() > 0) {
        if (namespaced) {
            errors->invalid(field + ".nonResourceURLs", shown_list(rule.nonresourceurls()),
                            "namespaced rules cannot apply to non-resource URLs");
        }
        if (rule.apigroups_size() > 0 || rule.resources_size() > 0 ||
            rule.resourcenames_size() > 0) {
            errors->invalid(field + ".nonResourceURLs", shown_list(rule.nonresourceurls()),
                            "rules cannot apply to both regular resources and non-resource URLs");
        }
        return;
    }
    if (rule.apigroups_size() == 0) {
        errors->required(field + ".apiGroups",
                         "resource rules must supply at least one api group");
    }
    if (rule.resources_size() == 0) {
        errors->required(field + ".resources", "resource rules must supply at least one resource");
    }
}

// Role and ClusterRole.
template <class T>
class RoleStrategy : public TypedStrategy<T> {
public:
    using TypedStrategy<T>::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kRoleColumns; }
    [[nodiscard]] bool allow_create_on_update() const override { return true; }
    // Names of roles may hold colons and capitals, as system:node does.
    [[nodiscard]] NameCheck name_check() const override { return check_path_segment; }

protected:
    void check(const T& object, FieldErrors* errors) const override {
        TypedStrategy<T>::check(object, errors);
        for (int i = 0; i < object.rules_size(); ++i) {
            check_rule(object.rules(i), this->kind().namespaced, field_index("rules", i), errors);
        }
    }
    [[nodiscard]] std::vector<Cell> cells(const T& object) const override {
        return {object.metadata().name(),
                codec::format_time(object.metadata().creationtimestamp().seconds())};
    }
};

class ClusterRoleStrategy final : public RoleStrategy<rbacv1::ClusterRole> {
public:
    using RoleStrategy::RoleStrategy;

protected:
    void check(const rbacv1::ClusterRole& object, FieldErrors* errors) const override {
        RoleStrategy::check(object, errors);
        if (!object.has_aggregationrule()) return;
        const auto& selectors = object.aggregationrule().clusterroleselectors();
        const std::string field = "aggregationRule.clusterRoleSelectors";
        if (selectors.empty()) {
            errors->required(field, "at least one clusterRoleSelector required if aggregationRule "
                                    "is non-nil");
        }
        for (int i = 0; i < selectors.size(); ++i) {
            validate_label_selector(selectors[i], field_index(field, i), errors);
        }
    }
};

void check_subject(const rbacv1::Subject& subject, bool namespaced, const std::string& field,
                   FieldErrors* errors) {
    if (subject.name().empty()) errors->required(field + ".name");
    if (subject.kind() == "ServiceAccount") {
        if (!subject.name().empty()) {
            errors->invalid_all(field + ".name", subject.name(),
                                check_dns1123_subdomain(subject.name()));
        }
        if (!subject.apigroup().empty()) {
            errors->not_supported(field + ".apiGroup", subject.apigroup(), {""});
        }
        if (!namespaced && subject.namespace_().empty()) errors->required(field + ".namespace");
    } else if (subject.kind() == "User" || subject.kind() == "Group") {
        if (subject.apigroup() != kGroup) {
            errors->not_supported(field + ".apiGroup", subject.apigroup(), {kGroup});
        }
    } else {
        errors->not_supported(field + ".kind", subject.kind(), {"ServiceAccount", "User", "Group"});
    }
}

std::string joined(const google::protobuf::RepeatedPtrField<rbacv1::Subject>& subjects,
                   std::string_view kind) {
    std::string out;
    for (const auto& subject : subjects) {
        if (subject.kind() != kind) continue;
        if (!out.empty()) out += ", ";
        if (kind == "ServiceAccount") out += subject.namespace_() + "/";
        out += subject.name();
    }
    return out;
}

// RoleBinding and ClusterRoleBinding.
template <class T>
class BindingStrategy final : public TypedStrategy<T> {
public:
    using TypedStrategy<T>::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kBindingColumns; }
    [[nodiscard]] bool allow_create_on_update() const override { return true; }
    [[nodiscard]] NameCheck name_check() const override { return check_path_segment; }

protected:
    void defaults(T* object) const override {
        auto* role = object->mutable_roleref();
        if (role->apigroup().empty()) role->set_apigroup(kGroup);
        for (auto& subject : *object->mutable_subjects()) {
            if (subject.apigroup().empty() &&
                (subject.kind() == "User" || subject.kind() == "Group")) {
                subject.set_apigroup(kGroup);
            }
        }
    }
    void check(const T& object, FieldErrors* errors) const override {
        TypedStrategy<T>::check(object, errors);
        const bool namespaced = this->kind().namespaced;
        const auto& role = object.roleref();
        if (role.apigroup() != kGroup) {
            errors->not_supported("roleRef.apiGroup", role.apigroup(), {kGroup});
        }
        if (namespaced && role.kind() != "Role" && role.kind() != "ClusterRole") {
            errors->not_supported("roleRef.kind", role.kind(), {"Role", "ClusterRole"});
        } else if (!namespaced && role.kind() != "ClusterRole") {
            errors->not_supported("roleRef.kind", role.kind(), {"ClusterRole"});
        }
        if (role.name().empty()) {
            errors->required("roleRef.name");
        } else {
            errors->invalid_all("roleRef.name", role.name(), check_path_segment(role.name()));
        }
        for (int i = 0; i < object.subjects_size(); ++i) {
            check_subject(object.subjects(i), namespaced, field_index("subjects", i), errors);
        }
    }
    // Whoever may change who has a role could otherwise change which role that is.
    void check_update(const T& object, const T& old, FieldErrors* errors) const override {
        check(object, errors);
        const auto& now = object.roleref();
        if (this->same_field(object, old, "roleRef")) return;
        errors->invalid("roleRef",
                        BadValue::verbatim(fmt::format(
                            "rbac.RoleRef{{APIGroup:{}, Kind:{}, Name:{}}}",
                            go_quote(now.apigroup()), go_quote(now.kind()), go_quote(now.name()))),
                        "cannot change roleRef");
    }
    [[nodiscard]] std::vector<Cell> cells(const T& object) const override {
        return {object.metadata().name(),
                object.roleref().kind() + "/" + object.roleref().name(),
                age_cell(object.metadata()),
                joined(object.subjects(), "User"),
                joined(object.subjects(), "Group"),
                joined(object.subjects(), "ServiceAccount")};
    }
};

}  // namespace

std::unique_ptr<Strategy> make_role_strategy(const codec::KindInfo& kind) {
    return std::make_unique<RoleStrategy<rbacv1::Role>>(kind);
}

std::unique_ptr<Strategy> make_clusterrole_strategy(const codec::KindInfo& kind) {
    return std::make_unique<ClusterRoleStrategy>(kind);
}

std::unique_ptr<Strategy> make_rolebinding_strategy(const codec::KindInfo& kind) {
    return std::make_unique<BindingStrategy<rbacv1::RoleBinding>>(kind);
}

std::unique_ptr<Strategy> make_clusterrolebinding_strategy(const codec::KindInfo& kind) {
    return std::make_unique<BindingStrategy<rbacv1::ClusterRoleBinding>>(kind);
}

}  // namespace sluice::registry
