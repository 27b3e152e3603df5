#include "control/apiserver/registry/validation/pod.h"

#include <fmt/format.h>
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>

#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/podtemplate.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/validation/containers.h"
#include "control/apiserver/registry/validation/names.h"
#include "control/apiserver/registry/validation/object_meta.h"
#include "control/apiserver/registry/validation/scheduling.h"
#include "control/apiserver/registry/validation/volumes.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;
using google::protobuf::util::MessageDifferencer;

constexpr std::int64_t kMaxDeadline = 2147483647;

bool is_one_of(std::string_view value, std::initializer_list<std::string_view> allowed) {
    return std::find(allowed.begin(), allowed.end(), value) != allowed.end();
}

void check_dns(const corev1::PodSpec& spec, const std::string& field, FieldErrors* errors) {
    if (!is_one_of(spec.dnspolicy(), {"ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"})) {
        errors->not_supported(field + ".dnsPolicy", spec.dnspolicy(),
                              {"ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"});
    }
    const std::string at = field + ".dnsConfig";
    if (spec.dnspolicy() == "None") {
        if (!spec.has_dnsconfig()) {
            errors->required(at, "must provide `dnsConfig` when `dnsPolicy` is None");
        } else if (spec.dnsconfig().nameservers_size() == 0) {
            errors->required(at + ".nameservers",
                             "must provide at least one DNS nameserver when `dnsPolicy` is None");
        }
    }
    if (!spec.has_dnsconfig()) return;
    constexpr int kMaxNameservers = 3;
    constexpr int kMaxSearches = 32;
    constexpr std::size_t kMaxSearchBytes = 2048;
    const auto& config = spec.dnsconfig();
    const auto listed = [](const auto& list) {
        return BadValue::verbatim(
            go_string_list(std::vector<std::string>(list.begin(), list.end())));
    };
    if (config.nameservers_size() > kMaxNameservers) {
        errors->invalid(at + ".nameservers", listed(config.nameservers()),
                        "must not have more than 3 nameservers");
    }
    for (int i = 0; i < config.nameservers_size(); ++i) {
        errors->invalid_all(field_index(at + ".nameservers", i), config.nameservers(i),
                            check_ip(config.nameservers(i)));
    }
    std::size_t bytes = 0;
    for (int i = 0; i < config.searches_size(); ++i) {
        std::string search = config.searches(i);
        bytes += search.size() + (i == 0 ? 0 : 1);
        // The root domain alone is a search list of its own; a trailing dot says "fully qualified".
        if (search == ".") continue;
        if (search.ends_with('.')) search.pop_back();
        errors->invalid_all(field_index(at + ".searches", i), search,
                            check_dns1123_subdomain(search));
    }
    if (config.searches_size() > kMaxSearches) {
        errors->invalid(at + ".searches", listed(config.searches()),
                        "must not have more than 32 search paths");
    }
    if (bytes > kMaxSearchBytes) {
        errors->invalid(at + ".searches", listed(config.searches()),
                        "must not have more than 2048 characters (including spaces) in the search "
                        "list");
    }
    for (int i = 0; i < config.options_size(); ++i) {
        if (config.options(i).name().empty()) {
            errors->required(field_index(at + ".options", i) + ".name");
        }
    }
}

void check_host_aliases(const corev1::PodSpec& spec, const std::string& field,
                        FieldErrors* errors) {
    for (int i = 0; i < spec.hostaliases_size(); ++i) {
        const auto& alias = spec.hostaliases(i);
        const std::string at = field_index(field, i);
        errors->invalid_all(at + ".ip", alias.ip(), check_ip(alias.ip()));
        for (int j = 0; j < alias.hostnames_size(); ++j) {
            errors->invalid_all(field_index(at + ".hostnames", j), alias.hostnames(j),
                                check_dns1123_subdomain(alias.hostnames(j)));
        }
    }
}

void check_pod_security(const corev1::PodSecurityContext& context, const std::string& field,
                        FieldErrors* errors) {
    if (context.has_runasuser()) {
        validate_linux_id(context.runasuser(), field + ".runAsUser", errors);
    }
    if (context.has_runasgroup()) {
        validate_linux_id(context.runasgroup(), field + ".runAsGroup", errors);
    }
    if (context.has_fsgroup()) validate_linux_id(context.fsgroup(), field + ".fsGroup", errors);
    for (int i = 0; i < context.supplementalgroups_size(); ++i) {
        validate_linux_id(context.supplementalgroups(i),
                          field_index(field + ".supplementalGroups", i), errors);
    }
    if (context.has_fsgroupchangepolicy() &&
        !is_one_of(context.fsgroupchangepolicy(), {"Always", "OnRootMismatch"})) {
        errors->not_supported(field + ".fsGroupChangePolicy", context.fsgroupchangepolicy(),
                              {"Always", "OnRootMismatch"});
    }
}

