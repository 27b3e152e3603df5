#include "control/apiserver/health.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <utility>

#include "api/base/log.h"
#include "control/http/status_body.h"

namespace sluice::apiserver {
namespace {

constexpr std::array<std::string_view, 3> kEndpoints = {"healthz", "livez", "readyz"};

bool belongs(const HealthCheck& check, std::string_view endpoint) {
    if (endpoint == "livez") return check.livez;
    return endpoint == "readyz" ? check.readyz : check.healthz;
}

// "/readyz/store" into "readyz" and "store".
std::pair<std::string_view, std::string_view> split(std::string_view path) {
    path.remove_prefix(std::min<std::size_t>(1, path.size()));
    const std::size_t slash = path.find('/');
    if (slash == std::string_view::npos) return {path, {}};
    return {path.substr(0, slash), path.substr(slash + 1)};
}

bool is_excluded(const HealthCheck& check, const http::Request& request) {
    return std::any_of(request.query.begin(), request.query.end(), [&](const auto& parameter) {
        return parameter.first == "exclude" && parameter.second == check.name;
    });
}

}  // namespace

bool is_health_path(std::string_view path) {
    return std::find(kEndpoints.begin(), kEndpoints.end(), split(path).first) != kEndpoints.end();
}

std::optional<http::Response> health_answer(const std::vector<HealthCheck>& checks,
                                            std::string_view path, const http::Request& request) {
    if (!is_health_path(path)) return std::nullopt;
    const auto [endpoint, name] = split(path);
    std::string lines;
    bool known = name.empty();
    bool healthy = true;
    for (const auto& check : checks) {
        if (!belongs(check, endpoint) || (!name.empty() && check.name != name)) continue;
        known = true;
        if (is_excluded(check, request)) {
            lines += fmt::format("[+]{} excluded: ok\n", check.name);
            continue;
        }
        const auto failure = check.run();
        if (failure) {
            healthy = false;
            // Anyone may ask, as often as they like: what fails is logged where it fails.
            log::debug("health", "{} check {} failed: {}", endpoint, check.name, *failure);
            lines += fmt::format("[-]{} failed: reason withheld\n", check.name);
        } else {
            lines += fmt::format("[+]{} ok\n", check.name);
        }
    }
    if (!known) return std::nullopt;
    if (!healthy) {
        return http::text_response(500, fmt::format("{}{} check failed\n", lines, endpoint));
    }
    if (!name.empty() || !request.parameter("verbose")) return http::text_response(200, "ok");
    return http::text_response(200, fmt::format("{}{} check passed\n", lines, endpoint));
}

}  // namespace sluice::apiserver
