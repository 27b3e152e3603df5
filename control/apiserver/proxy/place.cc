#include "control/apiserver/proxy/place.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>
#include <vector>

#include "api/base/ip_address.h"
#include "api/codec/scheme.h"
#include "api/kubernetes/core/v1/endpoints.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/service.pb.h"
#include "control/apiserver/proxy/status.h"
#include "control/http/uri.h"

namespace sluice::apiserver {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;
using Found = tl::expected<ProxyPlace, http::Response>;

constexpr std::uint16_t kHttpPort = 80;
constexpr std::uint16_t kHttpsPort = 443;

auto refuse(http::Response response) { return tl::unexpected(std::move(response)); }

std::optional<std::uint16_t> port_number(std::string_view text) {
    std::uint16_t out = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    if (error != std::errc() || end != text.data() + text.size() || out == 0) return std::nullopt;
    return out;
}

tl::expected<std::shared_ptr<const google::protobuf::Message>, http::Response> read(
    const ObjectReader& reader, const char* kind, const char* resource, const std::string& name_space,
    const std::string& name) {
    const codec::KindInfo* info = codec::find_kind({"", "v1", kind});
    auto object = reader(*info, name_space, name);
    if (!object) return refuse(read_failure(object.error(), resource, name));
    return *object;
}

// One segment of a path.
std::optional<std::string> decoded(std::string_view segment) {
    const auto target = http::parse_target("/" + std::string(segment));
    if (!target) return std::nullopt;
    const std::string_view path = target->path;
    return std::string(path.substr(path.starts_with('/') ? 1 : 0));
}

// Others than this machine and its links: a Pod cannot make this server ask itself.
bool may_be_asked(const std::string& text) {
    const auto address = IpAddress::parse(text);
    return address && !address->is_loopback() && !address->is_link_local() && !address->is_multicast() &&
           !address->is_unspecified();
}

Found pod_place(const ProxyRequest& request, const ProxyId& id, const ObjectReader& reader) {
    const auto object = read(reader, "Pod", "pods", request.name_space, id.name);
    if (!object) return refuse(object.error());
    const auto& pod = static_cast<const corev1::Pod&>(**object);
    ProxyPlace out{.address = pod.status().podip(), .port = 0, .tls = id.scheme == "https", .kubelet = false};
    if (!id.port.empty()) {
        const auto port = port_number(id.port);
        if (!port) return refuse(bad_request(fmt::format("invalid pod request \"{}\"", request.id)));
        out.port = *port;
    } else {
        for (const auto& container : pod.spec().containers()) {
            if (container.ports().empty()) continue;
            out.port = static_cast<std::uint16_t>(container.ports(0).containerport());
            break;
        }
    }
    if (out.port == 0) out.port = out.tls ? kHttpsPort : kHttpPort;
    if (!may_be_asked(out.address)) return refuse(bad_request("address not allowed"));
    return out;
}

// The name of the Service's port that is asked for, which its Endpoints have too.
tl::expected<std::string, http::Response> port_name(const corev1::Service& service, const ProxyId& id) {
    if (id.port.empty()) return service.spec().ports_size() == 1 ? service.spec().ports(0).name() : std::string();
    const auto number = port_number(id.port);
    if (!number) return id.port;
    for (const auto& port : service.spec().ports()) {
        if (port.port() == *number) return port.name();
    }
    return refuse(unavailable(fmt::format("no service port {} found for service \"{}\"", *number, id.name)));
}

// Endpoints are anybody's to write who may write in the namespace: only what is an address of one of its Pods is asked.
bool is_of_pod(const corev1::EndpointAddress& address, const std::string& name_space, const ObjectReader& reader) {
    if (!address.has_targetref() || address.targetref().namespace_() != name_space) return false;
    const auto object = reader(*codec::find_kind({"", "v1", "Pod"}), name_space, address.targetref().name());
    if (!object) return false;
    const auto& status = static_cast<const corev1::Pod&>(**object).status();
    return std::ranges::any_of(status.podips(), [&](const auto& pod) { return pod.ip() == address.ip(); });
}

Found service_place(const ProxyRequest& request, const ProxyId& id, const ObjectReader& reader, std::uint32_t random) {
    const auto object = read(reader, "Service", "services", request.name_space, id.name);
    if (!object) return refuse(object.error());
    auto name = port_name(static_cast<const corev1::Service&>(**object), id);
    if (!name) return refuse(std::move(name).error());
    const auto behind = read(reader, "Endpoints", "endpoints", request.name_space, id.name);
    if (!behind) return refuse(behind.error());
    std::vector<std::pair<const corev1::EndpointAddress*, std::int32_t>> places;
    for (const auto& subset : static_cast<const corev1::Endpoints&>(**behind).subsets()) {
        for (const auto& port : subset.ports()) {
            if (port.name() != *name) continue;
            for (const auto& address : subset.addresses()) places.emplace_back(&address, port.port());
        }
    }
    for (std::size_t i = 0; i < places.size(); ++i) {
        const auto& [address, port] = places[(random + i) % places.size()];
        if (!is_of_pod(*address, request.name_space, reader)) continue;
        if (!may_be_asked(address->ip())) return refuse(bad_request("address not allowed"));
        return ProxyPlace{.address = address->ip(), .port = static_cast<std::uint16_t>(port),
                          .tls = id.scheme == "https", .kubelet = false};
    }
    return refuse(unavailable(fmt::format("no endpoints available for service \"{}\"", request.id)));
}

Found node_place(const ProxyRequest& request, const ProxyId& id, const ObjectReader& reader) {
    const auto kubelet = locate_kubelet(id.name, reader);
    if (!kubelet) return refuse(kubelet.error());
    const auto port = id.port.empty() ? std::optional(kubelet->port) : port_number(id.port);
    if (!port) return refuse(bad_request(fmt::format("invalid node request \"{}\"", request.id)));
    if (*port == kubelet->port) {
        return ProxyPlace{.address = kubelet->address, .port = *port, .tls = true, .kubelet = true};
    }
    if (!may_be_asked(kubelet->address)) return refuse(bad_request("address not allowed"));
    return ProxyPlace{.address = kubelet->address, .port = *port, .tls = id.scheme == "https", .kubelet = false};
}

}  // namespace

