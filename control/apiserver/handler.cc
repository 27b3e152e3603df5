#include "control/apiserver/handler.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <string_view>
#include <utility>

#include "control/http/status_body.h"
#include "control/apiserver/authentication/guard.h"
#include "control/apiserver/openapi_routes.h"
#include "control/apiserver/proxy/pod_proxy.h"
#include "control/apiserver/registry/api.h"
#include "control/apiserver/version.h"
#include "control/store/store.h"

namespace sluice::apiserver {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::string_view kAuthenticated = "system:authenticated";
constexpr std::string_view kMasters = "system:masters";

bool has_header(const http::Response& response, std::string_view name) {
    return std::any_of(response.headers.begin(), response.headers.end(),
                       [&](const auto& header) { return header.first == name; });
}

// Between the handlers and the connection: counts the answer, and adds the headers that all answers carry.
class MeteredResponder final : public http::Responder {
public:
    MeteredResponder(std::shared_ptr<http::Responder> inner, std::shared_ptr<Metrics> metrics,
                     RequestInfo info)
        : inner_(std::move(inner)),
          metrics_(std::move(metrics)),
          info_(info),
          start_(Clock::now()) {
        metrics_->begin(info_.verb);
    }
    // Dropped without an answer: the connection sends the 500.
    ~MeteredResponder() override { record(500); }
    MeteredResponder(const MeteredResponder&) = delete;
    MeteredResponder& operator=(const MeteredResponder&) = delete;

    void send(http::Response response) override {
        record(response.status);
        add_headers(&response);
        inner_->send(std::move(response));
    }
    void begin_stream(http::Response head) override {
        record(head.status);
        add_headers(&head);
        inner_->begin_stream(std::move(head));
    }
    bool write(std::string chunk) override { return inner_->write(std::move(chunk)); }
    void end_stream() override { inner_->end_stream(); }
    void on_close(std::function<void()> callback) override {
        inner_->on_close(std::move(callback));
    }
    void when_writable(std::function<void()> callback) override {
        inner_->when_writable(std::move(callback));
    }
    void upgrade(http::Response head, OpenCallback on_open) override {
        record(head.status);
        inner_->upgrade(std::move(head), std::move(on_open));
    }

private:
    void record(int code) {
        if (recorded_.exchange(true)) return;
        const auto elapsed =
            std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start_).count();
        metrics_->record(info_, code, static_cast<std::uint64_t>(elapsed));
        metrics_->end(info_.verb);
    }
    // Objects change: no cache may answer from a copy without asking.
    static void add_headers(http::Response* response) {
        if (!has_header(*response, "Cache-Control")) {
            response->headers.emplace_back("Cache-Control", "no-cache, private");
        }
    }

    std::shared_ptr<http::Responder> inner_;
    std::shared_ptr<Metrics> metrics_;
    RequestInfo info_;
    Clock::time_point start_;
    std::atomic<bool> recorded_{false};
};

// What anyone may ask: what load balancers and probes need, and what a client is talking to.
bool is_public(const http::Request& request) {
    return (request.method == "GET" || request.method == "HEAD") &&
           (request.path == "/version" || is_health_path(request.path));
}

bool in_group(const http::Identity& identity, std::string_view group) {
    return std::find(identity.groups.begin(), identity.groups.end(), group) !=
           identity.groups.end();
}

// Adds system:authenticated, and puts the impersonated identity in place when the request asks for that
// and may. Answers with a Status if it may not.
std::optional<http::Response> settle_identity(http::Request* request) {
    const std::string user(request->header("impersonate-user"));
    const bool asked = std::any_of(
        request->headers.begin(), request->headers.end(),
        [](const auto& header) { return header.first.starts_with("impersonate-"); });
    if (asked) {
        if (!in_group(request->identity, kMasters)) {
            return http::status_response(
                403, "Forbidden",
                fmt::format("users \"{}\" is forbidden: User \"{}\" cannot impersonate resource "
                            "\"users\" in API group \"\" at the cluster scope",
                            user, request->identity.user));
        }
        if (user.empty()) {
            return http::status_response(
                400, "BadRequest", "impersonation needs the header Impersonate-User with a name");
        }
        http::Identity identity{user, {}};
        for (const auto& [name, value] : request->headers) {
            if (name == "impersonate-group") identity.groups.push_back(value);
        }
        request->identity = std::move(identity);
    }
    if (!in_group(request->identity, kAuthenticated)) {
        request->identity.groups.emplace_back(kAuthenticated);
    }
    return std::nullopt;
}

}  // namespace

