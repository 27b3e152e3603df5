#include "control/apiserver/handler.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <string_view>
#include <utility>

#include "control/http/forwarding_responder.h"
#include "control/http/status_body.h"
#include "control/apiserver/aggregator/aggregator.h"
#include "control/apiserver/authentication/impersonation.h"
#include "control/apiserver/authorization/authorizer.h"
#include "control/apiserver/forbidden.h"
#include "control/apiserver/audit/auditor.h"
#include "control/apiserver/flowcontrol/gate.h"
#include "control/apiserver/openapi_routes.h"
#include "control/apiserver/proxy/pod_proxy.h"
#include "control/apiserver/registry/api.h"
#include "control/apiserver/reviews/reviews.h"
#include "control/apiserver/service_accounts/authority.h"
#include "control/apiserver/service_accounts/requests.h"
#include "control/apiserver/storage_metrics.h"
#include "control/apiserver/version.h"
#include "control/store/store.h"

namespace sluice::apiserver {
namespace {

using Clock = std::chrono::steady_clock;

// The published facts of the cluster, from which a machine begins to join it.
constexpr std::string_view kClusterInfo = "/api/v1/namespaces/kube-public/configmaps/cluster-info";

bool has_header(const http::Response& response, std::string_view name) {
    return std::any_of(response.headers.begin(), response.headers.end(),
                       [&](const auto& header) { return header.first == name; });
}

// Between the handlers and the connection: counts the answer, and adds the headers that all answers carry.
class MeteredResponder final : public http::ForwardingResponder {
public:
    MeteredResponder(std::shared_ptr<http::Responder> inner, std::shared_ptr<Metrics> metrics,
                     RequestInfo info)
        : ForwardingResponder(std::move(inner)),
          metrics_(std::move(metrics)),
          info_(info),
          start_(Clock::now()) {
        metrics_->begin(info_.verb);
    }
    // Dropped without an answer: the connection sends the 500.
    ~MeteredResponder() override {
        record(500);
        if (streaming_) metrics_->end_stream(info_);
    }
    MeteredResponder(const MeteredResponder&) = delete;
    MeteredResponder& operator=(const MeteredResponder&) = delete;

