// The API server's request chain, in the order a request passes it:
//
//   count -> authenticate -> impersonate -> guard -> health, version, discovery, OpenAPI, metrics -> logs and
//   streams of Pods -> resource API -> 404
//
// The guard keeps strangers and bootstrap tokens to what they need; every other client may do everything, as roles
// are a later part of the system.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/codec/openapi/openapi.h"
#include "control/apiserver/discovery.h"
#include "control/apiserver/health.h"
#include "control/http/server.h"
#include "control/apiserver/metrics.h"

namespace sluice::registry {
class Api;
}
namespace sluice::store {
class Store;
}

namespace sluice::apiserver {

class PodProxy;

// Thread-safe once built. The store and the Api given to it outlive the http::Server that calls handle().
class ApiServer {
public:
    // server_address: "10.0.0.1:6443", for discovery. http_stats is asked when metrics are read.
    ApiServer(const store::Store& store, const std::string& server_address,
              std::function<http::ServerStats()> http_stats);

    void handle(std::shared_ptr<http::Request> request, std::shared_ptr<http::Responder> responder);

    // Custom kinds that discovery and OpenAPI show from now on.
    void set_custom_kinds(std::vector<codec::PublishedKind> kinds) {
        discovery_.set_custom(kinds);
        openapi_.set_custom(std::move(kinds));
    }
    // From now on resources are served, and /readyz says ok. Before, resource requests get 503.
    void set_api(registry::Api* api) { api_.store(api, std::memory_order_release); }
    // From now on logs and streams of Pods are served. The proxy outlives the http::Server that calls handle().
    void set_pod_proxy(PodProxy* proxy) { pod_proxy_.store(proxy, std::memory_order_release); }
    // From now on /readyz fails, so that load balancers look elsewhere.
    void begin_shutdown() { shutting_down_.store(true, std::memory_order_relaxed); }

private:
    // nullopt: not a path of this layer.
    [[nodiscard]] std::optional<http::Response> answer_directly(const http::Request& request) const;
    [[nodiscard]] http::Response index() const;

    const store::Store& store_;
    std::function<http::ServerStats()> http_stats_;
    Discovery discovery_;
    codec::OpenApiCatalog openapi_;
    std::vector<HealthCheck> checks_;
    std::shared_ptr<Metrics> metrics_;  // shared with answers that may come late
    std::atomic<registry::Api*> api_{nullptr};
    std::atomic<PodProxy*> pod_proxy_{nullptr};
    std::atomic<bool> shutting_down_{false};
    std::atomic<std::uint64_t> unauthenticated_{0};
};

}  // namespace sluice::apiserver
