#include "control/apiserver/registry/quota/usage.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "api/kubernetes/core/v1/persistentvolumeclaim.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/resourcequota.pb.h"
#include "api/kubernetes/core/v1/service.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/table/cells.h"
#include "control/apiserver/registry/validation/quantities.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;
using codec::Quantity;
using google::protobuf::Message;

constexpr std::string_view kCountPrefix = "count/";
constexpr std::string_view kOfClass = ".storageclass.storage.k8s.io/";

// Core kinds that are also counted by their bare name.
constexpr std::string_view kBareNames[] = {"configmaps", "persistentvolumeclaims", "pods", "replicationcontrollers",
                                           "resourcequotas", "secrets", "services"};

bool is_standard(const std::string& name) {
    return name == "cpu" || name == "memory" || name == "ephemeral-storage" || name.starts_with("hugepages-");
}

void add(const std::string& name, std::int64_t count, Amounts* out) { (*out)[name] += Quantity::from_units(count); }

// A Pod that has ended, or should be gone for longer than it was given.
bool is_over(const corev1::Pod& pod) {
    if (pod.status().phase() == "Failed" || pod.status().phase() == "Succeeded") return true;
    const auto& meta = pod.metadata();
    return meta.has_deletiontimestamp() && meta.has_deletiongraceperiodseconds() &&
           unix_now() > meta.deletiontimestamp().seconds() + meta.deletiongraceperiodseconds();
}

void use_pod(const corev1::Pod& pod, Amounts* out) {
    if (is_over(pod)) return;
    add("pods", 1, out);
    for (const auto& [name, value] : pod_requests(pod, true)) {
        const bool extended = name.find('/') != std::string::npos;
        if (!is_standard(name) && !extended) continue;
        (*out)["requests." + name] += value;
        if (!extended) (*out)[name] += value;
    }
    for (const auto& [name, value] : pod_limits(pod, true)) {
        if (is_standard(name)) (*out)["limits." + name] += value;
    }
}

void use_service(const corev1::Service& service, Amounts* out) {
    const auto& spec = service.spec();
    const bool balancer = spec.type() == "LoadBalancer";
    std::int64_t ports = 0;
    if (spec.type() == "NodePort") ports = spec.ports_size();
    if (balancer) {
        add("services.loadbalancers", 1, out);
        if (!spec.has_allocateloadbalancernodeports() || spec.allocateloadbalancernodeports()) {
            ports = spec.ports_size();
        } else {
            ports = std::count_if(spec.ports().begin(), spec.ports().end(),
                                  [](const auto& port) { return port.nodeport() != 0; });
        }
    }
    if (ports > 0) add("services.nodeports", ports, out);
}

void use_claim(const corev1::PersistentVolumeClaim& claim, Amounts* out) {
    std::string storage_class = claim.spec().storageclassname();
    const auto beta = claim.metadata().annotations().find("volume.beta.kubernetes.io/storage-class");
    if (beta != claim.metadata().annotations().end()) storage_class = beta->second;
    const auto wanted = quantities_of(claim.spec().resources().requests());
    const auto storage = wanted.find("storage");
    if (storage != wanted.end()) (*out)["requests.storage"] += storage->second;
    if (storage_class.empty()) return;
    const std::string prefix = storage_class + std::string(kOfClass);
    add(prefix + "persistentvolumeclaims", 1, out);
    if (storage != wanted.end()) (*out)[prefix + "requests.storage"] += storage->second;
}

bool is_best_effort(const corev1::Pod& pod) {
    if (!pod.status().qosclass().empty()) return pod.status().qosclass() == "BestEffort";
    for (const auto& amounts : {pod_requests(pod, false), pod_limits(pod, false)}) {
        for (const char* name : {"cpu", "memory"}) {
            const auto found = amounts.find(name);
            if (found != amounts.end() && !found->second.is_zero()) return false;
        }
    }
    return true;
}

bool crosses_namespaces(const corev1::Pod& pod) {
    const auto any = [](const corev1::PodAffinityTerm& term) {
        return term.namespaces_size() > 0 || term.has_namespaceselector();
    };
    const auto in = [&any](const auto& affinity) {
        for (const auto& term : affinity.requiredduringschedulingignoredduringexecution()) {
            if (any(term)) return true;
        }
        for (const auto& term : affinity.preferredduringschedulingignoredduringexecution()) {
            if (any(term.podaffinityterm())) return true;
        }
        return false;
    };
    return in(pod.spec().affinity().podaffinity()) || in(pod.spec().affinity().podantiaffinity());
}

