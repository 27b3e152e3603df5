#include "control/apiserver/registry/strategies/pod_defaults.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "api/codec/quantity.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/podtemplate.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;

constexpr std::int64_t kGraceSeconds = 30;
constexpr std::int32_t kFileMode = 0644;
constexpr std::int64_t kTokenSeconds = 3600;
constexpr char kMirrorAnnotation[] = "kubernetes.io/config.mirror";

// The classes that exist in every cluster, for Pods that the plugin Priority has not seen.
struct PriorityClass {
    std::string_view name;
    std::int32_t value;
};
constexpr PriorityClass kPriorityClasses[] = {
    {"system-cluster-critical", 2000000000},
    {"system-node-critical", 2000001000},
};

bool pulls_always(std::string_view image) {
    if (image.find('@') != std::string_view::npos) return false;
    const std::size_t slash = image.rfind('/');
    const std::size_t colon = image.rfind(':');
    const bool tagged = colon != std::string_view::npos &&
                        (slash == std::string_view::npos || colon > slash);
    return !tagged || image.substr(colon + 1) == "latest";
}

void default_http_get(corev1::HTTPGetAction* action) {
    if (action->path().empty()) action->set_path("/");
    if (action->scheme().empty()) action->set_scheme("HTTP");
}

void default_probe(corev1::Probe* probe) {
    constexpr std::int32_t kPeriodSeconds = 10;
    constexpr std::int32_t kFailures = 3;
    if (probe->timeoutseconds() == 0) probe->set_timeoutseconds(1);
    if (probe->periodseconds() == 0) probe->set_periodseconds(kPeriodSeconds);
    if (probe->successthreshold() == 0) probe->set_successthreshold(1);
    if (probe->failurethreshold() == 0) probe->set_failurethreshold(kFailures);
    auto* handler = probe->mutable_handler();
    if (handler->has_httpget()) default_http_get(handler->mutable_httpget());
    if (handler->has_grpc() && !handler->grpc().has_service()) {
        handler->mutable_grpc()->set_service("");
    }
}

void default_handler(corev1::LifecycleHandler* handler) {
    if (handler->has_httpget()) default_http_get(handler->mutable_httpget());
}

// Container and EphemeralContainerCommon have the same members.
template <class C>
void default_container(C* container) {
    if (container->terminationmessagepath().empty()) {
        container->set_terminationmessagepath("/dev/termination-log");
    }
    if (container->terminationmessagepolicy().empty()) {
        container->set_terminationmessagepolicy("File");
    }
    if (container->imagepullpolicy().empty()) {
        container->set_imagepullpolicy(pulls_always(container->image()) ? "Always"
                                                                        : "IfNotPresent");
    }
    for (auto& port : *container->mutable_ports()) {
        if (port.protocol().empty()) port.set_protocol("TCP");
    }
    for (auto& env : *container->mutable_env()) {
        if (!env.valuefrom().has_fieldref()) continue;
        auto* ref = env.mutable_valuefrom()->mutable_fieldref();
        if (ref->apiversion().empty()) ref->set_apiversion("v1");
    }
    if (container->has_livenessprobe()) default_probe(container->mutable_livenessprobe());
    if (container->has_readinessprobe()) default_probe(container->mutable_readinessprobe());
    if (container->has_startupprobe()) default_probe(container->mutable_startupprobe());
    if (container->has_lifecycle()) {
        auto* lifecycle = container->mutable_lifecycle();
        if (lifecycle->has_poststart()) default_handler(lifecycle->mutable_poststart());
        if (lifecycle->has_prestop()) default_handler(lifecycle->mutable_prestop());
    }
}

// What only Pods themselves get, not the templates of Pods.
template <class Containers>
void complete_containers(bool host_network, Containers* containers) {
    for (auto& container : *containers) {
        for (auto& port : *container.mutable_ports()) {
            if (host_network && port.hostport() == 0) port.set_hostport(port.containerport());
        }
        // What is limited but not requested is requested in full.
        auto* resources = container.mutable_resources();
        for (const auto& [name, limit] : resources->limits()) {
            if (!resources->requests().contains(name)) {
                (*resources->mutable_requests())[name] = limit;
            }
        }
    }
}

void default_volume(corev1::Volume* volume) {
    auto* source = volume->mutable_volumesource();
    // Every source is a message, so an encoding of no bytes means that none is set.
    if (source->ByteSizeLong() == 0) source->mutable_emptydir();
    if (source->has_hostpath() && !source->hostpath().has_type()) {
        source->mutable_hostpath()->set_type("");
    }
    if (source->has_secret() && !source->secret().has_defaultmode()) {
        source->mutable_secret()->set_defaultmode(kFileMode);
    }
    if (source->has_configmap() && !source->configmap().has_defaultmode()) {
        source->mutable_configmap()->set_defaultmode(kFileMode);
    }
    if (source->has_downwardapi()) {
        auto* downward = source->mutable_downwardapi();
        if (!downward->has_defaultmode()) downward->set_defaultmode(kFileMode);
        for (auto& item : *downward->mutable_items()) {
            if (item.has_fieldref() && item.fieldref().apiversion().empty()) {
                item.mutable_fieldref()->set_apiversion("v1");
            }
        }
    }
    if (source->has_projected()) {
        auto* projected = source->mutable_projected();
        if (!projected->has_defaultmode()) projected->set_defaultmode(kFileMode);
        for (auto& part : *projected->mutable_sources()) {
            if (part.has_serviceaccounttoken() &&
                !part.serviceaccounttoken().has_expirationseconds()) {
                part.mutable_serviceaccounttoken()->set_expirationseconds(kTokenSeconds);
            }
            if (!part.has_downwardapi()) continue;
            for (auto& item : *part.mutable_downwardapi()->mutable_items()) {
                if (item.has_fieldref() && item.fieldref().apiversion().empty()) {
                    item.mutable_fieldref()->set_apiversion("v1");
                }
            }
        }
    }
}

