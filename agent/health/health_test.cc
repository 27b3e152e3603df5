#include "agent/health/health.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

namespace sluice::health {
namespace {

using testing::HasSubstr;
using testing::StartsWith;
using namespace std::chrono_literals;

TEST(Health, ANodeThatHasProgrammedNothingGetsNoTrafficAndIsNotRestarted) {
    State state;
    const State::Time start{std::chrono::hours(24)};
    EXPECT_EQ(state.healthz(start).status, 503);
    EXPECT_THAT(state.healthz(start).body, HasSubstr("\"healthy\":false"));
    EXPECT_FALSE(state.ready(start));
    // The API server may be away for long.
    EXPECT_EQ(state.livez(start + 24h).status, 200);
    EXPECT_THAT(state.livez(start + 24h).body, HasSubstr("\"healthy\":true"));
    state.change_queued(start);
    EXPECT_EQ(state.healthz(start + 1s).status, 503);
    EXPECT_EQ(state.livez(start + 1s).status, 200);
    state.all_published(start + 1s);
    EXPECT_EQ(state.healthz(start + 1s).status, 200);
    EXPECT_TRUE(state.ready(start + 1s));
}

TEST(Health, AnUpdateThatIsNotAppliedForTwoSyncPeriodsIs503) {
    State state;
    const State::Time start{std::chrono::hours(24)};
    state.all_published(start);
    EXPECT_EQ(state.healthz(start).status, 200);
    state.change_queued(start);
    state.change_queued(start + 30s);
    EXPECT_EQ(state.healthz(start + 59s).status, 200);
    EXPECT_EQ(state.healthz(start + 60s).status, 503);
    EXPECT_EQ(state.livez(start + 60s).status, 503);
    state.all_published(start + 61s);
    EXPECT_EQ(state.healthz(start + 62s).status, 200);
}

TEST(Health, TheSyncPeriodThatIsConfiguredCounts) {
    State state(std::chrono::seconds(100));
    const auto start = std::chrono::system_clock::now();
    state.change_queued(start);
    EXPECT_TRUE(state.alive(start + std::chrono::seconds(199)));
    EXPECT_FALSE(state.alive(start + std::chrono::seconds(200)));
}

TEST(Health, AnIneligibleNodeFailsHealthzButNotLivez) {
    State state;
    state.set_node_eligible(false);
    const State::Time now{std::chrono::hours(24)};
    state.all_published(now);
    EXPECT_EQ(state.healthz(now).status, 503);
    EXPECT_EQ(state.livez(now).status, 200);
}

TEST(Health, TheBodyHasTheFieldsThatLoadBalancersRead) {
    State state;
    state.all_published(State::Time(1500ms));
    EXPECT_EQ(state.healthz(State::Time(2s)).body,
              "{\"lastUpdated\":\"1970-01-01T00:00:01.500000Z\",\"currentTime\":\"1970-01-01T00:00:02."
              "000000Z\",\"nodeEligible\":true,\"healthy\":true,\"status\":{\"IPv4\":{\"lastUpdated\":"
              "\"1970-01-01T00:00:01.500000Z\",\"healthy\":true},\"IPv6\":{\"lastUpdated\":\"1970-01-01T00:"
              "00:01.500000Z\",\"healthy\":true}}}\n");
    EXPECT_EQ(state.livez(State::Time(2s)).body.find("nodeEligible"), std::string::npos);
}

std::string fetch(std::uint16_t port, const std::string& request) {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::send(fd, request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
    std::string out;
    std::array<char, 4096> buffer{};
    while (true) {
        const ssize_t got = ::recv(fd, buffer.data(), buffer.size(), 0);
        if (got <= 0) break;
        out.append(buffer.data(), static_cast<std::size_t>(got));
    }
    ::close(fd);
    return out;
}

TEST(HttpServer, ServesHealthMetricsAndRefusesTheRest) {
    State state;
    Metrics metrics;
    metrics.sync_finished(2ms, true);
    const auto health = HttpServer::listen("127.0.0.1:0", 0, health_handler(state, metrics));
    const auto other = HttpServer::listen("127.0.0.1:0", 0, metrics_handler(state, metrics, "ebpf"));
    ASSERT_TRUE(health) << health.error().message;
    ASSERT_TRUE(other);
    const auto get = [](std::uint16_t port, const std::string& path, const std::string& method = "GET") {
        return fetch(port, method + " " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    };
    EXPECT_THAT(get((*health)->port(), "/healthz"), StartsWith("HTTP/1.1 503"));
    EXPECT_THAT(get((*other)->port(), "/healthz"), StartsWith("HTTP/1.1 503"));
    state.all_published(std::chrono::system_clock::now());
    EXPECT_THAT(get((*health)->port(), "/healthz?x=1"), StartsWith("HTTP/1.1 200"));
    EXPECT_THAT(get((*other)->port(), "/healthz"), StartsWith("HTTP/1.1 200"));
    EXPECT_THAT(get((*health)->port(), "/livez"), HasSubstr("\"healthy\":true"));
    EXPECT_THAT(get((*health)->port(), "/metrics"), StartsWith("HTTP/1.1 404"));
    EXPECT_THAT(get((*health)->port(), "/healthz", "POST"), StartsWith("HTTP/1.1 405"));
    EXPECT_THAT(get((*other)->port(), "/proxyMode"), HasSubstr("\r\n\r\nebpf"));
    EXPECT_THAT(get((*other)->port(), "/configz"), StartsWith("HTTP/1.1 404"));
    const auto configured =
        HttpServer::listen("127.0.0.1:0", 0, metrics_handler(state, metrics, "ebpf", R"({"a":1})"));
    ASSERT_TRUE(configured);
    EXPECT_THAT(get((*configured)->port(), "/configz"), HasSubstr("\r\n\r\n{\"a\":1}"));
    const std::string text = get((*other)->port(), "/metrics");
    EXPECT_THAT(text, HasSubstr("kubeproxy_sync_full_proxy_rules_duration_seconds_bucket{ip_family=\"IPv4\","
                                "le=\"0.002\"} 1\n"));
    EXPECT_THAT(text, HasSubstr("kubeproxy_proxy_healthz_total{code=\"200\"} 1\n"));
    EXPECT_EQ(fetch((*health)->port(), std::string(2 * kMaxHeadBytes, 'x')), "");

    const auto taken = HttpServer::listen("127.0.0.1:" + std::to_string((*health)->port()), 0,
                                          health_handler(state, metrics));
    ASSERT_FALSE(taken);
    EXPECT_THAT(taken.error().message, HasSubstr("taken"));
    EXPECT_FALSE(HttpServer::listen("nonsense", 1, health_handler(state, metrics)));
    for (const char* bad : {"nonsense", "127.0.0.1:", "127.0.0.1:65536", "[::1", "[::1]8"}) {
        EXPECT_FALSE(HttpServer::check_address(bad)) << bad;
    }
    for (const char* good : {"0.0.0.0:10256", "127.0.0.1", "[::1]:0", "::"}) {
        EXPECT_TRUE(HttpServer::check_address(good)) << good;
    }
}

}  // namespace
}  // namespace sluice::health