void check_identity(const corev1::PodSpec& spec, const std::string& field, FieldErrors* errors) {
    if (!spec.serviceaccountname().empty()) {
        errors->invalid_all(field + ".serviceAccountName", spec.serviceaccountname(),
                            check_dns1123_subdomain(spec.serviceaccountname()));
    }
    if (!spec.nodename().empty()) {
        errors->invalid_all(field + ".nodeName", spec.nodename(),
                            check_dns1123_subdomain(spec.nodename()));
        if (spec.schedulinggates_size() > 0) {
            errors->forbidden(field + ".nodeName",
                              "cannot be set until all schedulingGates have been cleared");
        }
    }
    if (!spec.hostname().empty()) {
        errors->invalid_all(field + ".hostname", spec.hostname(),
                            check_dns1123_label(spec.hostname()));
    }
    if (!spec.subdomain().empty()) {
        errors->invalid_all(field + ".subdomain", spec.subdomain(),
                            check_dns1123_label(spec.subdomain()));
    }
    if (!spec.priorityclassname().empty()) {
        errors->invalid_all(field + ".priorityClassName", spec.priorityclassname(),
                            check_dns1123_subdomain(spec.priorityclassname()));
    }
    if (spec.has_runtimeclassname()) {
        errors->invalid_all(field + ".runtimeClassName", spec.runtimeclassname(),
                            check_dns1123_subdomain(spec.runtimeclassname()));
    }
}

template <class Containers>
void check_images(const Containers& containers, const std::string& field, FieldErrors* errors) {
    for (int i = 0; i < containers.size(); ++i) {
        if (containers[i].image().empty()) errors->required(field_index(field, i) + ".image");
    }
}

// Old tolerations must stay. The duration of one may be changed, since it is matched by all its other members.
bool only_adds(const corev1::PodSpec& now, const corev1::PodSpec& was) {
    const auto kept = [&now](const corev1::Toleration& old) {
        return std::any_of(now.tolerations().begin(), now.tolerations().end(),
                           [&old](corev1::Toleration toleration) {
                               if (old.has_tolerationseconds()) {
                                   toleration.set_tolerationseconds(old.tolerationseconds());
                               } else {
                                   toleration.clear_tolerationseconds();
                               }
                               return MessageDifferencer::Equivalent(toleration, old);
                           });
    };
    return std::all_of(was.tolerations().begin(), was.tolerations().end(), kept);
}

// A deadline may be set or shortened, never lengthened or taken away.
bool check_deadline_update(const corev1::PodSpec& now, const corev1::PodSpec& was,
                           FieldErrors* errors) {
    const std::string field = "spec.activeDeadlineSeconds";
    if (now.has_activedeadlineseconds()) {
        const std::int64_t seconds = now.activedeadlineseconds();
        if (seconds < 0 || seconds > kMaxDeadline) {
            errors->invalid(field, seconds, "must be between 0 and 2147483647, inclusive");
            return false;
        }
        if (was.has_activedeadlineseconds() && was.activedeadlineseconds() < seconds) {
            errors->invalid(field, seconds, "must be less than or equal to previous value");
            return false;
        }
    } else if (was.has_activedeadlineseconds()) {
        errors->invalid(field, BadValue::verbatim("null"),
                        "must not update from a positive integer to nil value");
        return false;
    }
    return true;
}

void restore_images(google::protobuf::RepeatedPtrField<corev1::Container>* now,
                    const google::protobuf::RepeatedPtrField<corev1::Container>& was) {
    for (int i = 0; i < now->size() && i < was.size(); ++i) {
        now->Mutable(i)->set_image(was[i].image());
    }
}

// Gates may be taken away, one by one, never added.
void drop_gates(corev1::PodSpec* now, const corev1::PodSpec& was, FieldErrors* errors) {
    for (int i = 0; i < now->schedulinggates_size(); ++i) {
        const std::string& name = now->schedulinggates(i).name();
        const bool known = std::any_of(
            was.schedulinggates().begin(), was.schedulinggates().end(),
            [&name](const corev1::PodSchedulingGate& gate) { return gate.name() == name; });
        if (!known) {
            errors->forbidden(field_index("spec.schedulingGates", i),
                              "only deletion is allowed, but found new scheduling gate '" + name +
                                  "'");
        }
    }
    *now->mutable_schedulinggates() = was.schedulinggates();
}

}  // namespace

