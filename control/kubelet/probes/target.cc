#include <algorithm>
#include <charconv>

#include "api/base/host_port.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/util/intstr/intstr.pb.h"
#include "control/kubelet/probes/target_private.h"

namespace sluice::kubelet {
namespace {

std::uint32_t milliseconds(std::int32_t seconds, std::uint32_t otherwise_s) {
    const std::uint32_t chosen = seconds > 0 ? static_cast<std::uint32_t>(seconds) : otherwise_s;
    return std::min(chosen, kMaxProbeSeconds) * 1000;
}

Result<std::uint16_t> checked_port(std::int64_t port) {
    if (port <= 0 || port > 65'535) {
        return make_error(Code::kInvalidArgument, "invalid port number: {}", port);
    }
    return static_cast<std::uint16_t>(port);
}

}  // namespace

std::string ProbeTarget::authority() const {
    return host_and_port(host, port);
}

std::string ProbeTarget::url() const {
    return fmt::format("{}://{}{}", tls ? "https" : "http", authority(), path);
}

std::string request_path(std::string_view path) {
    std::string out = path.starts_with('/') ? "" : "/";
    for (const char c : path) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '#') break;  // a fragment is not sent
        if (byte <= 0x20 || byte >= 0x7F || c == '"' || c == '<' || c == '>' || c == '\\' ||
            c == '^' || c == '`' || c == '{' || c == '|' || c == '}') {
            out += fmt::format("%{:02X}", byte);
        } else {
            out.push_back(c);
        }
    }
    return out;
}

Result<std::uint16_t> port_number(
    const corev1::Container& container,
    const ::k8s::io::apimachinery::pkg::util::intstr::IntOrString& port) {
    if (port.type() == 0) return checked_port(port.intval());
    for (const auto& named : container.ports()) {
        if (named.name() == port.strval()) return checked_port(named.containerport());
    }
    const std::string& text = port.strval();
    std::int32_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (text.empty() || error != std::errc() || end != text.data() + text.size()) {
        return make_error(Code::kInvalidArgument, "port {} not found", text);
    }
    return checked_port(number);
}

Result<ProbeTarget> make_http_target(const corev1::Container& container,
                                     const corev1::HTTPGetAction& action,
                                     const std::string& pod_ip) {
    ProbeTarget target;
    target.kind = ProbeTarget::Kind::kHttp;
    target.host = action.host().empty() ? pod_ip : action.host();
    SLUICE_TRY_ASSIGN(target.port, port_number(container, action.port()));
    if (action.scheme() == "HTTPS") {
        target.tls = true;
    } else if (!action.scheme().empty() && action.scheme() != "HTTP") {
        return make_error(Code::kInvalidArgument, "httpGet.scheme \"{}\" is neither HTTP nor HTTPS",
                          action.scheme());
    }
    if (action.has_protocol()) {
        return make_error(Code::kUnimplemented,
                          "httpGet.protocol \"{}\" is not supported by this kubelet",
                          action.protocol());
    }
    target.path = request_path(action.path());
    for (const auto& header : action.httpheaders()) {
        const std::string both = header.name() + header.value();
        if (header.name().empty() || both.find_first_of(std::string("\r\n\0", 3)) != std::string::npos ||
            header.name().find_first_of(" :\t") != std::string::npos) {
            return make_error(Code::kInvalidArgument, "httpGet.httpHeaders: \"{}\" is no header",
                              header.name());
        }
        target.headers.emplace_back(header.name(), header.value());
    }
    return target;
}

Result<ProbeTarget> make_target(const corev1::Container& container, const corev1::Probe& probe,
                                const std::string& pod_ip) {
    const auto& handler = probe.handler();
    if (handler.has_httpget()) return make_http_target(container, handler.httpget(), pod_ip);
    ProbeTarget target;
    target.host = pod_ip;
    if (handler.has_exec()) {
        target.kind = ProbeTarget::Kind::kExec;
        target.command.assign(handler.exec().command().begin(), handler.exec().command().end());
        return target;
    }
    if (handler.has_tcpsocket()) {
        target.kind = ProbeTarget::Kind::kTcp;
        if (!handler.tcpsocket().host().empty()) target.host = handler.tcpsocket().host();
        SLUICE_TRY_ASSIGN(target.port, port_number(container, handler.tcpsocket().port()));
        return target;
    }
    if (handler.has_grpc()) {
        target.kind = ProbeTarget::Kind::kGrpc;
        if (handler.grpc().has_mode()) {
            return make_error(Code::kUnimplemented, "grpc.mode \"{}\" is not supported by this kubelet",
                              handler.grpc().mode());
        }
        SLUICE_TRY_ASSIGN(target.port, checked_port(handler.grpc().port()));
        target.service = handler.grpc().service();
        return target;
    }
    return make_error(Code::kInvalidArgument, "missing probe handler for container {}",
                      container.name());
}

ProbeTimes times_of(const corev1::Probe& probe) {
    ProbeTimes times;
    times.initial_delay_ms = milliseconds(probe.initialdelayseconds(), 0);
    times.period_ms = milliseconds(probe.periodseconds(), 10);
    times.timeout_ms = milliseconds(probe.timeoutseconds(), 1);
    if (probe.successthreshold() > 0) {
        times.success_threshold = static_cast<std::uint32_t>(probe.successthreshold());
    }
    if (probe.failurethreshold() > 0) {
        times.failure_threshold = static_cast<std::uint32_t>(probe.failurethreshold());
    }
    if (probe.has_terminationgraceperiodseconds()) {
        times.termination_grace_seconds = probe.terminationgraceperiodseconds();
    }
    return times;
}

}  // namespace sluice::kubelet
