// See service_health.h.
#include "agent/health/service_health.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <utility>

#include "api/base/host_port.h"
#include "api/base/log.h"

namespace sluice::health {
namespace {

constexpr char kComponent[] = "health";

// All of both families; where IPv6 is off, all of IPv4.
constexpr const char* kEverywhere[] = {"[::]", "0.0.0.0"};

}  // namespace

struct ServiceHealth::Open {
    std::uint16_t port = 0;
    std::atomic<std::size_t> local_endpoints{0};
    // Last, for the thread reads the others until they are gone.
    std::vector<std::unique_ptr<HttpServer>> servers;
};

HttpAnswer service_health_answer(const std::string& service, std::size_t local_endpoints,
                                 bool healthy) {
    // Names of objects hold nothing that JSON would want escaped: the API allows letters, digits, - and dots.
    const auto slash = service.find('/');
    HttpAnswer out;
    out.status = local_endpoints > 0 && healthy ? 200 : 503;
    out.content_type = "application/json";
    out.headers = {{"X-Content-Type-Options", "nosniff"},
                   {"X-Load-Balancing-Endpoint-Weight", fmt::format("{}", local_endpoints)}};
    out.body = fmt::format(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": \"{}\",\n\t\t\"name\": \"{}\"\n\t}},\n"
        "\t\"localEndpoints\": {},\n\t\"serviceProxyHealthy\": {}\n}}",
        service.substr(0, slash), slash == std::string::npos ? "" : service.substr(slash + 1),
        local_endpoints, healthy);
    return out;
}

ServiceHealth::ServiceHealth(const State& state, Metrics& metrics)
    : state_(state), metrics_(metrics) {}
ServiceHealth::~ServiceHealth() = default;

std::size_t ServiceHealth::update(const std::map<std::string, ServiceHealthPort>& wanted,
                                  std::vector<std::string> addresses) {
    if (addresses != addresses_) open_.clear();
    addresses_ = std::move(addresses);
    // First what goes: another service may want the port.
    std::erase_if(open_, [&](const auto& entry) {
        const auto found = wanted.find(entry.first);
        return found == wanted.end() || found->second.port != entry.second->port;
    });
    std::erase_if(failed_, [&](const auto& entry) { return !wanted.contains(entry.first); });
    if (!thread_ && !wanted.empty()) {
        thread_ = HttpThread::start();
        metrics_.add_collector([thread = thread_](std::string* out) {
            out->append(fmt::format(
                "# HELP sluice_service_health_connections_refused_total Connections to health check ports that "
                "were closed at once, for there were too many.\n"
                "# TYPE sluice_service_health_connections_refused_total counter\n"
                "sluice_service_health_connections_refused_total {}\n", thread->refused()));
        });
    }
    for (const auto& [service, want] : wanted) {
        if (const auto found = open_.find(service); found != open_.end()) {
            found->second->local_endpoints = want.local_endpoints;
            failed_.erase(service);
            continue;
        }
        auto made = std::make_unique<Open>();
        made->port = want.port;
        made->local_endpoints = want.local_endpoints;
        const HttpHandler handler = [this, name = service, open = made.get()](const std::string&) {
            const bool healthy = state_.ready(std::chrono::system_clock::now());
            return service_health_answer(name, open->local_endpoints, healthy);
        };
        std::string problem;
        const auto listen = [&](const std::string& address) {
            auto server = HttpServer::listen(host_and_port(address, want.port), want.port, handler, thread_);
            if (server) {
                made->servers.push_back(std::move(*server));
                return true;
            }
            problem = server.error().to_string();
            return false;
        };
        bool complete = false;
        if (open_.size() >= kMaxServiceHealthPorts) {
            problem = fmt::format("more than {} ports", kMaxServiceHealthPorts);
        } else if (addresses_.empty()) {
            complete = std::any_of(std::begin(kEverywhere), std::end(kEverywhere), listen);
        } else {
            complete = std::all_of(addresses_.begin(), addresses_.end(), listen);
        }
        if (complete) {
            log::info(kComponent, "service {}: spec.healthCheckNodePort: answering on port {}", service,
                      want.port);
            open_.emplace(service, std::move(made));
            failed_.erase(service);
            continue;
        }
        auto& known = failed_[service];
        if (known != problem) {
            log::error(kComponent, "service {}: spec.healthCheckNodePort: {}; tried again later", service,
                       problem);
        }
        known = problem;
        metrics_.service_health_failed();
    }
    metrics_.service_health_ports(open_.size());
    return failed_.size();
}

std::uint16_t ServiceHealth::port_of(const std::string& service) const {
    const auto found = open_.find(service);
    return found == open_.end() || found->second->servers.empty()
               ? std::uint16_t{0}
               : found->second->servers.front()->port();
}

}  // namespace sluice::health
