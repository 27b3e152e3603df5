#include "control/apiserver/registry/validation/service.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "api/base/ip_address.h"
#include "api/kubernetes/core/v1/service.pb.h"
#include "control/apiserver/registry/validation/addresses.h"
#include "control/apiserver/registry/validation/names.h"
#include "control/apiserver/registry/validation/object_meta.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;

// The kubelet's own port; a load balancer must not expose it.
constexpr std::int32_t kKubeletPort = 10250;
constexpr std::int32_t kMaxAffinitySeconds = 86'400;
constexpr std::string_view kBalancerOnly = "may only be used when `type` is 'LoadBalancer'";
constexpr std::string_view kNotForExternalName = "may not be set for ExternalName services";

bool is_one_of(std::string_view value, std::initializer_list<std::string_view> allowed) {
    return std::find(allowed.begin(), allowed.end(), value) != allowed.end();
}

bool externally_accessible(const corev1::ServiceSpec& spec) {
    return spec.type() == "LoadBalancer" || spec.type() == "NodePort" ||
           (spec.type() == "ClusterIP" && spec.externalips_size() > 0);
}

template <class List>
BadValue shown_list(const List& list) {
    return BadValue::verbatim(go_string_list(std::vector<std::string>(list.begin(), list.end())));
}

void check_target_port(const corev1::ServicePort& port, const std::string& field,
                       FieldErrors* errors) {
    constexpr std::int64_t kStringType = 1;
    const auto& target = port.targetport();
    if (target.type() == kStringType) {
        errors->invalid_all(field, target.strval(), check_port_name(target.strval()));
        return;
    }
    for (const std::string& why : check_port_number(target.intval())) {
        errors->invalid(field, target.intval(), why);
    }
}

void check_port(const corev1::ServicePort& port, const std::string& field, bool require_name,
                std::set<std::string>* names, FieldErrors* errors) {
    if (port.name().empty()) {
        if (require_name) errors->required(field + ".name");
    } else {
        errors->invalid_all(field + ".name", port.name(), check_dns1123_label(port.name()));
        if (!names->insert(port.name()).second) errors->duplicate(field + ".name", port.name());
    }
    for (const std::string& why : check_port_number(port.port())) {
        errors->invalid(field + ".port", port.port(), why);
    }
    if (port.protocol().empty()) {
        errors->required(field + ".protocol");
    } else if (!is_one_of(port.protocol(), {"TCP", "UDP", "SCTP"})) {
        errors->not_supported(field + ".protocol", port.protocol(), {"SCTP", "TCP", "UDP"});
    }
    check_target_port(port, field + ".targetPort", errors);
    if (port.has_appprotocol()) {
        errors->invalid_all(field + ".appProtocol", port.appprotocol(),
                            check_qualified_name(port.appprotocol()));
    }
}

void check_ports(const corev1::ServiceSpec& spec, FieldErrors* errors) {
    const bool headless = spec.clusterip() == "None";
    if (spec.ports_size() == 0 && !headless && spec.type() != "ExternalName") {
        errors->required("spec.ports");
    }
    if (spec.type() == "LoadBalancer" || spec.type() == "NodePort") {
        for (int i = 0; spec.type() == "LoadBalancer" && i < spec.ports_size(); ++i) {
            if (spec.ports(i).port() == kKubeletPort) {
                errors->invalid(field_index("spec.ports", i) + ".port", kKubeletPort,
                                "may not expose port 10250 externally since it is used by kubelet");
            }
        }
        if (headless) {
            errors->invalid("spec.clusterIPs[0]", spec.clusterip(),
                            fmt::format("may not be set to 'None' for {} services", spec.type()));
        }
    }
    std::set<std::string> names;
    for (int i = 0; i < spec.ports_size(); ++i) {
        check_port(spec.ports(i), field_index("spec.ports", i), spec.ports_size() > 1, &names,
                   errors);
    }
}