void validate_pod_spec(const corev1::PodSpec& spec, const std::string& field,
                       FieldErrors* errors) {
    const auto volumes = validate_volumes(spec, field, errors);
    validate_containers(spec, volumes, field, errors);
    if (!is_one_of(spec.restartpolicy(), {"Always", "OnFailure", "Never"})) {
        errors->not_supported(field + ".restartPolicy", spec.restartpolicy(),
                              {"Always", "OnFailure", "Never"});
    }
    check_dns(spec, field, errors);
    check_pod_security(spec.securitycontext(), field + ".securityContext", errors);
    if (spec.hostpid() && spec.shareprocessnamespace()) {
        errors->invalid(field + ".securityContext.shareProcessNamespace",
                        BadValue::verbatim("true"),
                        "ShareProcessNamespace and HostPID cannot both be enabled");
    }
    check_identity(spec, field, errors);
    if (spec.has_activedeadlineseconds() &&
        (spec.activedeadlineseconds() < 1 || spec.activedeadlineseconds() > kMaxDeadline)) {
        errors->invalid(field + ".activeDeadlineSeconds",
                        std::int64_t{spec.activedeadlineseconds()},
                        "must be between 1 and 2147483647, inclusive");
    }
    if (spec.terminationgraceperiodseconds() < 0) {
        errors->invalid(field + ".terminationGracePeriodSeconds",
                        std::int64_t{spec.terminationgraceperiodseconds()},
                        "must be greater than or equal to 0");
    }
    check_host_aliases(spec, field + ".hostAliases", errors);
    validate_scheduling(spec, field, errors);
    for (int i = 0; i < spec.readinessgates_size(); ++i) {
        const std::string& type = spec.readinessgates(i).conditiontype();
        errors->invalid_all(field_index(field + ".readinessGates", i) + ".conditionType", type,
                            check_qualified_name(type));
    }
    if (!is_one_of(spec.preemptionpolicy(), {"", "Never", "PreemptLowerPriority"})) {
        errors->not_supported(field + ".preemptionPolicy", spec.preemptionpolicy(),
                              {"Never", "PreemptLowerPriority"});
    }
}

void validate_pod_template(const corev1::PodTemplateSpec& pod_template, const std::string& field,
                           FieldErrors* errors) {
    validate_labels(pod_template.metadata().labels(), field + ".labels", errors);
    validate_annotations(pod_template.metadata(), field + ".annotations", errors);
    validate_pod_spec(pod_template.spec(), field + ".spec", errors);
    if (pod_template.spec().ephemeralcontainers_size() > 0) {
        errors->forbidden(field + ".spec.ephemeralContainers",
                          "ephemeral containers not allowed in pod template");
    }
}

void validate_pod(const corev1::Pod& pod, FieldErrors* errors) {
    validate_pod_spec(pod.spec(), "spec", errors);
}

void validate_pod_update(const corev1::Pod& pod, const corev1::Pod& old, FieldErrors* errors) {
    corev1::PodSpec munged = pod.spec();
    const corev1::PodSpec& was = old.spec();
    if (munged.containers_size() != was.containers_size()) {
        errors->forbidden("spec.containers", "pod updates may not add or remove containers");
        return;
    }
    if (munged.initcontainers_size() != was.initcontainers_size()) {
        errors->forbidden("spec.initContainers", "pod updates may not add or remove containers");
        return;
    }
    check_images(munged.containers(), "spec.containers", errors);
    check_images(munged.initcontainers(), "spec.initContainers", errors);
    if (!check_deadline_update(munged, was, errors)) return;
    restore_images(munged.mutable_containers(), was.containers());
    restore_images(munged.mutable_initcontainers(), was.initcontainers());
    munged.clear_activedeadlineseconds();
    if (was.has_activedeadlineseconds()) {
        munged.set_activedeadlineseconds(was.activedeadlineseconds());
    }
    if (only_adds(munged, was)) *munged.mutable_tolerations() = was.tolerations();
    drop_gates(&munged, was, errors);
    if (was.terminationgraceperiodseconds() < 0 && munged.terminationgraceperiodseconds() == 1) {
        munged.set_terminationgraceperiodseconds(was.terminationgraceperiodseconds());
    }
    if (MessageDifferencer::Equivalent(munged, was)) return;
    errors->forbidden(
        "spec",
        "pod updates may not change fields other than "
        "`spec.containers[*].image`,`spec.initContainers[*].image`,"
        "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing "
        "tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
        "previously negative)\n");
}

}  // namespace sluice::registry
