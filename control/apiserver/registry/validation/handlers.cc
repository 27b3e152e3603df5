#include "control/apiserver/registry/validation/handlers.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/kubernetes/core/v1/pod.pb.h"
#include "control/apiserver/registry/validation/names.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;
using IntOrString = ::k8s::io::apimachinery::pkg::util::intstr::IntOrString;

constexpr std::int64_t kStringType = 1;

void check_not_negative(std::int64_t value, const std::string& field, FieldErrors* errors) {
    if (value < 0) errors->invalid(field, value, "must be greater than or equal to 0");
}

void check_port(const IntOrString& port, const std::string& field, FieldErrors* errors) {
    if (port.type() == kStringType) {
        errors->invalid_all(field, port.strval(), check_port_name(port.strval()));
        return;
    }
    for (const std::string& why : check_port_number(port.intval())) {
        errors->invalid(field, port.intval(), why);
    }
}

bool is_token_char(char c) {
    const bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    return alnum || c == '-';
}

void check_http_get(const corev1::HTTPGetAction& action, const std::string& field,
                    FieldErrors* errors) {
    if (action.path().empty()) errors->required(field + ".path");
    check_port(action.port(), field + ".port", errors);
    if (action.scheme() != "HTTP" && action.scheme() != "HTTPS") {
        errors->not_supported(field + ".scheme", action.scheme(), {"HTTP", "HTTPS"});
    }
    for (const auto& header : action.httpheaders()) {
        const std::string& name = header.name();
        if (name.empty() || !std::all_of(name.begin(), name.end(), is_token_char)) {
            errors->invalid(field + ".httpHeaders", name,
                            "a valid HTTP header must consist of alphanumeric characters or '-' "
                            "(e.g. 'X-Header-Name', regex used for validation is "
                            "'[-A-Za-z0-9]+')");
        }
    }
}

// The members that ProbeHandler and LifecycleHandler share. Returns how many actions were given.
template <class H>
int check_actions(const H& handler, const std::string& field, FieldErrors* errors) {
    int count = 0;
    const auto next = [&](const char* name) {
        if (++count > 1) {
            errors->forbidden(field + "." + name, "may not specify more than 1 handler type");
            return false;
        }
        return true;
    };
    if (handler.has_exec() && next("exec") && handler.exec().command_size() == 0) {
        errors->required(field + ".exec.command");
    }
    if (handler.has_httpget() && next("httpGet")) {
        check_http_get(handler.httpget(), field + ".httpGet", errors);
    }
    if (handler.has_tcpsocket() && next("tcpSocket")) {
        check_port(handler.tcpsocket().port(), field + ".tcpSocket.port", errors);
    }
    return count;
}

void check_hook(const corev1::LifecycleHandler& hook, std::int64_t grace_seconds,
                const std::string& field, FieldErrors* errors) {
    int count = check_actions(hook, field, errors);
    if (hook.has_sleep()) {
        if (++count > 1) {
            errors->forbidden(field + ".sleep", "may not specify more than 1 handler type");
        } else if (hook.sleep().seconds() <= 0 || hook.sleep().seconds() > grace_seconds) {
            errors->invalid(field + ".sleep", std::int64_t{hook.sleep().seconds()},
                            fmt::format("must be greater than 0 and less than "
                                        "terminationGracePeriodSeconds ({}). Enable AllowZero "
                                        "feature gate to permit zero sleep.",
                                        grace_seconds));
        }
    }
    if (count == 0) errors->required(field, "must specify a handler type");
}

}  // namespace

void validate_probe(const corev1::Probe& probe, ProbeKind kind, const std::string& field,
                    FieldErrors* errors) {
    const auto& handler = probe.handler();
    int count = check_actions(handler, field, errors);
    if (handler.has_grpc()) {
        if (++count > 1) {
            errors->forbidden(field + ".grpc", "may not specify more than 1 handler type");
        } else {
            for (const std::string& why : check_port_number(handler.grpc().port())) {
                errors->invalid(field + ".grpc.port", handler.grpc().port(), why);
            }
        }
    }
    if (count == 0) errors->required(field, "must specify a handler type");
    check_not_negative(probe.initialdelayseconds(), field + ".initialDelaySeconds", errors);
    check_not_negative(probe.timeoutseconds(), field + ".timeoutSeconds", errors);
    check_not_negative(probe.periodseconds(), field + ".periodSeconds", errors);
    check_not_negative(probe.successthreshold(), field + ".successThreshold", errors);
    check_not_negative(probe.failurethreshold(), field + ".failureThreshold", errors);
    if (kind == ProbeKind::kReadiness) {
        if (probe.has_terminationgraceperiodseconds()) {
            errors->invalid(field + ".terminationGracePeriodSeconds",
                            std::int64_t{probe.terminationgraceperiodseconds()},
                            "must not be set for readinessProbes");
        }
        return;
    }
    if (probe.has_terminationgraceperiodseconds() && probe.terminationgraceperiodseconds() <= 0) {
        errors->invalid(field + ".terminationGracePeriodSeconds",
                        std::int64_t{probe.terminationgraceperiodseconds()},
                        "must be greater than 0");
    }
    if (probe.successthreshold() != 1) {
        errors->invalid(field + ".successThreshold", probe.successthreshold(), "must be 1");
    }
}

void validate_lifecycle(const corev1::Lifecycle& lifecycle, std::int64_t grace_seconds,
                        const std::string& field, FieldErrors* errors) {
    if (lifecycle.has_poststart()) {
        check_hook(lifecycle.poststart(), grace_seconds, field + ".postStart", errors);
    }
    if (lifecycle.has_prestop()) {
        check_hook(lifecycle.prestop(), grace_seconds, field + ".preStop", errors);
    }
}

}  // namespace sluice::registry
