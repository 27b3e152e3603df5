// PodSecurity: the plugin. See README.md.
#include <fmt/format.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <set>

#include "api/kubernetes/apps/v1/apps.pb.h"
#include "api/kubernetes/apps/v1/statefulset.pb.h"
#include "api/kubernetes/batch/v1/cronjob.pb.h"
#include "api/kubernetes/batch/v1/job.pb.h"
#include "api/kubernetes/core/v1/namespace.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/podtemplate.pb.h"
#include "api/kubernetes/core/v1/replicationcontroller.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/admission/admission.h"
#include "control/apiserver/admission/pod_security/evaluator.h"
#include "control/apiserver/registry/rest/listing.h"
#include "control/apiserver/registry/validation/field_errors.h"
#include "control/http/forwarding_responder.h"

namespace sluice::admission {
namespace {

namespace appsv1 = ::k8s::io::api::apps::v1;
namespace batchv1 = ::k8s::io::api::batch::v1;
namespace corev1 = ::k8s::io::api::core::v1;
namespace ps = pod_security;

using registry::AdmissionRequest;
using registry::Answer;
using registry::go_quote;
using registry::Message;
using registry::refuse;

// Pods that are looked at when the labels of their namespace change, and for how long.
constexpr std::size_t kMaxPodsChecked = 3'000;
constexpr std::chrono::seconds kCheckTime{1};

// Whatever else changes a Pod is looked at, also a subresource that does not exist yet.
bool is_ignored(std::string_view subresource) {
    static const std::set<std::string_view> kIgnored = {"exec", "attach",      "binding", "eviction",
                                                        "log",  "portforward", "proxy",   "status"};
    return kIgnored.contains(subresource);
}

ps::Policy policy_in(const corev1::Namespace& space, std::vector<ps::LabelError>* errors) {
    const auto& labels = space.metadata().labels();
    return ps::policy_of(
        [&labels](const std::string& name) {
            const auto found = labels.find(name);
            return found == labels.end() ? nullptr : &found->second;
        },
        errors);
}

registry::FieldErrors field_errors(const std::vector<ps::LabelError>& errors) {
    registry::FieldErrors out;
    for (const auto& error : errors) out.invalid("metadata.labels[" + error.label + "]", error.value, error.why);
    return out;
}

// What a workload makes its Pods of; null for other objects, and for a controller that has none.
const corev1::PodTemplateSpec* template_of(const Message& object) {
    const auto* type = object.GetDescriptor();
    if (type == appsv1::Deployment::descriptor()) {
        return &static_cast<const appsv1::Deployment&>(object).spec().template_();
    }
    if (type == appsv1::ReplicaSet::descriptor()) {
        return &static_cast<const appsv1::ReplicaSet&>(object).spec().template_();
    }
    if (type == appsv1::StatefulSet::descriptor()) {
        return &static_cast<const appsv1::StatefulSet&>(object).spec().template_();
    }
    if (type == appsv1::DaemonSet::descriptor()) {
        return &static_cast<const appsv1::DaemonSet&>(object).spec().template_();
    }
    if (type == batchv1::Job::descriptor()) return &static_cast<const batchv1::Job&>(object).spec().template_();
    if (type == batchv1::CronJob::descriptor()) {
        return &static_cast<const batchv1::CronJob&>(object).spec().jobtemplate().spec().template_();
    }
    if (type == corev1::PodTemplate::descriptor()) {
        return &static_cast<const corev1::PodTemplate&>(object).template_();
    }
    if (type == corev1::ReplicationController::descriptor()) {
        const auto& spec = static_cast<const corev1::ReplicationController&>(object).spec();
        return spec.has_template_() ? &spec.template_() : nullptr;
    }
    return nullptr;
}

// Of what may change in a Pod, images and debug containers matter.
bool is_significant(const corev1::Pod& now, const corev1::Pod& old) {
    const auto differ = [](const auto& after, const auto& before) {
        if (after.size() != before.size()) return true;
        for (int i = 0; i < after.size(); ++i) {
            if (after[i].image() != before[i].image()) return true;
        }
        return false;
    };
    if (differ(now.spec().containers(), old.spec().containers())) return true;
    if (differ(now.spec().initcontainers(), old.spec().initcontainers())) return true;
    for (const auto& container : now.spec().ephemeralcontainers()) {
        const auto& common = container.ephemeralcontainercommon();
        const auto& before = old.spec().ephemeralcontainers();
        const auto known = std::find_if(before.begin(), before.end(), [&common](const auto& candidate) {
            return candidate.ephemeralcontainercommon().name() == common.name();
        });
        if (known == before.end() || known->ephemeralcontainercommon().image() != common.image()) return true;
    }
    return false;
}

void annotate(const AdmissionRequest& request, const std::string& name, const std::string& value) {
    http::annotate(*request.call.responder, "pod-security.kubernetes.io/" + name, value);
}

// enforce: for Pods. Templates make Pods that are refused later; those who write them are only warned.
Answer<void> check_spec(const AdmissionRequest& request, const codec::metav1::ObjectMeta& meta,
                        const corev1::PodSpec& spec, bool enforce) {
    const auto space = registry::read_stored(*request.call.core, registry::kind_named("", "v1", "namespaces"), "",
                                             request.name_space);
    // Whoever writes into it is told elsewhere that it is gone.
    if (space == nullptr) return {};
    std::vector<ps::LabelError> errors;
    const ps::Policy policy = policy_in(static_cast<const corev1::Namespace&>(space->message()), &errors);
    if (errors.empty() && policy.is_privileged()) {
        if (enforce) annotate(request, "enforce-policy", to_string(ps::Standard{}));
        return {};
    }
    if (!errors.empty()) annotate(request, "error", "Failed to parse policy: " + field_errors(errors).to_string());
    std::string refusal;
    if (enforce) {
        annotate(request, "enforce-policy", to_string(policy.enforce));
        const auto found = ps::evaluate(policy.enforce, meta, spec);
        if (!found.empty()) {
            refusal = fmt::format("violates PodSecurity {}: {}", go_quote(to_string(policy.enforce)), detailed(found));
        }
    }
    const auto would = [&](const ps::Standard& standard) {
        const auto found = ps::evaluate(standard, meta, spec);
        if (found.empty()) return std::string();
        return fmt::format("would violate PodSecurity {}: {}", go_quote(to_string(standard)), detailed(found));
    };
    if (const std::string text = would(policy.audit); !text.empty()) annotate(request, "audit-violations", text);
    if (!refusal.empty()) return refuse(registry::forbidden(request.kind, request.name, refusal));
    if (request.again) return {};
    if (std::string text = would(policy.warn); !text.empty()) request.call.warnings.push_back(std::move(text));
    return {};
}

// Pods one of each controller first, as those of one are alike.
std::vector<registry::ObjectPtr> in_turn(std::vector<registry::ObjectPtr> pods) {
    std::set<std::string> controllers;
    std::vector<registry::ObjectPtr> out;
    std::vector<registry::ObjectPtr> alike;
    for (auto& pod : pods) {
        const auto& owners = pod->meta().ownerreferences();
        const auto owner =
            std::find_if(owners.begin(), owners.end(), [](const auto& one) { return one.controller(); });
        const bool first = owner == owners.end() || controllers.insert(owner->uid()).second;
        (first ? out : alike).push_back(std::move(pod));
    }
    std::move(alike.begin(), alike.end(), std::back_inserter(out));
    return out;
}

// What whoever tightens a namespace's policy is warned of.
void warn_of_pods(const AdmissionRequest& request, const ps::Standard& standard) {
    struct Alike {
        std::string first;
        std::size_t count = 0;
    };
    const auto pods = in_turn(registry::list_stored(*request.call.core, registry::kind_named("", "v1", "pods"),
                                                    std::string(request.name)));
    const auto until = std::chrono::steady_clock::now() + kCheckTime;
    std::map<std::string, Alike> by_reason;
    std::size_t checked = 0;
    for (const auto& stored : pods) {
        if (checked == kMaxPodsChecked || std::chrono::steady_clock::now() > until) break;
        ++checked;
        const auto& pod = static_cast<const corev1::Pod&>(stored->message());
        const auto found = ps::evaluate(standard, pod.metadata(), pod.spec());
        if (found.empty()) continue;
        Alike& alike = by_reason[reasons(found)];
        if (alike.count++ == 0 || pod.metadata().name() < alike.first) alike.first = pod.metadata().name();
    }
    auto& warnings = request.call.warnings;
    if (checked < pods.size()) {
        warnings.push_back(fmt::format("new PodSecurity enforce level only checked against the first {} of {} existing "
                                       "pods",
                                       checked, pods.size()));
    }
    if (by_reason.empty()) return;
    warnings.push_back(fmt::format("existing pods in namespace {} violate the new PodSecurity enforce level {}",
                                   go_quote(std::string(request.name)), go_quote(to_string(standard))));
    std::vector<std::string> lines;
    for (const auto& [reason, alike] : by_reason) {
        std::string who = alike.first;
        if (alike.count == 2) who += " (and 1 other pod)";
        if (alike.count > 2) who += fmt::format(" (and {} other pods)", alike.count - 1);
        lines.push_back(who + ": " + reason);
    }
    std::sort(lines.begin(), lines.end());
    warnings.insert(warnings.end(), lines.begin(), lines.end());
}

Answer<void> check_namespace(const AdmissionRequest& request) {
    if (!request.subresource.empty()) return {};
    std::vector<ps::LabelError> errors;
    const auto policy = policy_in(static_cast<const corev1::Namespace&>(*request.object), &errors);
    std::vector<ps::LabelError> old_errors;
    ps::Policy old;
    if (request.old != nullptr) old = policy_in(static_cast<const corev1::Namespace&>(*request.old), &old_errors);
    if (!errors.empty() && (request.old == nullptr || errors != old_errors)) {
        return refuse(registry::invalid(request.kind, request.name, field_errors(errors)));
    }
    if (request.old == nullptr || request.again) return {};
    const bool relaxed = policy.enforce.version == old.enforce.version && policy.enforce.level <= old.enforce.level;
    if (policy.enforce.level != ps::Level::kPrivileged && !relaxed) warn_of_pods(request, policy.enforce);
    return {};
}

}  // namespace

Answer<void> check_pod_security(const AdmissionRequest& request) {
    if (request.object == nullptr || request.operation == registry::Operation::kDelete) return {};
    const auto* type = request.object->GetDescriptor();
    if (type == corev1::Namespace::descriptor()) return check_namespace(request);
    if (type == corev1::Pod::descriptor()) {
        if (is_ignored(request.subresource)) return {};
        const auto& pod = static_cast<const corev1::Pod&>(*request.object);
        if (request.old != nullptr && !is_significant(pod, static_cast<const corev1::Pod&>(*request.old))) return {};
        return check_spec(request, pod.metadata(), pod.spec(), true);
    }
    if (!request.subresource.empty()) return {};
    const auto* made_of = template_of(*request.object);
    return made_of == nullptr ? Answer<void>() : check_spec(request, made_of->metadata(), made_of->spec(), false);
}

}  // namespace sluice::admission
