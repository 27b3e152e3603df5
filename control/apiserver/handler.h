// The API server's request chain, in the order a request passes it:
//
//   audit -> count -> authenticate -> impersonate -> authorize -> wait for a seat (flowcontrol) -> health,
//   version, discovery, OpenAPI, metrics -> reviews -> logs and streams of Pods -> resource API -> 404
//
// Everything is authorized before anything is looked up, so that a 403 tells nothing about what exists.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "api/codec/openapi/openapi.h"
#include "control/apiserver/discovery.h"
#include "control/apiserver/health.h"
#include "control/http/server.h"
#include "control/apiserver/metrics.h"

namespace sluice::aggregator {
class Aggregator;
}
namespace sluice::audit {
class Auditor;
}
namespace sluice::flowcontrol {
class Gate;
}
namespace sluice::authorization {
class Authorizer;
struct Attributes;
struct Decision;
}
namespace sluice::registry {
class Api;
}
namespace sluice::service_accounts {
class Authority;
class TokenRequests;
}
namespace sluice::store {
class Store;
}

namespace sluice::apiserver {

class PodProxy;

// Thread-safe once built. The store and the Api given to it outlive the http::Server that calls handle().
class ApiServer {
public:
    // server_address: "10.0.0.1:6443", for discovery. http_stats is asked when metrics are read. Until there is an
    // authorizer, only members of system:masters and what is open to strangers are served.
    ApiServer(const store::Store& store, const std::string& server_address,
              std::function<http::ServerStats()> http_stats);

    void handle(std::shared_ptr<http::Request> request, std::shared_ptr<http::Responder> responder);

    // Who decides from now on. It outlives the http::Server that calls handle().
    void set_authorizer(const authorization::Authorizer* authorizer) {
        authorizer_.store(authorizer, std::memory_order_release);
    }
    // Requests without credentials are those of system:anonymous, whatever they ask for, instead of 401 beyond health,
    // version and the published facts of the cluster. Before the first request.
    void set_anonymous(bool allowed) { anonymous_ = allowed; }
    // Who answers for tokens. Both outlive the http::Server that calls handle(), and are set before the first request.
    void set_tokens(const service_accounts::Authority* authority, const service_accounts::TokenRequests* requests) {
        token_authority_ = authority;
        token_requests_ = requests;
    }
    // Custom kinds that discovery and OpenAPI show from now on.
    void set_custom_kinds(std::vector<codec::PublishedKind> kinds) {
        discovery_.set_custom(kinds);
        openapi_.set_custom(std::move(kinds));
    }
    // Versions that other servers serve, which discovery and OpenAPI show from now on.
    void set_remote_versions(std::vector<aggregator::RemoteVersion> versions);
    // From now on requests of such versions are handed on. The aggregator outlives the http::Server that calls
    // handle().
    void set_aggregator(aggregator::Aggregator* aggregator) {
        aggregator_.store(aggregator, std::memory_order_release);
    }
    // Who notes requests, and where they wait for their turn. Both outlive the http::Server that calls handle(), and
    // are set before the first request. Without them nothing is noted, and nothing waits.
    void set_auditor(std::shared_ptr<audit::Auditor> auditor) { auditor_ = std::move(auditor); }
    void set_gate(flowcontrol::Gate* gate) { gate_ = gate; }
    // More text for /metrics. Before the first request.
    void add_metrics(std::function<std::string()> text) { more_metrics_.push_back(std::move(text)); }
    // From now on resources are served, and /readyz says ok. Before, resource requests get 503.
    void set_api(registry::Api* api) { api_.store(api, std::memory_order_release); }
    // From now on logs and streams of Pods are served. The proxy outlives the http::Server that calls handle().
    void set_pod_proxy(PodProxy* proxy) { pod_proxy_.store(proxy, std::memory_order_release); }
    // From now on /readyz fails, so that load balancers look elsewhere.
    void begin_shutdown() { shutting_down_.store(true, std::memory_order_relaxed); }

private:
    // Past the gate: whoever answers this path.
    void route(std::shared_ptr<http::Request> request, std::shared_ptr<http::Responder> responder);
    // nullopt: not a path of this layer.
    [[nodiscard]] std::optional<http::Response> answer_directly(const http::Request& request) const;
    [[nodiscard]] http::Response index() const;
    [[nodiscard]] std::shared_ptr<const std::vector<aggregator::RemoteVersion>> remote_versions() const;
    [[nodiscard]] authorization::Decision decide(const authorization::Attributes& asked) const;
    // Settles who asks, what for, and whether he may; the refusal if not. decision: what the authorizers said of the
    // request itself, if it came to that.
    [[nodiscard]] std::optional<http::Response> admit(http::Request* request, authorization::Attributes* asked,
                                                      std::optional<authorization::Decision>* decision);

    const store::Store& store_;
    std::function<http::ServerStats()> http_stats_;
    Discovery discovery_;
    codec::OpenApiCatalog openapi_;
    std::vector<HealthCheck> checks_;
    std::shared_ptr<Metrics> metrics_;  // shared with answers that may come late
    std::atomic<registry::Api*> api_{nullptr};
    std::atomic<PodProxy*> pod_proxy_{nullptr};
    std::atomic<aggregator::Aggregator*> aggregator_{nullptr};
    mutable std::mutex remote_mutex_;
    std::shared_ptr<const std::vector<aggregator::RemoteVersion>> remote_ =
        std::make_shared<const std::vector<aggregator::RemoteVersion>>();  // under remote_mutex_
    std::atomic<const authorization::Authorizer*> authorizer_{nullptr};
    std::shared_ptr<audit::Auditor> auditor_;
    flowcontrol::Gate* gate_ = nullptr;
    std::vector<std::function<std::string()>> more_metrics_;
    const service_accounts::Authority* token_authority_ = nullptr;
    const service_accounts::TokenRequests* token_requests_ = nullptr;
    bool anonymous_ = false;
    std::atomic<bool> shutting_down_{false};
    std::atomic<std::uint64_t> unauthenticated_{0};
};

}  // namespace sluice::apiserver
