#include "control/apiserver/proxy/target.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "api/codec/scheme.h"
#include "api/kubernetes/core/v1/node.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "control/apiserver/proxy/log_options.h"
#include "control/apiserver/proxy/status.h"
#include "control/http/uri.h"

namespace sluice::apiserver {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;
template <class T>
using Answered = tl::expected<T, http::Response>;

tl::unexpected<http::Response> refuse(http::Response response) {
    return tl::unexpected<http::Response>(std::move(response));
}

// As Kubernetes reads flags in queries.
bool flag(const http::Request& request, std::string_view name) {
    const auto value = request.parameter(name);
    return value && *value != "false" && *value != "False" && *value != "FALSE" && *value != "0";
}

std::string parameter(const http::Request& request, std::string_view name) {
    return std::string(request.parameter(name).value_or(""));
}

std::vector<std::string> container_names(const corev1::Pod& pod) {
    std::vector<std::string> names;
    for (const auto& container : pod.spec().initcontainers()) names.push_back(container.name());
    for (const auto& container : pod.spec().containers()) names.push_back(container.name());
    for (const auto& container : pod.spec().ephemeralcontainers()) {
        names.push_back(container.ephemeralcontainercommon().name());
    }
    return names;
}

Answered<std::string> choose_container(const corev1::Pod& pod, const std::string& pod_name,
                                       const std::string& wanted) {
    const auto names = container_names(pod);
    if (!wanted.empty()) {
        if (std::find(names.begin(), names.end(), wanted) == names.end()) {
            return refuse(bad_request(
                fmt::format("container {} is not valid for pod {}", wanted, pod_name)));
        }
        return wanted;
    }
    if (pod.spec().containers_size() == 1) return pod.spec().containers(0).name();
    std::string message =
        fmt::format("a container name must be specified for pod {}", pod_name);
    if (pod.spec().containers_size() > 1) {
        message += ", choose one of: [";
        for (const auto& name : names) {
            if (message.back() != '[') message += ' ';
            message += name;
        }
        message += ']';
    }
    return refuse(bad_request(message));
}

}  // namespace

tl::expected<KubeletTarget, http::Response> locate_kubelet(const std::string& node_name, const ObjectReader& reader) {
    static const codec::KindInfo* const kind = codec::find_kind({"", "v1", "Node"});
    const auto object = reader(*kind, "", node_name);
    if (!object) return refuse(read_failure(object.error(), "nodes", node_name));
    const auto& node = static_cast<const corev1::Node&>(**object);
    KubeletTarget out;
    out.node = node_name;
    for (const char* type : {"InternalIP", "ExternalIP"}) {
        for (const auto& address : node.status().addresses()) {
            if (out.address.empty() && address.type() == type) out.address = address.address();
        }
    }
    if (out.address.empty()) {
        return refuse(unclassified(fmt::format(
            "no preferred addresses found; known addresses: {} of node {}, none is InternalIP or "
            "ExternalIP",
            node.status().addresses_size(), node_name)));
    }
    const std::int32_t port = node.status().daemonendpoints().kubeletendpoint().port();
    static constexpr std::uint16_t kKubeletPort = 10250;
    out.port = port > 0 && port <= 65'535 ? static_cast<std::uint16_t>(port) : kKubeletPort;
    return out;
}

namespace {

void add_query(std::string* target, std::string_view name, std::string_view value) {
    target->push_back(target->find('?') == std::string::npos ? '?' : '&');
    target->append(name);
    target->push_back('=');
    target->append(http::percent_encode(value));
}

std::string exec_target(const PodRequest& pod, const std::string& container,
                        const http::Request& request, const Streams& streams) {
    const bool exec = pod.kind == PodRequest::Kind::kExec;
    std::string out = fmt::format("/{}/{}/{}/{}", exec ? "exec" : "attach", pod.name_space, pod.pod,
                                  container);
    if (streams.in) add_query(&out, "input", "1");
    if (streams.out) add_query(&out, "output", "1");
    if (streams.err) add_query(&out, "error", "1");
    if (streams.tty) add_query(&out, "tty", "1");
    if (exec) {
        for (const auto& [name, value] : request.query) {
            if (name == "command") add_query(&out, name, value);
        }
    }
    return out;
}

// The ports that WebSocket clients name in the query; SPDY clients name them in their streams.
Answered<std::string> port_query(const http::Request& request) {
    std::string ports;
    for (const auto& [name, value] : request.query) {
        if (name != "ports") continue;
        std::int32_t port = 0;
        std::string_view rest = value;
        while (!rest.empty()) {
            const std::size_t comma = std::min(rest.find(','), rest.size());
            const auto [end, error] = std::from_chars(rest.data(), rest.data() + comma, port);
            if (error != std::errc() || end != rest.data() + comma) {
                return refuse(bad_request(fmt::format(
                    "strconv.ParseUint: parsing \"{}\": invalid syntax", rest.substr(0, comma))));
            }
            if (!ports.empty()) ports += ',';
            ports += std::to_string(port);
            rest.remove_prefix(std::min(comma + 1, rest.size()));
        }
    }
    return ports;
}

}  // namespace