void tolerate(corev1::PodSpec* spec, const std::string& key, std::int64_t seconds) {
    const auto covers = [&key](const corev1::Toleration& toleration) {
        const bool effect = toleration.effect().empty() || toleration.effect() == "NoExecute";
        return effect && (toleration.key() == key || toleration.key().empty());
    };
    const auto& present = spec->tolerations();
    if (std::any_of(present.begin(), present.end(), covers)) return;
    auto* toleration = spec->add_tolerations();
    toleration->set_key(key);
    toleration->set_operator_("Exists");
    toleration->set_effect("NoExecute");
    toleration->set_tolerationseconds(seconds);
}

struct Resources {
    bool any = false;
    bool guaranteed = true;
};

void weigh(const corev1::ResourceRequirements& resources, Resources* out) {
    for (const char* name : {"cpu", "memory"}) {
        const auto request = resources.requests().find(name);
        const auto limit = resources.limits().find(name);
        const auto positive = [](const auto& entry, const auto& map) {
            if (entry == map.end()) return false;
            const auto parsed = codec::Quantity::parse(entry->second.string());
            return parsed && !parsed->is_zero();
        };
        const bool requested = positive(request, resources.requests());
        const bool limited = positive(limit, resources.limits());
        out->any = out->any || requested || limited;
        bool equal = requested && limited;
        if (equal) {
            const auto a = codec::Quantity::parse(request->second.string());
            const auto b = codec::Quantity::parse(limit->second.string());
            equal = a && b && *a == *b;
        }
        out->guaranteed = out->guaranteed && equal;
    }
}

void default_spec(corev1::PodSpec* spec) {
    if (spec->restartpolicy().empty()) spec->set_restartpolicy("Always");
    if (!spec->has_terminationgraceperiodseconds()) {
        spec->set_terminationgraceperiodseconds(kGraceSeconds);
    }
    if (spec->dnspolicy().empty()) spec->set_dnspolicy("ClusterFirst");
    if (spec->schedulername().empty()) spec->set_schedulername("default-scheduler");
    spec->mutable_securitycontext();
    // One name under two members, the older of which is deprecated.
    if (spec->serviceaccountname().empty()) spec->set_serviceaccountname(spec->serviceaccount());
    spec->set_serviceaccount(spec->serviceaccountname());
    for (auto& container : *spec->mutable_initcontainers()) default_container(&container);
    for (auto& container : *spec->mutable_containers()) default_container(&container);
    for (auto& container : *spec->mutable_ephemeralcontainers()) {
        default_container(container.mutable_ephemeralcontainercommon());
    }
    for (auto& volume : *spec->mutable_volumes()) default_volume(&volume);
    for (auto& constraint : *spec->mutable_topologyspreadconstraints()) {
        if (!constraint.has_nodeaffinitypolicy()) constraint.set_nodeaffinitypolicy("Honor");
        if (!constraint.has_nodetaintspolicy()) constraint.set_nodetaintspolicy("Ignore");
    }
}

}  // namespace

void default_pod_template(corev1::PodTemplateSpec* pod_template) {
    default_spec(pod_template->mutable_spec());
}

void default_pod(corev1::Pod* pod) {
    auto* spec = pod->mutable_spec();
    default_spec(spec);
    if (!spec->has_enableservicelinks()) spec->set_enableservicelinks(true);
    complete_containers(spec->hostnetwork(), spec->mutable_initcontainers());
    complete_containers(spec->hostnetwork(), spec->mutable_containers());
}

Answer<void> admit_pod(const codec::KindInfo& kind, const DefaultTolerations& tolerations,
                       bool creation, corev1::Pod* pod) {
    auto* spec = pod->mutable_spec();
    tolerate(spec, "node.kubernetes.io/not-ready", tolerations.not_ready_s);
    tolerate(spec, "node.kubernetes.io/unreachable", tolerations.unreachable_s);
    if (!creation) return {};
    // A mirror of a static Pod runs as nobody.
    if (spec->serviceaccountname().empty() && !pod->metadata().annotations().contains(kMirrorAnnotation)) {
        spec->set_serviceaccountname("default");
        spec->set_serviceaccount("default");
    }
    // The plugin Priority has set what the Pod's class says, when it is in force.
    if (!spec->has_priority()) {
        std::int32_t priority = 0;
        if (!spec->priorityclassname().empty()) {
            const auto* found = std::find_if(std::begin(kPriorityClasses), std::end(kPriorityClasses),
                                             [spec](const PriorityClass& known) {
                                                 return known.name == spec->priorityclassname();
                                             });
            if (found == std::end(kPriorityClasses)) {
                return refuse(forbidden(kind, pod->metadata().name(),
                                        fmt::format("no PriorityClass with name {} was found",
                                                    spec->priorityclassname())));
            }
            priority = found->value;
        }
        spec->set_priority(priority);
    }
    if (!spec->has_preemptionpolicy()) spec->set_preemptionpolicy("PreemptLowerPriority");
    return {};
}

std::string qos_class(const corev1::Pod& pod) {
    Resources all;
    for (const auto& container : pod.spec().containers()) weigh(container.resources(), &all);
    for (const auto& container : pod.spec().initcontainers()) weigh(container.resources(), &all);
    if (!all.any) return "BestEffort";
    return all.guaranteed ? "Guaranteed" : "Burstable";
}

}  // namespace sluice::registry
