#include "control/apiserver/registry/bootstrap.h"

#include <google/protobuf/message.h>

#include <future>

#include "api/base/log.h"
#include "api/kubernetes/core/v1/endpoints.pb.h"
#include "api/kubernetes/core/v1/namespace.pb.h"
#include "api/kubernetes/core/v1/service.pb.h"
#include "api/kubernetes/discovery/v1/endpointslice.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/defaults/platform_bootstrap.h"
#include "control/apiserver/registry/rest/lifecycle.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;
namespace discoveryv1 = ::k8s::io::api::discovery::v1;

constexpr const char* kNamespaces[] = {"default", "kube-system", "kube-public", "kube-node-lease"};
constexpr const char* kServiceName = "kubernetes";
constexpr std::int32_t kHttpsPort = 443;
constexpr std::string_view kComponent = "registry";

const Strategy& strategy_of(Core& core, std::string_view group, std::string_view resource) {
    const codec::KindInfo* kind = codec::find_resource(group, "v1", resource);
    SLUICE_ASSERT(kind != nullptr);
    return core.strategies.of(*kind);
}

// Makes the object, or lets `amend` bring a stored one up to date.
Result<void> ensure(Core& core, const Strategy& strategy, std::shared_ptr<const Message> wanted,
                    std::function<void(Message*)> amend) {
    const auto& meta = codec::object_meta(*wanted);
    std::promise<Answer<Outcome>> promise;
    auto outcome = promise.get_future();
    change_object(
        core, strategy, meta.namespace_(), meta.name(), false,
        [&strategy, wanted, amend](const ObjectPtr& existing) -> Answer<Change> {
            if (existing == nullptr) {
                std::unique_ptr<Message> copy(wanted->New());
                copy->CopyFrom(*wanted);
                return prepare_creation(strategy, std::move(copy));
            }
            if (!amend) return Change{};
            std::unique_ptr<Message> copy(existing->message().New());
            copy->CopyFrom(existing->message());
            amend(copy.get());
            return prepare_update(strategy, *existing, std::move(copy), Part::kMain);
        },
        [&promise](Answer<Outcome> done) { promise.set_value(std::move(done)); });
    const auto done = outcome.get();
    if (done) return {};
    return make_error(Code::kFailedPrecondition, "cannot make {} {}/{}: {}",
                      strategy.kind().resource, meta.namespace_(), meta.name(),
                      done.error().message);
}

Result<void> ensure_service(Core& core, const ApiOptions& options) {
    auto service = std::make_shared<corev1::Service>();
    service->mutable_metadata()->set_namespace_("default");
    service->mutable_metadata()->set_name(kServiceName);
    auto& labels = *service->mutable_metadata()->mutable_labels();
    labels["component"] = "apiserver";
    labels["provider"] = "kubernetes";
    auto* spec = service->mutable_spec();
    // By convention the first address of the first range.
    const IpPrefix& range = options.service_cidrs.front();
    IpAddress first = range.address;
    first.bytes[15] = static_cast<std::uint8_t>(first.bytes[15] + 1);
    spec->set_clusterip(first.to_string());
    auto* port = spec->add_ports();
    port->set_name("https");
    port->set_protocol("TCP");
    port->set_port(kHttpsPort);
    port->mutable_targetport()->set_intval(options.advertise_port);
    return ensure(core, strategy_of(core, "", "services"), service,
                  [advertised = options.advertise_port](Message* message) {
                      auto* stored = static_cast<corev1::Service*>(message)->mutable_spec();
                      if (stored->ports_size() == 0) return;
                      stored->mutable_ports(0)->mutable_targetport()->set_intval(advertised);
                  });
}

void fill_slice(const ApiOptions& options, const IpAddress& address,
                discoveryv1::EndpointSlice* slice) {
    (*slice->mutable_metadata()->mutable_labels())["kubernetes.io/service-name"] = kServiceName;
    slice->set_addresstype(address.is_v4() ? "IPv4" : "IPv6");
    slice->clear_endpoints();
    slice->clear_ports();
    auto* endpoint = slice->add_endpoints();
    endpoint->add_addresses(address.to_string());
    endpoint->mutable_conditions()->set_ready(true);
    auto* port = slice->add_ports();
    port->set_name("https");
    port->set_port(options.advertise_port);
    port->set_protocol("TCP");
}

void fill_endpoints(const ApiOptions& options, const IpAddress& address,
                    corev1::Endpoints* endpoints) {
    // The slice above is the API's own; nobody mirrors these Endpoints into another.
    (*endpoints->mutable_metadata()
          ->mutable_labels())["endpointslice.kubernetes.io/skip-mirror"] = "true";
    endpoints->clear_subsets();
    auto* subset = endpoints->add_subsets();
    subset->add_addresses()->set_ip(address.to_string());
    auto* port = subset->add_ports();
    port->set_name("https");
    port->set_port(options.advertise_port);
    port->set_protocol("TCP");
}

Result<void> ensure_endpoints(Core& core, const ApiOptions& options) {
    const auto address = IpAddress::parse(options.advertise_address);
    if (!address || address->is_loopback() || address->is_unspecified()) {
        // Pods have their own loopback, so such an address would lead them nowhere.
        log::warn(kComponent,
                  "service default/kubernetes gets no endpoints: pods cannot reach the advertised "
                  "address \"{}\"",
                  options.advertise_address);
        return {};
    }
    auto slice = std::make_shared<discoveryv1::EndpointSlice>();
    slice->mutable_metadata()->set_namespace_("default");
    slice->mutable_metadata()->set_name(kServiceName);
    fill_slice(options, *address, slice.get());
    SLUICE_TRY(ensure(core, strategy_of(core, "discovery.k8s.io", "endpointslices"), slice,
                      [&](Message* message) {
                          fill_slice(options, *address,
                                     static_cast<discoveryv1::EndpointSlice*>(message));
                      }));
    auto endpoints = std::make_shared<corev1::Endpoints>();
    endpoints->mutable_metadata()->set_namespace_("default");
    endpoints->mutable_metadata()->set_name(kServiceName);
    fill_endpoints(options, *address, endpoints.get());
    return ensure(core, strategy_of(core, "", "endpoints"), endpoints, [&](Message* message) {
        fill_endpoints(options, *address, static_cast<corev1::Endpoints*>(message));
    });
}

}  // namespace

Result<void> bootstrap(Core& core, const ApiOptions& options) {
    for (const char* name : kNamespaces) {
        auto object = std::make_shared<corev1::Namespace>();
        object->mutable_metadata()->set_name(name);
        SLUICE_TRY(ensure(core, strategy_of(core, "", "namespaces"), object, nullptr));
    }
    SLUICE_TRY(bootstrap_platform(core, options));
    SLUICE_TRY(ensure_service(core, options));
    return ensure_endpoints(core, options);
}

}  // namespace sluice::registry
