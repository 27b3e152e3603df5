// Routes and identities. What blocks runs on the workers; streams are log_session's or passed on to the runtime.
#include "control/kubelet/server/server.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <optional>
#include <string_view>

#include "control/http/dialer.h"
#include "control/http/server.h"
#include "control/http/status_body.h"
#include "control/kubelet/logs/log_reader.h"
#include "control/kubelet/logs/log_watch.h"
#include "control/kubelet/server/log_request.h"
#include "control/kubelet/server/log_session.h"
#include "control/kubelet/server/workers.h"
#include "control/streaming/upgrade_relay.h"

namespace sluice::kubelet {
namespace {

constexpr std::string_view kMasters = "system:masters";
constexpr std::string_view kApiServerUser = "kube-apiserver-kubelet-client";
constexpr std::size_t kMaxPathSegments = 6;
constexpr std::size_t kMaxPorts = 64;
constexpr std::size_t kMaxCommandWords = 4'096;
constexpr int kHttpThreads = 2;

using Segments = std::vector<std::string>;
using RequestPtr = std::shared_ptr<http::Request>;
using ResponderPtr = std::shared_ptr<http::Responder>;

Segments segments_of(std::string_view path) {
    Segments out;
    while (!path.empty() && out.size() <= kMaxPathSegments) {
        path.remove_prefix(1);
        const std::size_t end = std::min(path.find('/'), path.size());
        out.emplace_back(path.substr(0, end));
        path.remove_prefix(end);
    }
    return out;
}

bool may_enter(const http::Identity& identity) {
    return identity.user == kApiServerUser ||
           std::find(identity.groups.begin(), identity.groups.end(), kMasters) !=
               identity.groups.end();
}

bool flag(const http::Request& request, std::string_view name) {
    const auto value = request.parameter(name);
    return value && (*value == "1" || *value == "true");
}

http::Response failure(const Error& error) {
    int code = 500;
    if (error.code == Code::kNotFound) code = 404;
    if (error.code == Code::kFailedPrecondition || error.code == Code::kInvalidArgument) code = 400;
    if (error.code == Code::kUnavailable || error.code == Code::kResourceExhausted) code = 503;
    return http::text_response(code, error.message);
}

// "http://127.0.0.1:34567/exec/TOKEN" of the runtime.
Result<http::DialRequest> parse_url(std::string_view url) {
    const auto bad = [&] {
        return make_error(Code::kInternal, "the runtime gave an address that cannot be used: \"{}\"",
                          url);
    };
    static constexpr std::string_view kScheme = "http://";
    std::string_view rest = url;
    if (!rest.starts_with(kScheme)) return bad();
    rest.remove_prefix(kScheme.size());
    const std::size_t slash = std::min(rest.find('/'), rest.size());
    std::string_view host = rest.substr(0, slash);
    const std::size_t colon = host.rfind(':');
    if (colon == std::string_view::npos) return bad();
    const std::string_view port = host.substr(colon + 1);
    http::DialRequest out;
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), out.port);
    if (error != std::errc() || end != port.data() + port.size()) return bad();
    host = host.substr(0, colon);
    if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
    out.address = host == "localhost" || host.empty() ? "127.0.0.1" : std::string(host);
    out.target = slash < rest.size() ? std::string(rest.substr(slash)) : "/";
    return out;
}

class HttpsKubeletServer final : public KubeletServer {
public:
    HttpsKubeletServer(ServerBackend& backend, std::unique_ptr<logs::LogWatch> watch)
        : backend_(backend), watch_(std::move(watch)), dialer_(http::Dialer::create(1)) {}
    ~HttpsKubeletServer() override {
        if (server_) server_->shutdown(0);
        // Sessions come from workers to the watch and back; each still finds the other while it stops.
        workers_.stop();
        watch_.reset();
    }
    HttpsKubeletServer(const HttpsKubeletServer&) = delete;
    HttpsKubeletServer& operator=(const HttpsKubeletServer&) = delete;

    Result<void> open(const KubeletServerOptions& options) {
        http::ServerOptions server_options;
        server_options.address = options.address;
        server_options.port = options.port;
        server_options.certificate_pem = options.certificate_pem;
        server_options.private_key_pem = options.private_key_pem;
        server_options.client_ca_pem = options.client_ca_pem;
        server_options.threads = kHttpThreads;
        SLUICE_TRY_ASSIGN(server_, http::listen(server_options, [this](RequestPtr request,
                                                                       ResponderPtr responder) {
                              handle(std::move(request), std::move(responder));
                          }));
        return {};
    }

    [[nodiscard]] std::uint16_t port() const override { return server_->port(); }

private:
    void handle(RequestPtr request, ResponderPtr responder) {
        if (request->path == "/healthz") {
            responder->send(http::text_response(200, "ok"));
            return;
        }
        if (request->identity.user.empty()) {
            responder->send(http::text_response(401, "Unauthorized"));
            return;
        }
        if (!may_enter(request->identity)) {
            responder->send(http::text_response(
                403, fmt::format("Forbidden (user={}, verb={}, resource=nodes, subresource=proxy)",
                                 request->identity.user, request->method)));
            return;
        }
        const Segments path = segments_of(request->path);
        if (request->path == "/pods" || request->path == "/metrics") {
            plain(std::move(request), std::move(responder));
        } else if (path.size() == 4 && path[0] == "containerLogs" && request->method == "GET") {
            on_worker(responder, [this, request, responder, path] { log(*request, responder, path); });
        } else if ((path[0] == "exec" || path[0] == "attach") &&
                   (path.size() == 4 || path.size() == 5)) {
            stream(std::move(request), std::move(responder), path);
        } else if (path[0] == "portForward" && (path.size() == 3 || path.size() == 4)) {
            stream(std::move(request), std::move(responder), path);
        } else {
            responder->send(http::text_response(404, "404 page not found\n"));
        }
    }

