// healthCheckNodePort: for each service of type LoadBalancer with external policy Local a port where load balancers ask
// whether this node has endpoints of it. A port is a listening socket, opened and closed as services come and go; one
// thread of its own answers at all of them. One thread calls update().
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/health/health.h"
#include "agent/health/http_server.h"

namespace sluice::health {

// More ports than this are not opened; Kubernetes' range of node ports has 2,768.
inline constexpr std::size_t kMaxServiceHealthPorts = 4096;

struct ServiceHealthPort {
    std::uint16_t port = 0;
    std::size_t local_endpoints = 0;
    auto operator<=>(const ServiceHealthPort&) const = default;
};

// The answer at any path: 200 when there are local endpoints and the proxy is healthy, else 503.
[[nodiscard]] HttpAnswer service_health_answer(const std::string& service,
                                               std::size_t local_endpoints, bool healthy);

class ServiceHealth {
public:
    // state and metrics outlive it.
    ServiceHealth(const State& state, Metrics& metrics);
    ~ServiceHealth();
    ServiceHealth(const ServiceHealth&) = delete;
    ServiceHealth& operator=(const ServiceHealth&) = delete;

    // Makes exactly these ports answer, by service ("namespace/name"). addresses: where, as text without port; empty:
    // on all. Ports that stay are left alone. Returns how many could not be opened: they are logged and counted, and
    // are tried again by the next call.
    std::size_t update(const std::map<std::string, ServiceHealthPort>& wanted,
                       std::vector<std::string> addresses);
    // The port of an open service, 0 if it is not open; for tests.
    [[nodiscard]] std::uint16_t port_of(const std::string& service) const;

private:
    struct Open;

    const State& state_;
    Metrics& metrics_;
    std::shared_ptr<HttpThread> thread_;  // null: no port was opened yet
    std::vector<std::string> addresses_;
    std::map<std::string, std::unique_ptr<Open>> open_;
    std::map<std::string, std::string> failed_;  // service to what went wrong, so that it is said once
};

}  // namespace sluice::health