void check_port_collisions(const corev1::ServiceSpec& spec, FieldErrors* errors) {
    std::set<std::pair<std::string, std::int32_t>> ports;
    std::set<std::pair<std::string, std::int32_t>> node_ports;
    for (int i = 0; i < spec.ports_size(); ++i) {
        const auto& port = spec.ports(i);
        const std::string field = field_index("spec.ports", i);
        if (!ports.emplace(port.protocol(), port.port()).second) {
            errors->duplicate(
                field, BadValue::verbatim(fmt::format(
                           "core.ServicePort{{Name:\"\", Protocol:{}, "
                           "AppProtocol:(*string)(nil), Port:{}, "
                           "TargetPort:intstr.IntOrString{{Type:0, IntVal:0, StrVal:\"\"}}, "
                           "NodePort:0}}",
                           go_quote(port.protocol()), port.port())));
        }
        if (port.nodeport() == 0) continue;
        if (is_one_of(spec.type(), {"ClusterIP", "ExternalName"})) {
            errors->forbidden(field + ".nodePort",
                              fmt::format("may not be used when `type` is '{}'", spec.type()));
        } else if (!node_ports.emplace(port.protocol(), port.nodeport()).second) {
            errors->duplicate(field + ".nodePort", std::int32_t{port.nodeport()});
        }
    }
}

void check_affinity(const corev1::ServiceSpec& spec, FieldErrors* errors) {
    const std::string& affinity = spec.sessionaffinity();
    if (affinity.empty()) {
        errors->required("spec.sessionAffinity");
    } else if (!is_one_of(affinity, {"ClientIP", "None"})) {
        errors->not_supported("spec.sessionAffinity", affinity, {"ClientIP", "None"});
    }
    if (affinity == "None" && spec.has_sessionaffinityconfig()) {
        errors->forbidden("spec.sessionAffinityConfig",
                          "must not be set when session affinity is None");
    }
    if (affinity == "ClientIP") {
        const std::int32_t seconds = spec.sessionaffinityconfig().clientip().timeoutseconds();
        if (seconds <= 0 || seconds > kMaxAffinitySeconds) {
            errors->invalid("spec.sessionAffinityConfig.clientIP.timeoutSeconds", seconds,
                            "must be greater than 0 and less than 86400");
        }
    }
}

void check_family_fields(const corev1::ServiceSpec& spec, FieldErrors* errors) {
    std::set<std::string> seen;
    for (int i = 0; i < spec.ipfamilies_size(); ++i) {
        const std::string& family = spec.ipfamilies(i);
        const std::string field = field_index("spec.ipFamilies", i);
        if (!is_one_of(family, {"IPv4", "IPv6"})) {
            errors->not_supported(field, family, {"IPv4", "IPv6"});
        }
        if (!seen.insert(family).second) errors->duplicate(field, family);
    }
    if (spec.has_ipfamilypolicy() &&
        !is_one_of(spec.ipfamilypolicy(), {"SingleStack", "PreferDualStack", "RequireDualStack"})) {
        errors->not_supported("spec.ipFamilyPolicy", spec.ipfamilypolicy(),
                              {"PreferDualStack", "RequireDualStack", "SingleStack"});
    }
}

void check_cluster_ips(const corev1::ServiceSpec& spec, FieldErrors* errors) {
    const auto& ips = spec.clusterips();
    const std::string field = "spec.clusterIPs";
    if (spec.type() == "ExternalName") {
        if (!ips.empty()) errors->invalid(field, shown_list(ips), kNotForExternalName);
        if (spec.ipfamilies_size() > 0) {
            errors->forbidden("spec.ipFamilies", kNotForExternalName);
        }
        if (spec.has_ipfamilypolicy()) {
            errors->forbidden("spec.ipFamilyPolicy", kNotForExternalName);
        }
        return;
    }
    if (!ips.empty() && spec.clusterip().empty()) {
        errors->invalid(field, shown_list(ips), "must be empty when `clusterIP` is not specified");
    } else if (!ips.empty() && ips[0] != spec.clusterip()) {
        errors->invalid(field, shown_list(ips), "first value must match `clusterIP`");
    }
    check_family_fields(spec, errors);
    bool bad = false;
    for (int i = 0; i < ips.size(); ++i) {
        if (i == 0 && ips[i] == "None") {
            if (ips.size() > 1) {
                bad = true;
                errors->invalid(field, shown_list(ips), "'None' must be the first and only value");
            }
            continue;
        }
        const auto why = check_ip(ips[i]);
        bad = bad || !why.empty();
        errors->invalid_all(field_index(field, i), ips[i], why);
    }
    constexpr int kMaxClusterIps = 2;
    if (ips.size() > kMaxClusterIps) {
        errors->invalid(field, shown_list(ips), "may only hold up to 2 values");
    }
    if (bad || ips.empty() || ips[0] == "None") return;
    std::set<IpFamily> families;
    for (int i = 0; i < ips.size(); ++i) {
        const auto address = IpAddress::parse_sloppy(ips[i]);
        const IpFamily family = address->family();
        if (!families.insert(family).second && ips.size() == kMaxClusterIps) {
            errors->invalid(field, shown_list(ips),
                            "may specify no more than one IP for each IP family");
        }
        if (i < spec.ipfamilies_size()) {
            const std::string& wanted = spec.ipfamilies(i);
            const bool v4 = family == IpFamily::kIpv4;
            if (is_one_of(wanted, {"IPv4", "IPv6"}) && (wanted == "IPv4") != v4) {
                errors->invalid(field_index(field, i), ips[i],
                                fmt::format("expected an {} value as indicated by `ipFamilies[{}]`",
                                            wanted, i));
            }
        }
    }
}

