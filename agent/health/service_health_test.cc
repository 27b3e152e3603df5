// Health check ports of services, over real sockets; and the names of the figures.
#include "agent/health/service_health.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>
#include <vector>

namespace sluice::health {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

int open_socket(std::uint16_t port, bool listening) {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const auto* raw = reinterpret_cast<const sockaddr*>(&address);
    const int done = listening ? ::bind(fd, raw, sizeof address) : ::connect(fd, raw, sizeof address);
    if (done == 0 && (!listening || ::listen(fd, 1) == 0)) return fd;
    ::close(fd);
    return -1;
}

// A port that is free now.
std::uint16_t free_port(int* holder) {
    *holder = open_socket(0, true);
    sockaddr_in address{};
    socklen_t length = sizeof address;
    EXPECT_EQ(::getsockname(*holder, reinterpret_cast<sockaddr*>(&address), &length), 0);
    return ntohs(address.sin_port);
}

std::string get(std::uint16_t port, const std::string& path) {
    const int fd = open_socket(port, false);
    if (fd < 0) return "";
    const std::string request = "GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    EXPECT_EQ(::send(fd, request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
    std::string out;
    std::array<char, 4096> buffer{};
    for (ssize_t got = 0; (got = ::recv(fd, buffer.data(), buffer.size(), 0)) > 0;) {
        out.append(buffer.data(), static_cast<std::size_t>(got));
    }
    ::close(fd);
    return out;
}

// healthCheckNodePort, any path: body, header, 200 if N > 0 and the proxy is healthy, else 503.
TEST(ServiceHealth, AnswersAtAnyPathWithTheCountOfLocalEndpoints) {
    State state;
    Metrics metrics;
    ServiceHealth health(state, metrics);
    int holder = -1;
    const std::uint16_t port = free_port(&holder);
    ::close(holder);
    ASSERT_EQ(health.update({{"d/web", {port, 3}}}, {"127.0.0.1"}), 0U);
    EXPECT_THAT(get(port, "/"), StartsWith("HTTP/1.1 503"));
    EXPECT_THAT(get(port, "/"), HasSubstr("\"serviceProxyHealthy\": false"));
    state.all_published(std::chrono::system_clock::now());
    const std::string answer = get(port, "/any/path?x");
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 200"));
    EXPECT_THAT(answer, HasSubstr("X-Load-Balancing-Endpoint-Weight: 3\r\n"));
    EXPECT_THAT(answer, HasSubstr("\"namespace\": \"d\",\n\t\t\"name\": \"web\""));
    EXPECT_THAT(answer, HasSubstr("\"localEndpoints\": 3,\n\t\"serviceProxyHealthy\": true"));
    EXPECT_EQ(health.update({{"d/web", {port, 0}}}, {"127.0.0.1"}), 0U);
    EXPECT_THAT(get(port, "/"), StartsWith("HTTP/1.1 503"));
    EXPECT_THAT(get(port, "/"), HasSubstr("X-Load-Balancing-Endpoint-Weight: 0\r\n"));
    // The service goes, and its port with it.
    EXPECT_EQ(health.update({}, {"127.0.0.1"}), 0U);
    EXPECT_EQ(get(port, "/"), "");
}

TEST(ServiceHealth, APortThatIsTakenIsTriedAgainAndCounted) {
    State state;
    Metrics metrics;
    ServiceHealth health(state, metrics);
    int holder = -1;
    const std::uint16_t port = free_port(&holder);
    EXPECT_EQ(health.update({{"d/web", {port, 1}}}, {"127.0.0.1"}), 1U);
    EXPECT_THAT(metrics.render(), HasSubstr("sluice_service_health_port_failures_total 1\n"));
    ::close(holder);
    EXPECT_EQ(health.update({{"d/web", {port, 1}}}, {"127.0.0.1"}), 0U);
    EXPECT_EQ(health.port_of("d/web"), port);
    // A port that moves to another service does so in one call.
    EXPECT_EQ(health.update({{"d/other", {port, 1}}}, {"127.0.0.1"}), 0U);
    EXPECT_THAT(get(port, "/"), HasSubstr("\"name\": \"other\""));
    // Without addresses: on all of them.
    EXPECT_EQ(health.update({{"d/other", {port, 1}}}, {}), 0U);
    EXPECT_THAT(get(port, "/"), HasSubstr("\"name\": \"other\""));
}

std::size_t threads() {
    const std::filesystem::directory_iterator tasks("/proc/self/task");
    return static_cast<std::size_t>(std::distance(begin(tasks), end(tasks)));
}

TEST(ServiceHealth, ManyPortsAreAnsweredByOneThread) {
    constexpr std::size_t kPorts = 500;
    State state;
    Metrics metrics;
    state.all_published(std::chrono::system_clock::now());
    ServiceHealth health(state, metrics);
    std::map<std::string, ServiceHealthPort> wanted;
    std::vector<int> holders(kPorts);
    for (std::size_t i = 0; i < kPorts; ++i) {
        wanted[fmt::format("d/s{}", i)] = {free_port(&holders[i]), i + 1};
    }
    for (const int holder : holders) ::close(holder);
    const std::size_t before = threads();
    // Another program of this machine may have taken one meanwhile.
    const std::size_t failed = health.update(wanted, {"127.0.0.1"});
    ASSERT_LT(failed, kPorts / 10);
    EXPECT_LE(threads(), before + 1);
    std::size_t asked = 0;
    for (const auto& [service, port] : wanted) {
        if (health.port_of(service) == 0) continue;
        ++asked;
        ASSERT_THAT(get(port.port, "/"), HasSubstr(fmt::format("\"localEndpoints\": {},", port.local_endpoints)));
    }
    EXPECT_EQ(asked, kPorts - failed);
    wanted.erase(wanted.begin());
    EXPECT_LE(health.update(wanted, {"127.0.0.1"}), failed);
    EXPECT_THAT(metrics.render(), HasSubstr("sluice_service_health_connections_refused_total 0\n"));
}

// A load balancer that keeps its connection open hears nothing of a service that is gone.
TEST(ServiceHealth, OpenConnectionsEndWithTheirPort) {
    State state;
    Metrics metrics;
    ServiceHealth health(state, metrics);
    int holder = -1;
    const std::uint16_t port = free_port(&holder);
    ::close(holder);
    ASSERT_EQ(health.update({{"d/web", {port, 3}}}, {"127.0.0.1"}), 0U);
    const int fd = open_socket(port, false);
    const std::string request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    ASSERT_EQ(::send(fd, request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
    std::array<char, 4096> buffer{};
    ASSERT_GT(::recv(fd, buffer.data(), buffer.size(), 0), 0);
    ASSERT_EQ(health.update({}, {"127.0.0.1"}), 0U);
    // Less than the server's own patience with an idle connection.
    const timeval patience{kIdleTimeoutMs / 2000, 0};
    ASSERT_EQ(::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    EXPECT_TRUE(::recv(fd, buffer.data(), buffer.size(), 0) == 0 || errno == ECONNRESET);
    ::close(fd);
}

TEST(ServiceHealth, ConnectionsBeyondTheLimitAreClosedAndCounted) {
    State state;
    Metrics metrics;
    ServiceHealth health(state, metrics);
    int holder = -1;
    const std::uint16_t port = free_port(&holder);
    ::close(holder);
    ASSERT_EQ(health.update({{"d/web", {port, 3}}}, {"127.0.0.1"}), 0U);
    std::vector<int> idle;
    for (std::size_t i = 0; i < kMaxConnections; ++i) idle.push_back(open_socket(port, false));
    const int more = open_socket(port, false);
    char byte = 0;
    EXPECT_LE(::recv(more, &byte, 1, 0), 0);
    EXPECT_THAT(metrics.render(), HasSubstr("sluice_service_health_connections_refused_total 1\n"));
    for (const int fd : idle) ::close(fd);
    ::close(more);
}

// Names, types and labels as kube-proxy v1.34 and later document them.
TEST(Metrics, CarryKubeProxysNamesTypesAndLabels) {
    Metrics metrics;
    for (const char* endpoint : {"healthz", "livez"}) metrics.served(endpoint, 200);
    const std::string text = metrics.render();
    const std::array<std::array<const char*, 3>, 15> wanted = {{
        {"kubeproxy_sync_proxy_rules_duration_seconds", "histogram", "_count{ip_family=\"IPv6\"}"},
        {"kubeproxy_sync_full_proxy_rules_duration_seconds", "histogram", "_bucket{ip_family=\"IPv4\",le=\"16.384\"}"},
        {"kubeproxy_sync_partial_proxy_rules_duration_seconds", "histogram", "_bucket{ip_family=\"IPv4\",le=\"0.001\"}"},
        {"kubeproxy_network_programming_duration_seconds", "histogram", "_bucket{ip_family=\"IPv4\",le=\"59\"}"},
        {"kubeproxy_network_programming_duration_seconds", "histogram", "_bucket{ip_family=\"IPv4\",le=\"115\"}"},
        {"kubeproxy_network_programming_duration_seconds", "histogram", "_bucket{ip_family=\"IPv4\",le=\"300\"}"},
        {"kubeproxy_sync_proxy_rules_last_timestamp_seconds", "gauge", "{ip_family=\"IPv4\"}"},
        {"kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", "gauge", "{ip_family=\"IPv4\"}"},
        {"kubeproxy_sync_proxy_rules_endpoint_changes_pending", "gauge", ""},
        {"kubeproxy_sync_proxy_rules_endpoint_changes_total", "counter", ""},
        {"kubeproxy_sync_proxy_rules_service_changes_pending", "gauge", ""},
        {"kubeproxy_sync_proxy_rules_service_changes_total", "counter", ""},
        {"kubeproxy_sync_proxy_rules_no_local_endpoints_total", "gauge",
         "{ip_family=\"IPv4\",traffic_policy=\"internal\"}"},
        {"kubeproxy_proxy_healthz_total", "counter", "{code=\"200\"}"},
        {"kubeproxy_proxy_livez_total", "counter", "{code=\"200\"}"},
    }};
    std::set<std::string> names;
    for (const auto& [name, type, labels] : wanted) {
        names.insert(name);
        EXPECT_THAT(text, HasSubstr(std::string("# TYPE ") + name + " " + type + "\n"));
        EXPECT_THAT(text, HasSubstr(std::string("\n") + name + labels + " "));
    }
    // No other name that looks like kube-proxy's.
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        if (!line.starts_with("# TYPE kubeproxy_")) continue;
        EXPECT_TRUE(names.contains(line.substr(7, line.rfind(' ') - 7))) << line;
    }
}

}  // namespace
}  // namespace sluice::health
