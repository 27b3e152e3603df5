// What the endpoints of a Service ought to be, computed from the Service and its pods. Pure and
// thread-safe.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "api/base/ip_address.h"
#include "api/kubernetes/core/v1/endpoints.pb.h"
#include "api/kubernetes/core/v1/node.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/service.pb.h"
#include "api/kubernetes/discovery/v1/endpointslice.pb.h"

namespace sluice::controllers::endpoints {

namespace corev1 = ::k8s::io::api::core::v1;
namespace discoveryv1 = ::k8s::io::api::discovery::v1;

// Addresses beyond this many are left out of an Endpoints object, and an annotation says so; the
// slices that mirror a subset hold no more, either.
inline constexpr int kMaxEndpointsAddresses = 1'000;
inline constexpr char kServiceNameLabel[] = "kubernetes.io/service-name";
inline constexpr char kManagedByLabel[] = "endpointslice.kubernetes.io/managed-by";
inline constexpr char kHeadlessLabel[] = "service.kubernetes.io/headless";
inline constexpr char kSkipMirrorLabel[] = "endpointslice.kubernetes.io/skip-mirror";
inline constexpr char kOverCapacity[] = "endpoints.kubernetes.io/over-capacity";
inline constexpr char kZoneLabel[] = "topology.kubernetes.io/zone";

using PodPtr = std::shared_ptr<const corev1::Pod>;
using NodePtr = std::shared_ptr<const corev1::Node>;
using NodeLookup = std::function<NodePtr(const std::string& name)>;

// Endpoints that share one list of ports, as all endpoints of a slice do.
struct Group {
    std::vector<discoveryv1::EndpointPort> ports;
    std::vector<discoveryv1::Endpoint> endpoints;
};
// By port_key().
using Groups = std::map<std::string, Group>;

// Equal for equal lists of ports, in whatever order.
[[nodiscard]] std::string port_key(const std::vector<discoveryv1::EndpointPort>& ports);

[[nodiscard]] bool is_headless(const corev1::Service& service);
[[nodiscard]] bool is_ready(const corev1::Pod& pod);
// A pod without an address, or one that has ended, is no endpoint; a terminating one only where it
// is asked for.
[[nodiscard]] bool is_endpoint(const corev1::Pod& pod, bool terminating_too);
// False when a change of the pod cannot change any endpoint: most changes of a pod's status cannot.
[[nodiscard]] bool differ(const corev1::Pod& before, const corev1::Pod& after);

// The families of a Service's slices, as "IPv4", "IPv6".
[[nodiscard]] std::vector<std::string> address_types(const corev1::Service& service);

// The groups of one address type. A pod whose node is not known is left out, unless the Service
// publishes pods that are not ready, too; *unknown_node then becomes true, for another attempt
// later.
[[nodiscard]] Groups desired_groups(const corev1::Service& service, const std::string& address_type,
                                    const std::vector<PodPtr>& pods, const NodeLookup& node,
                                    bool* unknown_node);

// The Endpoints object of a Service with a selector, without resourceVersion and owner.
[[nodiscard]] corev1::Endpoints desired_endpoints(const corev1::Service& service,
                                                  const std::vector<PodPtr>& pods);

// The groups of one address type that mirror an Endpoints object.
[[nodiscard]] Groups mirrored_groups(const corev1::Endpoints& endpoints,
                                     const std::string& address_type);

}  // namespace sluice::controllers::endpoints