bool has_scope(const corev1::Pod& pod, const std::string& scope) {
    const bool terminating = pod.spec().has_activedeadlineseconds() && pod.spec().activedeadlineseconds() >= 0;
    if (scope == "Terminating") return terminating;
    if (scope == "NotTerminating") return !terminating;
    if (scope == "BestEffort") return is_best_effort(pod);
    if (scope == "NotBestEffort") return !is_best_effort(pod);
    if (scope == "PriorityClass") return !pod.spec().priorityclassname().empty();
    if (scope == "CrossNamespacePodAffinity") return crosses_namespaces(pod);
    return false;
}

bool meets(const corev1::Pod& pod, const corev1::ScopedResourceSelectorRequirement& wanted) {
    const bool there = has_scope(pod, wanted.scopename());
    if (wanted.operator_() == "Exists" || wanted.scopename() != "PriorityClass") {
        return wanted.operator_() == "DoesNotExist" ? !there : there;
    }
    if (wanted.operator_() == "DoesNotExist") return !there;
    const auto& values = wanted.values();
    const bool listed = std::find(values.begin(), values.end(), pod.spec().priorityclassname()) != values.end();
    if (wanted.operator_() == "In") return there && listed;
    return wanted.operator_() == "NotIn" && !listed;
}

}  // namespace

Amounts usage_of(const codec::KindInfo& kind, const Message& object) {
    Amounts out;
    const std::string& resource = kind.resource;
    const bool core = kind.gvk.group.empty();
    add(fmt::format("{}{}{}{}", kCountPrefix, resource, core ? "" : ".", kind.gvk.group), 1, &out);
    if (!core) return out;
    if (object.GetDescriptor() == corev1::Pod::descriptor()) {
        use_pod(static_cast<const corev1::Pod&>(object), &out);
        return out;
    }
    if (std::find(std::begin(kBareNames), std::end(kBareNames), resource) != std::end(kBareNames)) {
        add(resource, 1, &out);
    }
    if (object.GetDescriptor() == corev1::Service::descriptor()) {
        use_service(static_cast<const corev1::Service&>(object), &out);
    }
    if (object.GetDescriptor() == corev1::PersistentVolumeClaim::descriptor()) {
        use_claim(static_cast<const corev1::PersistentVolumeClaim&>(object), &out);
    }
    return out;
}

bool in_scope(const corev1::ResourceQuota& quota, const Message& object) {
    const auto& spec = quota.spec();
    const auto& expressions = spec.scopeselector().matchexpressions();
    if (spec.scopes().empty() && expressions.empty()) return true;
    if (object.GetDescriptor() != corev1::Pod::descriptor()) return false;
    const auto& pod = static_cast<const corev1::Pod&>(object);
    return std::all_of(spec.scopes().begin(), spec.scopes().end(),
                       [&pod](const std::string& scope) { return has_scope(pod, scope); }) &&
           std::all_of(expressions.begin(), expressions.end(),
                       [&pod](const auto& wanted) { return meets(pod, wanted); });
}

std::string unspecified(const std::set<std::string>& hard, const Message& object) {
    if (object.GetDescriptor() != corev1::Pod::descriptor()) return {};
    std::map<std::string, std::set<std::string>> missing;
    const auto look = [&](const corev1::Container& container) {
        std::set<std::string> given;
        for (const auto& [name, value] : container.resources().requests()) {
            given.insert(name);
            given.insert("requests." + name);
        }
        for (const auto& [name, value] : container.resources().limits()) given.insert("limits." + name);
        for (const std::string& name : hard) {
            const bool asked = name == "cpu" || name == "memory" || name == "requests.cpu" ||
                               name == "requests.memory" || name == "limits.cpu" || name == "limits.memory";
            if (asked && !given.contains(name)) missing[name].insert(container.name());
        }
    };
    const auto& spec = static_cast<const corev1::Pod&>(object).spec();
    for (const auto& container : spec.containers()) look(container);
    for (const auto& container : spec.initcontainers()) look(container);
    std::string out;
    for (const auto& [name, containers] : missing) {
        out += fmt::format("{}{} for: {}", out.empty() ? "" : "; ", name, fmt::join(containers, ","));
    }
    return out;
}

Counted counted_by(const std::string& name) {
    if (name.starts_with(kCountPrefix)) {
        const std::string what = name.substr(kCountPrefix.size());
        const std::size_t dot = what.find('.');
        if (dot == std::string::npos) return {"", what};
        return {what.substr(dot + 1), what.substr(0, dot)};
    }
    if (name.starts_with("services.")) return {"", "services"};
    if (name == "requests.storage" || name.find(kOfClass) != std::string::npos) return {"", "persistentvolumeclaims"};
    if (std::find(std::begin(kBareNames), std::end(kBareNames), name) != std::end(kBareNames)) return {"", name};
    return {"", "pods"};
}

}  // namespace sluice::registry
