#include "control/apiserver/aggregator/remote.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/base/host_port.h"
#include "api/codec/protobuf.h"
#include "api/kubernetes/apiregistration/v1/apiservice.pb.h"
#include "api/kubernetes/core/v1/service.pb.h"
#include "api/kubernetes/discovery/v1/endpointslice.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::aggregator {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;
namespace discoveryv1 = ::k8s::io::api::discovery::v1;

constexpr std::int32_t kDefaultPort = 443;

std::int32_t port_of(const ApiService& object) {
    const auto& service = object.spec().service();
    return service.has_port() ? service.port() : kDefaultPort;
}

bool is_ready(const discoveryv1::Endpoint& endpoint) {
    return !endpoint.conditions().has_ready() || endpoint.conditions().ready();
}

// Null when the slice has no such port.
const discoveryv1::EndpointPort* find_port(const discoveryv1::EndpointSlice& slice, const std::string& name) {
    for (const auto& port : slice.ports()) {
        if (port.name() == name && port.has_port()) return &port;
    }
    return nullptr;
}

void add_places(const discoveryv1::EndpointSlice& slice, const std::string& port_name, Remote* out) {
    const auto* port = find_port(slice, port_name);
    if (port == nullptr) return;
    for (const auto& endpoint : slice.endpoints()) {
        if (!is_ready(endpoint) || endpoint.addresses_size() == 0) continue;
        if (out->places.size() >= kMaxPlaces) return;
        out->places.emplace_back(endpoint.addresses(0), static_cast<std::uint16_t>(port->port()));
    }
}

// Finds the places, or why there are none, in the words of kube-aggregator.
void find_places(const ApiService& object, const corev1::Service* service, const std::vector<MessagePtr>& slices,
                 Remote* out) {
    const auto& wanted = object.spec().service();
    const std::int32_t number = port_of(object);
    const auto missing = [&](const char* reason, std::string message) {
        out->missing = Availability{"False", reason, std::move(message)};
    };
    if (service == nullptr) {
        return missing("ServiceNotFound", fmt::format("service/{} in \"{}\" is not present", wanted.name(),
                                                      wanted.namespace_()));
    }
    if (service->spec().type() == "ExternalName") {
        out->places_are_hosts = true;
        out->places.emplace_back(service->spec().externalname(), static_cast<std::uint16_t>(number));
        return;
    }
    const auto& ports = service->spec().ports();
    const auto port = std::ranges::find(ports, number, [](const corev1::ServicePort& one) { return one.port(); });
    if (port == ports.end()) {
        return missing("ServicePortError", fmt::format("service/{} in \"{}\" is not listening on port {}",
                                                       wanted.name(), wanted.namespace_(), number));
    }
    if (slices.empty()) {
        return missing("EndpointsNotFound", fmt::format("cannot find endpointslices for service/{} in \"{}\"",
                                                        wanted.name(), wanted.namespace_()));
    }
    for (const MessagePtr& slice : slices) {
        add_places(static_cast<const discoveryv1::EndpointSlice&>(*slice), port->name(), out);
    }
    if (!out->places.empty()) return;
    missing("MissingEndpoints",
            fmt::format("endpointslices for service/{} in \"{}\" have no addresses with port name \"{}\"",
                        wanted.name(), wanted.namespace_(), port->name()));
}

void make_tls(const ApiService& object, const FrontProxy& us, Remote* out) {
    const std::string& authority = object.spec().cabundle();
    if (authority.empty()) {
        out->tls = us.of_system;
        if (out->tls == nullptr) out->tls_error = "the system's certificate authorities cannot be read";
        return;
    }
    auto made = http::ClientTls::create(authority, us.certificate_pem, us.private_key_pem);
    if (made) {
        out->tls = std::move(*made);
    } else {
        out->tls_error = made.error().message;
    }
}

}  // namespace

std::string Remote::path() const { return fmt::format("/apis/{}/{}", group, version); }

http::DialRequest Remote::dial(std::size_t turn) const {
    const auto& [place, port] = places[turn % places.size()];
    http::DialRequest out;
    (places_are_hosts ? out.host : out.address) = place;
    out.port = port;
    out.tls = tls;
    out.server_name = server_name;
    out.skip_verify = skip_verify;
    return out;
}

std::string Remote::shown_place(std::size_t turn) const {
    const auto& [place, port] = places[turn % places.size()];
    return host_and_port(place, port);
}

RemotePtr make_remote(const ApiService& object, const FrontProxy& us, const google::protobuf::Message* service,
                      const std::vector<MessagePtr>& slices) {
    auto out = std::make_shared<Remote>();
    const auto& spec = object.spec();
    out->name = object.metadata().name();
    out->group = spec.group();
    out->version = spec.version();
    out->group_priority = spec.grouppriorityminimum();
    out->version_priority = spec.versionpriority();
    for (const auto& condition : object.status().conditions()) {
        if (condition.type() == "Available") out->available = condition.status() == "True";
    }
    out->server_name = fmt::format("{}.{}.svc", spec.service().name(), spec.service().namespace_());
    out->skip_verify = spec.insecureskiptlsverify();
    find_places(object, static_cast<const corev1::Service*>(service), slices, out.get());
    make_tls(object, us, out.get());
    out->fingerprint = object.metadata().uid() + codec::encode_protobuf_raw(spec);
    for (std::size_t i = 0; i < out->places.size(); ++i) out->fingerprint += "|" + out->shown_place(i);
    if (out->missing) out->fingerprint += out->missing->reason;
    return out;
}

}  // namespace sluice::aggregator
