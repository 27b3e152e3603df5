#include "control/apiserver/registry/validation/ingress.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/base/ip_address.h"
#include "api/kubernetes/core/v1/volume.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/networking/v1/ingress.pb.h"
#include "control/apiserver/registry/validation/names.h"
#include "control/apiserver/registry/validation/paths.h"

namespace sluice::registry {

namespace {

namespace networkingv1 = ::k8s::io::api::networking::v1;
namespace corev1 = ::k8s::io::api::core::v1;

constexpr const char* kClassAnnotation = "kubernetes.io/ingress.class";
constexpr std::size_t kMaxControllerBytes = 250;

struct Leniency {
    bool secret_names = false;
    bool wildcard_rules = false;
};

void check_reference(const corev1::TypedLocalObjectReference& reference, const std::string& field,
                     FieldErrors* errors) {
    if (reference.has_apigroup()) {
        errors->invalid_all(field + ".apiGroup", reference.apigroup(),
                            check_dns1123_subdomain(reference.apigroup()));
    }
    if (reference.kind().empty()) {
        errors->required(field + ".kind");
    } else {
        errors->invalid_all(field + ".kind", reference.kind(),
                            check_path_segment(reference.kind()));
    }
    if (reference.name().empty()) {
        errors->required(field + ".name");
    } else {
        errors->invalid_all(field + ".name", reference.name(),
                            check_path_segment(reference.name()));
    }
}

void check_service_backend(const networkingv1::IngressServiceBackend& service,
                           const std::string& field, FieldErrors* errors) {
    if (service.name().empty()) {
        errors->required(field + ".service.name");
    } else {
        errors->invalid_all(field + ".service.name", service.name(),
                            check_dns1035_label(service.name()));
    }
    const auto& port = service.port();
    if (!port.name().empty() && port.number() != 0) {
        errors->invalid(field, "", "cannot set both port name & port number");
    } else if (!port.name().empty()) {
        errors->invalid_all(field + ".service.port.name", port.name(),
                            check_port_name(port.name()));
    } else if (port.number() != 0) {
        for (const std::string& why : check_port_number(port.number())) {
            errors->invalid(field + ".service.port.number", port.number(), why);
        }
    } else {
        errors->required(field, "port name or number is required");
    }
}

void check_backend(const networkingv1::IngressBackend& backend, const std::string& field,
                   FieldErrors* errors) {
    if (backend.has_resource() && backend.has_service()) {
        errors->invalid(field, "", "cannot set both resource and service backends");
    } else if (backend.has_resource()) {
        check_reference(backend.resource(), field + ".resource", errors);
    } else if (backend.has_service()) {
        check_service_backend(backend.service(), field, errors);
    } else {
        errors->invalid(field, "", "resource or service backend is required");
    }
}

void check_path(const networkingv1::HTTPIngressPath& path, const std::string& field,
                FieldErrors* errors) {
    if (!path.has_pathtype()) {
        errors->required(field + ".pathType", "pathType must be specified");
        return;
    }
    const std::string& text = path.path();
    const std::string& type = path.pathtype();
    if (type == "Exact" || type == "Prefix") {
        if (!text.starts_with('/')) {
            errors->invalid(field + ".path", text, "must be an absolute path");
        }
        for (const char* sequence : {"//", "/./", "/../", "%2f", "%2F"}) {
            if (text.find(sequence) != std::string::npos) {
                errors->invalid(field + ".path", text,
                                fmt::format("must not contain '{}'", sequence));
            }
        }
        for (const char* suffix : {"/..", "/."}) {
            if (text.ends_with(suffix)) {
                errors->invalid(field + ".path", text, fmt::format("cannot end with '{}'", suffix));
            }
        }
    } else if (type == "ImplementationSpecific") {
        if (!text.empty() && !text.starts_with('/')) {
            errors->invalid(field + ".path", text, "must be an absolute path");
        }
    } else {
        errors->not_supported(field + ".pathType", type,
                              {"Exact", "ImplementationSpecific", "Prefix"});
    }
    check_backend(path.backend(), field + ".backend", errors);
}

void check_rule_value(const networkingv1::IngressRule& rule, const std::string& field,
                      FieldErrors* errors) {
    const auto& value = rule.ingressrulevalue();
    if (!value.has_http()) return;
    if (value.http().paths_size() == 0) errors->required(field + ".http.paths");
    for (int i = 0; i < value.http().paths_size(); ++i) {
        check_path(value.http().paths(i), field_index(field + ".http.paths", i), errors);
    }
}

bool is_wildcard(const std::string& host) { return host.find('*') != std::string::npos; }

void check_host(const std::string& host, const std::string& field, FieldErrors* errors) {
    errors->invalid_all(field, host,
                        is_wildcard(host) ? check_wildcard_subdomain(host)
                                          : check_dns1123_subdomain(host));
}

void check_rule(const networkingv1::IngressRule& rule, const std::string& field,
                const Leniency& leniency, FieldErrors* errors) {
    const std::string& host = rule.host();
    if (!host.empty()) {
        if (IpAddress::parse_sloppy(host)) {
            errors->invalid(field + ".host", host, "must be a DNS name, not an IP address");
        }
        check_host(host, field + ".host", errors);
    }
    if (!is_wildcard(host) || !leniency.wildcard_rules) check_rule_value(rule, field, errors);
}

void check_tls(const networkingv1::IngressTLS& tls, const std::string& field,
               const Leniency& leniency, FieldErrors* errors) {
    for (int i = 0; i < tls.hosts_size(); ++i) {
        check_host(tls.hosts(i), field_index(field + ".hosts", i), errors);
    }
    if (!leniency.secret_names && !tls.secretname().empty()) {
        errors->invalid_all(field + ".secretName", tls.secretname(),
                            check_dns1123_subdomain(tls.secretname()));
    }
}

Leniency leniency_of(const networkingv1::Ingress* old) {
    Leniency leniency;
    if (old == nullptr) return leniency;
    for (const auto& tls : old->spec().tls()) {
        if (!tls.secretname().empty() && !check_dns1123_subdomain(tls.secretname()).empty()) {
            leniency.secret_names = true;
        }
    }
    for (const auto& rule : old->spec().rules()) {
        FieldErrors errors;
        if (is_wildcard(rule.host())) check_rule_value(rule, "", &errors);
        if (!errors.empty()) leniency.wildcard_rules = true;
    }
    return leniency;
}

void check_parameters(const networkingv1::IngressClassParametersReference& parameters,
                      const std::string& field, FieldErrors* errors) {
    if (parameters.has_apigroup()) {
        errors->invalid_all(field + ".apiGroup", parameters.apigroup(),
                            check_dns1123_subdomain(parameters.apigroup()));
    }
    if (parameters.kind().empty()) {
        errors->required(field + ".kind");
    } else {
        errors->invalid_all(field + ".kind", parameters.kind(),
                            check_path_segment(parameters.kind()));
    }
    if (parameters.name().empty()) {
        errors->required(field + ".name");
    } else {
        errors->invalid_all(field + ".name", parameters.name(),
                            check_path_segment(parameters.name()));
    }
    if (!parameters.has_scope()) {
        errors->required(field + ".scope");
    } else if (parameters.scope() == "Namespace") {
        if (!parameters.has_namespace_()) {
            errors->required(field + ".namespace", "`parameters.scope` is set to 'Namespace'");
        } else {
            errors->invalid_all(field + ".namespace", parameters.namespace_(),
                                check_dns1123_label(parameters.namespace_()));
        }
    } else if (parameters.scope() == "Cluster") {
        if (parameters.has_namespace_()) {
            errors->forbidden(field + ".namespace", "`parameters.scope` is set to 'Cluster'");
        }
    } else {
        errors->not_supported(field + ".scope", parameters.scope(), {"Cluster", "Namespace"});
    }
}

}  // namespace

void validate_ingress(const networkingv1::Ingress& ingress, const networkingv1::Ingress* old,
                      FieldErrors* errors) {
    const auto& spec = ingress.spec();
    const Leniency leniency = leniency_of(old);
    if (spec.rules_size() == 0 && !spec.has_defaultbackend()) {
        errors->invalid("spec", BadValue::verbatim("[]networking.IngressRule(nil)"),
                        "either `defaultBackend` or `rules` must be specified");
    }
    if (spec.has_defaultbackend()) {
        check_backend(spec.defaultbackend(), "spec.defaultBackend", errors);
    }
    for (int i = 0; i < spec.rules_size(); ++i) {
        check_rule(spec.rules(i), field_index("spec.rules", i), leniency, errors);
    }
    for (int i = 0; i < spec.tls_size(); ++i) {
        check_tls(spec.tls(i), field_index("spec.tls", i), leniency, errors);
    }
    if (spec.has_ingressclassname()) {
        errors->invalid_all("spec.ingressClassName", spec.ingressclassname(),
                            check_dns1123_subdomain(spec.ingressclassname()));
    }
    if (old != nullptr || !spec.has_ingressclassname()) return;
    const auto& annotations = ingress.metadata().annotations();
    const auto found = annotations.find(kClassAnnotation);
    if (found != annotations.end() && found->second != spec.ingressclassname()) {
        errors->invalid(field_child("annotations", kClassAnnotation), found->second,
                        "must match `ingressClassName` when both are specified");
    }
}

void validate_ingress_status(const networkingv1::Ingress& ingress, FieldErrors* errors) {
    const auto& points = ingress.status().loadbalancer().ingress();
    for (int i = 0; i < points.size(); ++i) {
        const std::string field = field_index("status.loadBalancer.ingress", i);
        const auto& point = points.Get(i);
        if (!point.ip().empty()) {
            errors->invalid_all(field + ".ip", point.ip(), check_ip(point.ip()));
        }
        if (!point.hostname().empty()) {
            errors->invalid_all(field + ".hostname", point.hostname(),
                                check_dns1123_subdomain(point.hostname()));
            if (IpAddress::parse_sloppy(point.hostname())) {
                errors->invalid(field + ".hostname", point.hostname(),
                                "must be a DNS name, not an IP address");
            }
        }
    }
}

void validate_ingress_class(const networkingv1::IngressClass& ingress_class, FieldErrors* errors) {
    const std::string& controller = ingress_class.spec().controller();
    if (controller.size() > kMaxControllerBytes) {
        errors->too_long("spec.controller", kMaxControllerBytes);
    }
    check_domain_prefixed_path(controller, "spec.controller", errors);
    if (ingress_class.spec().has_parameters()) {
        check_parameters(ingress_class.spec().parameters(), "spec.parameters", errors);
    }
}

}  // namespace sluice::registry