    void send(http::Response response) override {
        record(response.status);
        add_headers(&response);
        inner_->send(std::move(response));
    }
    void begin_stream(http::Response head) override {
        record(head.status);
        if (!streaming_.exchange(true)) metrics_->begin_stream(info_);
        add_headers(&head);
        inner_->begin_stream(std::move(head));
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

    std::shared_ptr<Metrics> metrics_;
    RequestInfo info_;
    Clock::time_point start_;
    std::atomic<bool> recorded_{false};
    std::atomic<bool> streaming_{false};
};

// What strangers are heard for even where anonymous requests are not allowed: what load balancers and probes need,
// what a client is talking to, and how to join. Roles decide about these too.
bool is_open_to_strangers(const http::Request& request) {
    if (request.method != "GET" && request.method != "HEAD") return false;
    if (request.path == kClusterInfo) return !request.parameter("watch").has_value();
    return request.path == "/version" || is_health_path(request.path);
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
    if (store_.shared()) {
        // kube-apiserver's names for these; the first decides about a restart too, as it does there.
        const auto reachable = [this]() -> std::optional<std::string> {
            const auto healthy = store_.healthy();
            if (!healthy) return healthy.error().message;
            return std::nullopt;
        };
        checks_.push_back({"etcd", true, true, true, reachable});
        checks_.push_back({"etcd-readiness", false, true, false, reachable});
    }
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
    if (token_authority_ != nullptr) {
        paths.emplace_back("/.well-known/openid-configuration");
        paths.emplace_back("/openid/v1/jwks");
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
    if (path.starts_with("/openapi/")) {
        if (auto answer = openapi_answer(openapi_, path, request, *remote_versions())) return answer;
    }
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
        if (const auto* authorizer = authorizer_.load(std::memory_order_acquire)) {
            gauges.allowed_requests = authorizer->stats().allowed;
            gauges.forbidden_requests = authorizer->stats().forbidden;
        }
        http::Response response;
        response.headers.emplace_back("Content-Type", "text/plain; version=0.0.4; charset=utf-8");
        response.body = metrics_->text(gauges);
        response.body += storage_metrics(store_, api_.load(std::memory_order_acquire));
        if (gate_ != nullptr) response.body += gate_->metrics();
        if (auditor_ != nullptr) response.body += auditor_->metrics();
        if (const auto* api = api_.load(std::memory_order_acquire)) response.body += api->metrics();
        if (const auto* other = aggregator_.load(std::memory_order_acquire)) response.body += other->metrics();
        for (const auto& more : more_metrics_) response.body += more();
        return response;
    }
    return std::nullopt;
}

authorization::Decision ApiServer::decide(const authorization::Attributes& asked) const {
    const auto* authorizer = authorizer_.load(std::memory_order_acquire);
    if (authorizer == nullptr) return {authorization::in_group(asked.user, authorization::kMastersGroup), {}};
    return authorizer->authorize(asked);
}

std::optional<http::Response> ApiServer::admit(http::Request* request, authorization::Attributes* asked,
                                               std::optional<authorization::Decision>* decision) {
    const bool stranger = request->identity.user.empty();
    if (stranger) {
        if (!anonymous_ && !is_open_to_strangers(*request)) {
            unauthenticated_.fetch_add(1, std::memory_order_relaxed);
            *asked = authorization::attributes_of(*request);
            return http::status_response(401, "Unauthorized", "Unauthorized");
        }
        request->identity.user = authorization::kAnonymousUser;
    }
    authentication::settle_groups(&request->identity);
    const auto ask = [this](const authorization::Attributes& as_whom, std::string* reason) {
        authorization::Decision said = decide(as_whom);
        *reason = std::move(said.reason);
        return said.allowed;
    };
    const auto refused = authentication::impersonate(request, ask);
    *asked = authorization::attributes_of(*request);
    if (refused) {
        if (!refused->senseless.empty()) return http::text_response(500, refused->senseless);
        return forbidden(*request, refused->asked, refused->reason);
    }
    // Probes are answered while the server starts, when nobody knows the roles yet.
    if (stranger && authorizer_.load(std::memory_order_acquire) == nullptr) {
        if (request->path != kClusterInfo && is_open_to_strangers(*request)) return std::nullopt;
    }
    authorization::Decision said = decide(*asked);
    if (said.allowed) {
        *decision = std::move(said);
        return std::nullopt;
    }
    if (authorizer_.load(std::memory_order_acquire) == nullptr) {
        http::Response response = http::status_response(
            503, "ServiceUnavailable", "the server is starting and does not know the roles yet");
        response.headers.emplace_back("Retry-After", "1");
        return response;
    }
    *decision = said;
    return forbidden(*request, *asked, said.reason);
}

void ApiServer::handle(std::shared_ptr<http::Request> request,
                       std::shared_ptr<http::Responder> responder) {
    std::shared_ptr<audit::Record> record;
    http::Identity before;
    if (auditor_ != nullptr) {
        record = auditor_->begin(request, std::move(responder));
        responder = record;
        before = request->identity;
        if (before.user.empty()) before.user = authorization::kAnonymousUser;
        authentication::settle_groups(&before);
    }
    auto metered =
        std::make_shared<MeteredResponder>(std::move(responder), metrics_, request_info(*request));
    authorization::Attributes asked;
    std::optional<authorization::Decision> decision;
    auto refusal = admit(request.get(), &asked, &decision);
    if (record != nullptr) {
        record->identified(asked, before);
        if (decision) record->authorized(decision->allowed, decision->reason);
    }
    if (refusal) {
        metered->send(std::move(*refusal));
        return;
    }
    if (gate_ == nullptr) return route(std::move(request), std::move(metered));
    gate_->pass(std::move(request), asked, std::move(metered),
                [this](std::shared_ptr<http::Request> next, std::shared_ptr<http::Responder> to) {
                    route(std::move(next), std::move(to));
                });
}

void ApiServer::set_remote_versions(std::vector<aggregator::RemoteVersion> versions) {
    discovery_.set_remote(versions);
    const std::lock_guard lock(remote_mutex_);
    remote_ = std::make_shared<const std::vector<aggregator::RemoteVersion>>(std::move(versions));
}

std::shared_ptr<const std::vector<aggregator::RemoteVersion>> ApiServer::remote_versions() const {
    const std::lock_guard lock(remote_mutex_);
    return remote_;
}

void ApiServer::route(std::shared_ptr<http::Request> request,
                      std::shared_ptr<http::Responder> metered) {
    if (auto* aggregator = aggregator_.load(std::memory_order_acquire)) {
        if (aggregator->relay(request, metered)) return;
    }
    if (auto answer = answer_directly(*request)) {
        metered->send(std::move(*answer));
        return;
    }
    if (token_authority_ != nullptr) {
        if (auto answer = token_authority_->answer(request->path, *request)) {
            metered->send(std::move(*answer));
            return;
        }
    }
    if (token_requests_ != nullptr && token_requests_->handles(*request)) {
        token_requests_->handle(api_.load(std::memory_order_acquire), std::move(request), std::move(metered));
        return;
    }
    const auto* authorizer = authorizer_.load(std::memory_order_acquire);
    if (authorizer != nullptr && reviews::handles(request->path)) {
        reviews::handle(*authorizer, api_.load(std::memory_order_acquire), std::move(request), std::move(metered));
        return;
    }
    auto* api = api_.load(std::memory_order_acquire);
    auto* pod_proxy = pod_proxy_.load(std::memory_order_acquire);
    if (api != nullptr && pod_proxy != nullptr && pod_proxy->handles(*request)) {
        const auto connect = [pod_proxy, request, metered] { pod_proxy->handle(request, metered); };
        api->admit_connection(request, metered, connect);
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