ApiServer::ApiServer(const store::Store& store, const std::string& server_address,
                     std::function<http::ServerStats()> http_stats)
    : store_(store),
      http_stats_(std::move(http_stats)),
      discovery_(server_address),
      metrics_(std::make_shared<Metrics>()) {
    checks_.push_back({"ping", true, true, true, [] { return std::nullopt; }});
    checks_.push_back({"store", false, true, true, [this]() -> std::optional<std::string> {
                           const auto read = store_.get("/registry/health");
                           if (!read) return read.error().to_string();
                           return std::nullopt;
                       }});
    checks_.push_back({"api", false, true, true, [this]() -> std::optional<std::string> {
                           if (api_.load(std::memory_order_acquire) != nullptr) return std::nullopt;
                           return "the resource API is not ready yet";
                       }});
    checks_.push_back({"shutdown", false, true, false, [this]() -> std::optional<std::string> {
                           if (!shutting_down_.load(std::memory_order_relaxed)) return std::nullopt;
                           return "the server is shutting down";
                       }});
}

http::Response ApiServer::index() const {
    std::vector<std::string> paths = discovery_.paths();
    for (const char* path : {"/healthz", "/livez", "/readyz", "/version", "/metrics",
                             "/openapi/v2", "/openapi/v3"}) {
        paths.emplace_back(path);
    }
    for (const auto& check : checks_) {
        if (check.healthz) paths.push_back("/healthz/" + check.name);
        if (check.livez) paths.push_back("/livez/" + check.name);
        if (check.readyz) paths.push_back("/readyz/" + check.name);
    }
    std::sort(paths.begin(), paths.end());
    std::string body = "{\"paths\":[";
    for (const auto& path : paths) {
        if (body.back() != '[') body += ',';
        body += http::json_quote(path);
    }
    return http::json_response(body + "]}");
}

std::optional<http::Response> ApiServer::answer_directly(const http::Request& request) const {
    std::string_view path = request.path;
    if (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
    if (auto answer = health_answer(checks_, path, request)) return answer;
    if (auto answer = discovery_.answer(path, request)) return answer;
    if (auto answer = openapi_answer(openapi_, path, request)) return answer;
    const bool reads = request.method == "GET" || request.method == "HEAD";
    if (!reads) return std::nullopt;
    if (path == "/") return index();
    if (path == "/version") return http::json_response(version_json());
    if (path == "/metrics") {
        Gauges gauges;
        gauges.http = http_stats_();
        gauges.store_revision = store_.revision();
        gauges.store_compacted_revision = store_.compacted();
        gauges.unauthenticated_requests = unauthenticated_.load(std::memory_order_relaxed);
        http::Response response;
        response.headers.emplace_back("Content-Type", "text/plain; version=0.0.4; charset=utf-8");
        response.body = metrics_->text(gauges);
        return response;
    }
    return std::nullopt;
}

void ApiServer::handle(std::shared_ptr<http::Request> request,
                       std::shared_ptr<http::Responder> responder) {
    auto metered =
        std::make_shared<MeteredResponder>(std::move(responder), metrics_, request_info(*request));
    if (request->identity.user.empty()) {
        if (!is_public(*request) && !authentication::is_open_to_strangers(*request)) {
            unauthenticated_.fetch_add(1, std::memory_order_relaxed);
            metered->send(http::status_response(401, "Unauthorized", "Unauthorized"));
            return;
        }
    } else {
        if (auto refusal = settle_identity(request.get())) {
            metered->send(std::move(*refusal));
            return;
        }
        if (auto refusal = authentication::guard(*request)) {
            metered->send(std::move(*refusal));
            return;
        }
    }
    if (auto answer = answer_directly(*request)) {
        metered->send(std::move(*answer));
        return;
    }
    auto* api = api_.load(std::memory_order_acquire);
    auto* pod_proxy = pod_proxy_.load(std::memory_order_acquire);
    if (pod_proxy != nullptr && pod_proxy->handles(request->path)) {
        pod_proxy->handle(std::move(request), std::move(metered));
    } else if (api != nullptr && api->handles(request->path)) {
        api->handle(std::move(request), std::move(metered));
    } else if (api == nullptr && request->path.starts_with("/api")) {
        http::Response response = http::status_response(
            503, "ServiceUnavailable", "the server is starting and not ready to serve resources");
        response.headers.emplace_back("Retry-After", "1");
        metered->send(std::move(response));
    } else {
        metered->send(http::text_response(404, "404 page not found\n"));
    }
}

}  // namespace sluice::apiserver