    void on_worker(const ResponderPtr& responder, std::function<void()> job) {
        if (!workers_.run(std::move(job))) {
            responder->send(http::text_response(503, "too many requests are waiting"));
        }
    }

    void plain(RequestPtr request, ResponderPtr responder) {
        on_worker(responder, [this, request, responder] {
            http::Response response;
            if (request->path == "/pods") {
                response = http::json_response(backend_.pods_json());
            } else {
                response.headers.emplace_back("Content-Type",
                                              "text/plain; version=0.0.4; charset=utf-8");
                response.body = backend_.metrics();
            }
            responder->send(std::move(response));
        });
    }

    void log(const http::Request& request, const ResponderPtr& responder, const Segments& path) {
        const auto now = std::chrono::system_clock::now().time_since_epoch();
        auto wanted = parse_log_request(
            request, std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
        if (!wanted) {
            responder->send(http::text_response(400, wanted.error().message));
            return;
        }
        const auto file = backend_.log_file(path[1], path[2], path[3], wanted->previous);
        if (!file) {
            responder->send(failure(file.error()));
            return;
        }
        auto reader = logs::LogReader::open(file->path, wanted->read);
        if (!reader) {
            responder->send(http::text_response(500, reader.error().message));
            return;
        }
        const bool follow = wanted->follow && file->running;
        std::make_shared<LogSession>(
            std::move(*reader), responder, workers_, follow ? watch_.get() : nullptr,
            [this, id = file->container_id] { return backend_.is_running(id); })
            ->start();
    }

    void stream(RequestPtr request, ResponderPtr responder, const Segments& path) {
        if (!streaming::wants_upgrade(*request)) {
            responder->send(http::text_response(400, "you must request an upgraded connection"));
            return;
        }
        on_worker(responder, [this, request, responder, path] {
            const auto url = path[0] == "portForward" ? port_forward_url(*request, path)
                                                      : exec_url(*request, path);
            if (!url) {
                responder->send(failure(url.error()));
                return;
            }
            auto dial = parse_url(*url);
            if (!dial) {
                responder->send(failure(dial.error()));
                return;
            }
            dial->method = request->method;
            dial->headers = streaming::upgrade_headers(*request);
            streaming::relay_upgrade(*dialer_, std::move(*dial), responder, failure);
        });
    }

    // PATH/NS/POD[/UID]/CONTAINER
    Result<std::string> exec_url(const http::Request& request, const Segments& path) {
        ExecRequest exec;
        exec.stdin_stream = flag(request, "input");
        exec.stdout_stream = flag(request, "output");
        exec.tty = flag(request, "tty");
        // A terminal has one output.
        exec.stderr_stream = flag(request, "error") && !exec.tty;
        if (!exec.stdin_stream && !exec.stdout_stream && !exec.stderr_stream) {
            return make_error(Code::kInvalidArgument,
                              "you must specify at least 1 of stdin, stdout, stderr");
        }
        if (path[0] == "exec") {
            for (const auto& [name, value] : request.query) {
                if (name == "command") exec.command.push_back(value);
            }
            if (exec.command.empty() || exec.command.size() > kMaxCommandWords) {
                return make_error(Code::kInvalidArgument,
                                  "you must specify a command of 1 to {} words", kMaxCommandWords);
            }
        }
        return backend_.exec_url(path[1], path[2], path.back(), exec);
    }

    Result<std::string> port_forward_url(const http::Request& request, const Segments& path) {
        std::vector<std::int32_t> ports;
        for (const auto& [name, value] : request.query) {
            if (name != "port" && name != "ports") continue;
            std::string_view rest = value;
            while (!rest.empty()) {
                const std::size_t comma = std::min(rest.find(','), rest.size());
                std::uint16_t port = 0;
                const auto [end, error] = std::from_chars(rest.data(), rest.data() + comma, port);
                if (error != std::errc() || end != rest.data() + comma || port == 0 ||
                    ports.size() >= kMaxPorts) {
                    return make_error(Code::kInvalidArgument,
                                      "query parameter \"port\" needs 1 to {} port numbers",
                                      kMaxPorts);
                }
                ports.push_back(port);
                rest.remove_prefix(std::min(comma + 1, rest.size()));
            }
        }
        return backend_.port_forward_url(path[1], path[2], ports);
    }

    ServerBackend& backend_;
    Workers workers_;
    std::unique_ptr<logs::LogWatch> watch_;
    std::unique_ptr<http::Dialer> dialer_;
    std::unique_ptr<http::Server> server_;
};

}  // namespace

Result<std::unique_ptr<KubeletServer>> KubeletServer::start(const KubeletServerOptions& options,
                                                            ServerBackend& backend) {
    SLUICE_TRY_ASSIGN(auto watch, logs::LogWatch::create());
    auto server = std::make_unique<HttpsKubeletServer>(backend, std::move(watch));
    SLUICE_TRY(server->open(options));
    return std::unique_ptr<KubeletServer>(std::move(server));
}

}  // namespace sluice::kubelet