void check_external_name(const corev1::ServiceSpec& spec, FieldErrors* errors) {
    if (spec.type() != "ExternalName") return;
    std::string name = spec.externalname();
    if (name.ends_with('.')) name.pop_back();
    if (name.empty()) {
        errors->required("spec.externalName");
    } else {
        errors->invalid_all("spec.externalName", spec.externalname(),
                            check_dns1123_subdomain(name));
    }
}

void check_traffic_policies(const corev1::ServiceSpec& spec, FieldErrors* errors) {
    const std::string& external = spec.externaltrafficpolicy();
    if (!externally_accessible(spec)) {
        if (!external.empty()) {
            errors->invalid("spec.externalTrafficPolicy", external,
                            "may only be set for externally-accessible services");
        }
    } else if (external.empty()) {
        errors->required("spec.externalTrafficPolicy");
    } else if (!is_one_of(external, {"Cluster", "Local"})) {
        errors->not_supported("spec.externalTrafficPolicy", external, {"Cluster", "Local"});
    }
    const std::int32_t health = spec.healthchecknodeport();
    if (spec.type() != "LoadBalancer" || external != "Local") {
        if (health != 0) {
            errors->invalid("spec.healthCheckNodePort", health,
                            "may only be set when `type` is 'LoadBalancer' and "
                            "`externalTrafficPolicy` is 'Local'");
        }
    } else if (health != 0) {
        for (const std::string& why : check_port_number(health)) {
            errors->invalid("spec.healthCheckNodePort", health, why);
        }
    }
    if (is_one_of(spec.type(), {"ClusterIP", "NodePort", "LoadBalancer"})) {
        if (!spec.has_internaltrafficpolicy()) {
            errors->required("spec.internalTrafficPolicy");
        } else if (!is_one_of(spec.internaltrafficpolicy(), {"Cluster", "Local"})) {
            errors->not_supported("spec.internalTrafficPolicy", spec.internaltrafficpolicy(),
                                  {"Cluster", "Local"});
        }
    }
    if (spec.has_trafficdistribution() &&
        !is_one_of(spec.trafficdistribution(),
                   {"PreferClose", "PreferSameZone", "PreferSameNode"})) {
        errors->not_supported("spec.trafficDistribution", spec.trafficdistribution(),
                              {"PreferClose", "PreferSameNode", "PreferSameZone"});
    }
}

void check_load_balancer(const corev1::ServiceSpec& spec, FieldErrors* errors) {
    const bool balancer = spec.type() == "LoadBalancer";
    if (spec.loadbalancersourceranges_size() > 0 && !balancer) {
        errors->forbidden("spec.LoadBalancerSourceRanges", kBalancerOnly);
    }
    for (int i = 0; i < spec.loadbalancersourceranges_size(); ++i) {
        check_cidr(spec.loadbalancersourceranges(i),
                   field_index("spec.LoadBalancerSourceRanges", i), errors);
    }
    if (balancer && !spec.has_allocateloadbalancernodeports()) {
        errors->required("spec.allocateLoadBalancerNodePorts");
    } else if (!balancer && spec.has_allocateloadbalancernodeports()) {
        errors->forbidden("spec.allocateLoadBalancerNodePorts", kBalancerOnly);
    }
    if (spec.has_loadbalancerclass()) {
        if (balancer) {
            errors->invalid_all("spec.loadBalancerClass", spec.loadbalancerclass(),
                                check_qualified_name(spec.loadbalancerclass()));
        } else {
            errors->forbidden("spec.loadBalancerClass", kBalancerOnly);
        }
    }
}

}  // namespace

