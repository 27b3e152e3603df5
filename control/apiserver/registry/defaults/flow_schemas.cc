#include <initializer_list>
#include <vector>

#include "api/kubernetes/flowcontrol/v1/flowcontrol.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/defaults/defaults.h"

namespace sluice::registry {

namespace {

namespace flowv1 = ::k8s::io::api::flowcontrol::v1;
using flowv1::FlowSchema;
using Words = std::initializer_list<const char*>;

constexpr std::size_t kMandatory = 2;  // at the front
constexpr Words kAll = {"*"};
constexpr Words kUse = {"get", "create", "update"};

// A FlowSchema with one rule, made member by member.
class Maker {
public:
    Maker(const char* name, const char* level, std::int32_t precedence, const char* distinguisher) {
        object_.mutable_metadata()->set_name(name);
        (*object_.mutable_metadata()->mutable_annotations())[kAutoUpdateAnnotation] = "true";
        auto* spec = object_.mutable_spec();
        spec->mutable_prioritylevelconfiguration()->set_name(level);
        spec->set_matchingprecedence(precedence);
        if (distinguisher != nullptr) {
            spec->mutable_distinguishermethod()->set_type(distinguisher);
        }
        rule_ = spec->add_rules();
    }
    Maker& groups(Words names) {
        for (const char* name : names) {
            auto* subject = rule_->add_subjects();
            subject->set_kind("Group");
            subject->mutable_group()->set_name(name);
        }
        return *this;
    }
    Maker& users(Words names) {
        for (const char* name : names) {
            auto* subject = rule_->add_subjects();
            subject->set_kind("User");
            subject->mutable_user()->set_name(name);
        }
        return *this;
    }
    Maker& system_accounts(Words names) {
        for (const char* name : names) {
            auto* subject = rule_->add_subjects();
            subject->set_kind("ServiceAccount");
            subject->mutable_serviceaccount()->set_namespace_("kube-system");
            subject->mutable_serviceaccount()->set_name(name);
        }
        return *this;
    }
    Maker& resources(Words verbs, Words api_groups, Words names, Words namespaces, bool cluster) {
        auto* rule = rule_->add_resourcerules();
        for (const char* verb : verbs) rule->add_verbs(verb);
        for (const char* group : api_groups) rule->add_apigroups(group);
        for (const char* name : names) rule->add_resources(name);
        for (const char* space : namespaces) rule->add_namespaces(space);
        if (cluster) rule->set_clusterscope(true);
        return *this;
    }
    Maker& paths(Words verbs, Words urls) {
        auto* rule = rule_->add_nonresourcerules();
        for (const char* verb : verbs) rule->add_verbs(verb);
        for (const char* url : urls) rule->add_nonresourceurls(url);
        return *this;
    }
    Maker& everything() { return resources(kAll, kAll, kAll, kAll, true).paths(kAll, kAll); }
    operator FlowSchema() const { return object_; }  // NOLINT: makes the table below readable

private:
    FlowSchema object_;
    flowv1::PolicyRulesWithSubjects* rule_ = nullptr;
};

std::vector<FlowSchema> make_all() {
    const Words all_clients = {"system:unauthenticated", "system:authenticated"};
    return {
        Maker("exempt", "exempt", 1, nullptr).groups({"system:masters"}).everything(),
        Maker("catch-all", "catch-all", 10000, "ByUser").groups(all_clients).everything(),
        Maker("system-nodes", "system", 500, "ByUser").groups({"system:nodes"}).everything(),
        Maker("system-node-high", "node-high", 400, "ByUser")
            .groups({"system:nodes"})
            .resources(kAll, {""}, {"nodes", "nodes/status"}, kAll, true)
            .resources(kAll, {"coordination.k8s.io"}, {"leases"}, kAll, false),
        Maker("probes", "exempt", 2, nullptr)
            .groups(all_clients)
            .paths({"get"}, {"/healthz", "/readyz", "/livez"}),
        Maker("system-leader-election", "leader-election", 100, "ByUser")
            .users({"system:kube-controller-manager", "system:kube-scheduler"})
            .system_accounts({"*"})
            .resources(kUse, {"coordination.k8s.io"}, {"leases"}, kAll, false),
        Maker("endpoint-controller", "workload-high", 150, "ByUser")
            .users({"system:kube-controller-manager"})
            .system_accounts({"endpoint-controller", "endpointslicemirroring-controller"})
            .resources(kUse, {""}, {"endpoints"}, kAll, false),
        Maker("workload-leader-election", "leader-election", 200, "ByUser")
            .system_accounts({"*"})
            .resources(kUse, {""}, {"endpoints", "configmaps"}, kAll, false)
            .resources(kUse, {"coordination.k8s.io"}, {"leases"}, kAll, false),
        Maker("kube-controller-manager", "workload-high", 800, "ByNamespace")
            .users({"system:kube-controller-manager"})
            .everything(),
        Maker("kube-scheduler", "workload-high", 800, "ByNamespace")
            .users({"system:kube-scheduler"})
            .everything(),
        Maker("kube-system-service-accounts", "workload-high", 900, "ByNamespace")
            .system_accounts({"*"})
            .everything(),
        Maker("service-accounts", "workload-low", 9000, "ByUser")
            .groups({"system:serviceaccounts"})
            .everything(),
        Maker("global-default", "global-default", 9900, "ByUser").groups(all_clients).everything(),
    };
}

}  // namespace

std::span<const FlowSchema> default_flow_schemas() {
    static const std::vector<FlowSchema> all = make_all();
    return all;
}

const FlowSchema* mandatory_flow_schema(std::string_view name) {
    for (const FlowSchema& object : default_flow_schemas().first(kMandatory)) {
        if (object.metadata().name() == name) return &object;
    }
    return nullptr;
}

}  // namespace sluice::registry
