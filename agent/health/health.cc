// See health.h.
#include "agent/health/health.h"

#include <fmt/format.h>

#include <ctime>

namespace sluice::health {
namespace {

HttpAnswer not_found() { return {404, "text/plain; charset=utf-8", "404 page not found\n"}; }

}  // namespace

std::string format_time(State::Time time) {
    const auto whole = std::chrono::floor<std::chrono::seconds>(time);
    const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(time - whole).count();
    const std::time_t seconds = std::chrono::system_clock::to_time_t(whole);
    std::tm parts{};
    gmtime_r(&seconds, &parts);
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", parts.tm_year + 1900,
                       parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                       micros);
}

void State::change_queued(Time now) {
    const std::lock_guard lock(mutex_);
    if (!oldest_queued_) oldest_queued_ = now;
}

void State::all_published(Time now) {
    const std::lock_guard lock(mutex_);
    oldest_queued_.reset();
    last_published_ = now;
}

void State::set_node_eligible(bool eligible) {
    const std::lock_guard lock(mutex_);
    node_eligible_ = eligible;
}

bool State::alive_locked(Time now) const {
    return !oldest_queued_ || now - *oldest_queued_ < healthy_delay_;
}

bool State::alive(Time now) const {
    const std::lock_guard lock(mutex_);
    return alive_locked(now);
}

bool State::ready(Time now) const {
    const std::lock_guard lock(mutex_);
    return last_published_ && alive_locked(now);
}

bool State::node_eligible() const {
    const std::lock_guard lock(mutex_);
    return node_eligible_;
}

HttpAnswer State::livez(Time now) const {
    const std::lock_guard lock(mutex_);
    return answer_locked(now, alive_locked(now), false);
}

HttpAnswer State::healthz(Time now) const {
    const std::lock_guard lock(mutex_);
    return answer_locked(now, last_published_ && alive_locked(now), true);
}

HttpAnswer State::answer_locked(Time now, bool healthy, bool with_node) const {
    const std::string updated =
        last_published_ ? format_time(*last_published_) : "0001-01-01T00:00:00Z";
    const std::string one =
        fmt::format("{{\"lastUpdated\":\"{}\",\"healthy\":{}}}", updated, healthy);
    const std::string node =
        with_node ? fmt::format("\"nodeEligible\":{},", node_eligible_) : std::string();
    HttpAnswer out;
    out.status = healthy && (!with_node || node_eligible_) ? 200 : 503;
    out.content_type = "application/json";
    out.headers = {{"X-Content-Type-Options", "nosniff"}};
    out.body = fmt::format(
        "{{\"lastUpdated\":\"{}\",\"currentTime\":\"{}\",{}\"healthy\":{},"
        "\"status\":{{\"IPv4\":{},\"IPv6\":{}}}}}\n",
        updated, format_time(now), node, healthy, one, one);
    return out;
}

HttpHandler health_handler(const State& state, Metrics& metrics) {
    return [&state, &metrics](const std::string& path) {
        if (path != "/healthz" && path != "/livez") return not_found();
        const auto now = std::chrono::system_clock::now();
        HttpAnswer answer = path == "/healthz" ? state.healthz(now) : state.livez(now);
        metrics.served(path.substr(1), answer.status);
        return answer;
    };
}

HttpHandler metrics_handler(const State& state, Metrics& metrics, std::string mode,
                            std::string configz) {
    return [&state, &metrics, mode = std::move(mode),
            configz = std::move(configz)](const std::string& path) -> HttpAnswer {
        if (path == "/metrics") {
            return {200, "text/plain; version=0.0.4; charset=utf-8", metrics.render()};
        }
        if (path == "/proxyMode") return {200, "text/plain; charset=utf-8", mode};
        if (path == "/configz" && !configz.empty()) return {200, "application/json", configz};
        if (path == "/healthz") {
            const bool ready = state.ready(std::chrono::system_clock::now());
            return {ready ? 200 : 503, "text/plain; charset=utf-8", ready ? "ok" : "not synced"};
        }
        return not_found();
    };
}

}  // namespace sluice::health