void validate_service(const corev1::Service& service, FieldErrors* errors) {
    const auto& spec = service.spec();
    check_ports(spec, errors);
    check_external_name(spec, errors);
    validate_labels(spec.selector(), "spec.selector", errors);
    check_affinity(spec, errors);
    check_cluster_ips(spec, errors);
    for (int i = 0; i < spec.externalips_size(); ++i) {
        check_not_special(spec.externalips(i), field_index("spec.externalIPs", i), errors);
    }
    if (!is_one_of(spec.type(), {"ClusterIP", "ExternalName", "LoadBalancer", "NodePort"})) {
        errors->not_supported("spec.type", spec.type(),
                              {"ClusterIP", "ExternalName", "LoadBalancer", "NodePort"});
    }
    check_port_collisions(spec, errors);
    check_load_balancer(spec, errors);
    check_traffic_policies(spec, errors);
}

void validate_service_update(const corev1::Service& service, const corev1::Service& old,
                             FieldErrors* errors) {
    const auto& now = service.spec();
    const auto& was = old.spec();
    if (now.type() != "ExternalName" && was.type() != "ExternalName") {
        const auto& ips = now.clusterips();
        const std::string field = "spec.clusterIPs";
        constexpr std::string_view kOnce = "may not change once set";
        if (was.clusterips_size() > 0) {
            if (ips.empty()) {
                errors->invalid(field_index(field, 0), shown_list(ips),
                                "primary clusterIP can not be unset");
            } else if (ips[0] != was.clusterips(0)) {
                errors->invalid(field_index(field, 0), shown_list(ips), kOnce);
            }
        }
        if (was.clusterips_size() == 2 && ips.size() == 2 && ips[1] != was.clusterips(1)) {
            errors->invalid(field_index(field, 1), shown_list(ips), kOnce);
        }
        if (was.ipfamilies_size() > 0 && now.ipfamilies_size() > 0 &&
            now.ipfamilies(0) != was.ipfamilies(0)) {
            errors->invalid("spec.ipFamilies[0]", shown_list(now.ipfamilies()), kOnce);
        }
    }
    const bool health_before = was.type() == "LoadBalancer" && was.healthchecknodeport() != 0;
    const bool health_now =
        now.type() == "LoadBalancer" && now.externaltrafficpolicy() == "Local";
    if (health_before && health_now && now.healthchecknodeport() != was.healthchecknodeport()) {
        errors->invalid("spec.healthCheckNodePort", std::int32_t{now.healthchecknodeport()},
                        "field is immutable");
    }
    if (was.type() == "LoadBalancer" && now.type() == "LoadBalancer" &&
        (now.has_loadbalancerclass() != was.has_loadbalancerclass() ||
         now.loadbalancerclass() != was.loadbalancerclass())) {
        errors->invalid("spec.loadBalancerClass", now.loadbalancerclass(),
                        "may not change once set");
    }
}

void validate_load_balancer_status(const corev1::Service& service, FieldErrors* errors) {
    const auto& ingress = service.status().loadbalancer().ingress();
    const std::string field = "status.loadBalancer.ingress";
    if (!ingress.empty() && service.spec().type() != "LoadBalancer") {
        errors->forbidden(field, "may only be used when `spec.type` is \"LoadBalancer\"");
    }
    for (int i = 0; i < ingress.size(); ++i) {
        const std::string at = field_index(field, i);
        if (!ingress[i].ip().empty()) {
            errors->invalid_all(at + ".ip", ingress[i].ip(), check_ip(ingress[i].ip()));
            if (ingress[i].ipmode() != "VIP" && ingress[i].ipmode() != "Proxy") {
                errors->not_supported(at + ".ipMode", ingress[i].ipmode(), {"Proxy", "VIP"});
            }
        } else if (ingress[i].has_ipmode()) {
            errors->forbidden(at + ".ipMode", "may not be specified when `ip` is not set");
        }
        if (!ingress[i].hostname().empty()) {
            errors->invalid_all(at + ".hostname", ingress[i].hostname(),
                                check_dns1123_subdomain(ingress[i].hostname()));
        }
    }
}

}  // namespace sluice::registry