std::optional<PodRequest> parse_pod_path(std::string_view path) {
    static constexpr std::string_view kPrefix = "/api/v1/namespaces/";
    if (!path.starts_with(kPrefix)) return std::nullopt;
    path.remove_prefix(kPrefix.size());
    std::array<std::string_view, 4> parts;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        const std::size_t slash = path.find('/');
        parts[i] = path.substr(0, slash);
        if (parts[i].empty() || (i == 3) != (slash == std::string_view::npos)) return std::nullopt;
        if (slash != std::string_view::npos) path.remove_prefix(slash + 1);
    }
    if (parts[1] != "pods") return std::nullopt;
    PodRequest out;
    out.name_space = parts[0];
    out.pod = parts[2];
    if (parts[3] == "log") {
        out.kind = PodRequest::Kind::kLog;
    } else if (parts[3] == "exec") {
        out.kind = PodRequest::Kind::kExec;
    } else if (parts[3] == "attach") {
        out.kind = PodRequest::Kind::kAttach;
    } else if (parts[3] == "portforward") {
        out.kind = PodRequest::Kind::kPortForward;
    } else {
        return std::nullopt;
    }
    return out;
}

Answered<KubeletTarget> find_kubelet(const PodRequest& wanted, const http::Request& request,
                                     const ObjectReader& reader) {
    using Kind = PodRequest::Kind;
    std::string log_query;
    if (wanted.kind == Kind::kLog) {
        auto query = log_options_query(request, wanted.pod);
        if (!query) return refuse(std::move(query.error()));
        log_query = std::move(*query);
    }
    static const codec::KindInfo* const kind = codec::find_kind({"", "v1", "Pod"});
    const auto object = reader(*kind, wanted.name_space, wanted.pod);
    if (!object) return refuse(read_failure(object.error(), "pods", wanted.pod));
    const auto& pod = static_cast<const corev1::Pod&>(**object);
    std::string container;
    if (wanted.kind != Kind::kPortForward) {
        auto chosen = choose_container(pod, wanted.pod, parameter(request, "container"));
        if (!chosen) return refuse(std::move(chosen.error()));
        container = std::move(*chosen);
    }
    if (pod.spec().nodename().empty()) {
        if (wanted.kind == Kind::kLog) return KubeletTarget{};
        return refuse(
            bad_request(fmt::format("pod {} does not have a host assigned", wanted.pod)));
    }
    auto target = locate_kubelet(pod.spec().nodename(), reader);
    if (!target) {
        // As kube-apiserver has it: the name is the node's, the resource the Pod's.
        static constexpr int kNotFound = 404;
        if (target.error().status == kNotFound) return refuse(object_not_found("pods", pod.spec().nodename()));
        return target;
    }
    if (wanted.kind == Kind::kLog) {
        target->target = fmt::format("/containerLogs/{}/{}/{}{}", wanted.name_space, wanted.pod,
                                     container, log_query);
        target->skip_verify = flag(request, "insecureSkipTLSVerifyBackend");
    } else if (wanted.kind == Kind::kPortForward) {
        auto ports = port_query(request);
        if (!ports) return refuse(std::move(ports.error()));
        target->target = fmt::format("/portForward/{}/{}", wanted.name_space, wanted.pod);
        if (!ports->empty()) add_query(&target->target, "port", *ports);
    } else {
        Streams& streams = target->streams;
        streams = {flag(request, "stdin"), flag(request, "stdout"), flag(request, "stderr"),
                   flag(request, "tty")};
        if (!streams.in && !streams.out && !streams.err) {
            return refuse(bad_request("you must specify at least 1 of stdin, stdout, stderr"));
        }
        target->target = exec_target(wanted, container, request, streams);
    }
    return target;
}

}  // namespace sluice::apiserver
