#include "control/apiserver/proxy/http_proxy.h"

#include <random>
#include <string_view>
#include <utility>

#include "api/base/host_port.h"
#include "control/apiserver/proxy/place.h"
#include "control/http/forwarding_responder.h"
#include "control/streaming/upgrade_relay.h"

namespace sluice::apiserver {
namespace {

constexpr int kMovedPermanently = 301;

// Answers of a server that takes itself for the root of its host: where they lead elsewhere on it, they lead through
// the proxy again.
class PrefixedResponder final : public http::ForwardingResponder {
public:
    PrefixedResponder(std::shared_ptr<http::Responder> inner, std::string prefix, std::string host)
        : ForwardingResponder(std::move(inner)), prefix_(std::move(prefix)), host_(std::move(host)) {}

    void send(http::Response response) override {
        lead_back(&response);
        ForwardingResponder::send(std::move(response));
    }
    void begin_stream(http::Response head) override {
        lead_back(&head);
        ForwardingResponder::begin_stream(std::move(head));
    }

private:
    void lead_back(http::Response* response) const {
        for (auto& [name, value] : response->headers) {
            if (name != "Location") continue;
            std::string_view path = value;
            for (const std::string_view scheme : {"http://", "https://"}) {
                if (path.starts_with(scheme) && path.substr(scheme.size()).starts_with(host_)) {
                    path.remove_prefix(scheme.size() + host_.size());
                    break;
                }
            }
            if (path.starts_with('/')) value = prefix_ + std::string(path);
        }
    }

    std::string prefix_;
    std::string host_;
};

std::uint32_t random_number() {
    static thread_local std::minstd_rand generator{std::random_device{}()};
    return static_cast<std::uint32_t>(generator());
}

}  // namespace

Result<std::unique_ptr<HttpProxy>> HttpProxy::create(std::shared_ptr<const http::ClientTls> kubelets,
                                                     ObjectReader reader, Pass pass) {
    std::unique_ptr<HttpProxy> out(new HttpProxy);
    SLUICE_TRY_ASSIGN(out->pods_, http::ClientTls::create_with_system_roots());
    out->kubelets_ = std::move(kubelets);
    out->reader_ = std::move(reader);
    out->pass_ = std::move(pass);
    return out;
}

bool HttpProxy::handles(const http::Request& request) {
    // Most requests are of something else, and this is looked at for each.
    return request.target.find("/proxy") != std::string::npos && parse_proxy_target(request.target).has_value();
}

bool HttpProxy::is_untimed(const http::Request& request) {
    return handles(request) && !streaming::wants_upgrade(request);
}

void HttpProxy::handle(const std::shared_ptr<const http::Request>& request,
                       std::shared_ptr<http::Responder> responder) const {
    const auto asked = parse_proxy_target(request->target);
    const std::size_t query = request->target.find('?');
    const std::string parameters = query == std::string::npos ? std::string() : request->target.substr(query);
    const bool reads = request->method == "GET" || request->method == "HEAD";
    const bool upgrade = streaming::wants_upgrade(*request);
    if (asked->rest.empty() && reads && !upgrade) {
        // Links of its page are relative to a folder.
        http::Response moved;
        moved.status = kMovedPermanently;
        moved.headers.emplace_back("Location", asked->prefix + "/" + parameters);
        return responder->send(std::move(moved));
    }
    auto place = find_place(*asked, reader_, random_number());
    if (!place) return responder->send(std::move(place).error());
    http::DialRequest dial;
    dial.address = place->address;
    dial.port = place->port;
    if (place->tls) dial.tls = place->kubelet ? kubelets_ : pods_;
    dial.skip_verify = place->tls && !place->kubelet;
    if (place->kubelet) dial.server_names = {split_proxy_id(asked->id)->name};
    dial.target = (asked->rest.empty() ? "/" : asked->rest) + parameters;
    // As long as the client does. An upgrade is timed, here as by the server.
    dial.waits_for_answer = !upgrade;
    dial.headers.emplace_back("X-Forwarded-Uri", request->path);
    dial.headers.emplace_back("X-Forwarded-Proto", "https");
    const auto named = request->header("host");
    if (!named.empty()) dial.headers.emplace_back("X-Forwarded-Host", named);
    const std::string host = host_and_port(place->address, place->port);
    pass_(std::move(dial), request, std::make_shared<PrefixedResponder>(std::move(responder), asked->prefix, host));
}

}  // namespace sluice::apiserver
