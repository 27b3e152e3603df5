// Group versions that other API servers serve, as APIServices name them: whether they are there, what they serve, and
// the way of requests to them (docs/adr/0015).
//
//   Remotes: APIServices, Services, EndpointSlices --snapshot--> relay(): a request goes to one of the endpoints
//                                 `--> Checks: Available, discovery --> ApiServer's documents
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "control/apiserver/aggregator/checks.h"
#include "control/apiserver/aggregator/remotes.h"
#include "control/apiserver/relay/relay.h"
#include "control/http/server.h"

namespace sluice::aggregator {

struct Authorities {
    std::string client_ca_pem;       // signs the clients of this server
    std::string front_proxy_ca_pem;  // signs what this server is to others
};

// Thread-safe. Outlives the http::Server whose requests it answers.
class Aggregator {
public:
    Aggregator(registry::Api& api, FrontProxy us, Checks::Publish publish);
    ~Aggregator();
    Aggregator(const Aggregator&) = delete;
    Aggregator& operator=(const Aggregator&) = delete;

    // Publishes the authorities in kube-system/extension-apiserver-authentication, where other API servers look for
    // them, and follows the APIServices. Returns when those in the store are known.
    Result<void> start(const Authorities& authorities);
    void stop();

    // Whether the path is of a group version that another server serves: then the request is answered by it.
    [[nodiscard]] bool relay(const std::shared_ptr<const http::Request>& request,
                             const std::shared_ptr<http::Responder>& responder);
    // Prometheus text.
    [[nodiscard]] std::string metrics() const;

private:
    Result<void> publish_authorities(const Authorities& authorities);
    void write_condition(const std::string& name, const Availability& state);
    [[nodiscard]] RemotePtr find(std::string_view path) const;

    registry::Api& api_;
    Checks checks_;
    Remotes remotes_;
    relay::Relay relay_;
    std::atomic<std::size_t> turn_{0};
};

}  // namespace sluice::aggregator