std::optional<ProxyRequest> parse_proxy_target(std::string_view target) {
    const std::string_view path = target.substr(0, target.find('?'));
    std::vector<std::string_view> parts;
    std::size_t at = 1;
    // /api/v1/namespaces/NS/KIND/ID/proxy, /api/v1/nodes/ID/proxy
    static constexpr std::size_t kNamespaced = 7;
    static constexpr std::size_t kOfNodes = 5;
    std::size_t wanted = kNamespaced;
    while (path.starts_with('/') && at != 0 && parts.size() < wanted) {
        const std::size_t slash = path.find('/', at);
        parts.push_back(path.substr(at, slash == std::string_view::npos ? slash : slash - at));
        at = slash == std::string_view::npos ? 0 : slash + 1;
        if (parts.size() == 3 && parts[2] == "nodes") wanted = kOfNodes;
    }
    if (parts.size() != wanted || parts[0] != "api" || parts[1] != "v1" || parts.back() != "proxy") return std::nullopt;
    ProxyRequest out;
    if (wanted == kOfNodes) {
        out.kind = ProxyRequest::Kind::kNode;
    } else if (parts[2] == "namespaces" && (parts[4] == "pods" || parts[4] == "services")) {
        out.kind = parts[4] == "pods" ? ProxyRequest::Kind::kPod : ProxyRequest::Kind::kService;
        const auto name_space = decoded(parts[3]);
        if (!name_space || name_space->empty()) return std::nullopt;
        out.name_space = *name_space;
    } else {
        return std::nullopt;
    }
    const auto id = decoded(parts[wanted - 2]);
    if (!id || id->empty()) return std::nullopt;
    out.id = *id;
    const std::size_t end = at == 0 ? path.size() : at - 1;
    out.prefix = path.substr(0, end);
    out.rest = path.substr(end);
    return out;
}

std::optional<ProxyId> split_proxy_id(std::string_view id) {
    std::array<std::string_view, 3> parts;
    std::size_t count = 0;
    while (true) {
        if (count == parts.size()) return std::nullopt;
        const std::size_t colon = id.find(':');
        parts.at(count++) = id.substr(0, colon);
        if (colon == std::string_view::npos) break;
        id.remove_prefix(colon + 1);
    }
    ProxyId out;
    if (count == 1) {
        out.name = parts[0];
    } else if (count == 2) {
        out.name = parts[0];
        out.port = parts[1];
    } else {
        out.scheme = parts[0];
        out.name = parts[1];
        out.port = parts[2];
        if (!out.scheme.empty() && out.scheme != "http" && out.scheme != "https") return std::nullopt;
    }
    if (out.name.empty()) return std::nullopt;
    return out;
}

Found find_place(const ProxyRequest& request, const ObjectReader& reader, std::uint32_t random) {
    static constexpr std::array<const char*, 3> kWords = {"pod", "service", "node"};
    const auto id = split_proxy_id(request.id);
    if (!id) {
        return refuse(bad_request(
            fmt::format("invalid {} request \"{}\"", kWords.at(static_cast<std::size_t>(request.kind)), request.id)));
    }
    switch (request.kind) {
        case ProxyRequest::Kind::kPod: return pod_place(request, *id, reader);
        case ProxyRequest::Kind::kService: return service_place(request, *id, reader, random);
        case ProxyRequest::Kind::kNode: return node_place(request, *id, reader);
    }
    return refuse(bad_request("unknown kind"));
}

}  // namespace sluice::apiserver
