#include "control/apiserver/webhooks/caller.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "api/base/host_port.h"
#include "api/kubernetes/admissionregistration/v1/webhook.pb.h"
#include "api/kubernetes/core/v1/service.pb.h"
#include "control/apiserver/registry/validation/field_errors.h"

namespace sluice::webhooks {
namespace {

constexpr std::string_view kScheme = "https://";
constexpr std::int32_t kDefaultPort = 443;

// What a call is made of.
struct Place {
    std::string address;  // or host
    std::string host;
    std::uint16_t port = 0;
    std::string server_name;
    std::string host_header;
    std::string path;
};

Result<Place> place_of_url(const std::string& text) {
    SLUICE_TRY_ASSIGN(const Url url, parse_url(text));
    Place out;
    out.host = url.host;
    out.port = url.port;
    out.server_name = url.host;
    out.path = url.path;
    const bool v6 = url.host.find(':') != std::string::npos;
    out.host_header = url.has_port ? host_and_port(url.host, url.port) : v6 ? "[" + url.host + "]" : url.host;
    return out;
}

Place place_of_service(const ClientConfig& where) {
    const auto& wanted = where.service();
    const std::int32_t port = wanted.has_port() && wanted.port() != 0 ? wanted.port() : kDefaultPort;
    Place out;
    out.server_name = fmt::format("{}.{}.svc", wanted.name(), wanted.namespace_());
    out.host_header = host_and_port(out.server_name, port);
    out.path = wanted.path();
    out.port = static_cast<std::uint16_t>(port);
    return out;
}

// Where the Service is, as kube-apiserver's resolver of ClusterIPs finds it.
Result<void> find_service(const ClientConfig& where, const ServiceReader& services, Place* place) {
    const auto& wanted = where.service();
    const auto service = services(wanted.namespace_(), wanted.name());
    if (service == nullptr) {
        return make_error(Code::kUnavailable, "service \"{}\" not found", wanted.name());
    }
    const auto& spec = service->spec();
    if (spec.type() == "ExternalName") {
        place->host = spec.externalname();
        return {};
    }
    if (spec.clusterip() == "None") {
        return make_error(Code::kUnavailable, "cannot route to service with ClusterIP \"None\"");
    }
    bool found = false;
    for (const auto& port : spec.ports()) found = found || port.port() == place->port;
    if (!found) {
        return make_error(Code::kUnavailable, "no service port {} found for service \"{}\"", place->port,
                          wanted.name());
    }
    place->address = spec.clusterip();
    return {};
}

}  // namespace

Result<Url> parse_url(const std::string& text) {
    const auto bad = [&text](const char* why) {
        return make_error(Code::kInvalidArgument, "\"{}\": {}", text, why);
    };
    if (!text.starts_with(kScheme)) return bad("'https' is the only allowed URL scheme");
    std::string_view rest = std::string_view(text).substr(kScheme.size());
    Url out;
    const std::size_t end = rest.find_first_of("/?#");
    if (end != std::string_view::npos) {
        if (rest[end] != '/') return bad("query and fragment are not permitted");
        out.path = rest.substr(end);
        if (out.path.find_first_of("?#") != std::string::npos) return bad("query and fragment are not permitted");
        rest = rest.substr(0, end);
    }
    if (rest.find('@') != std::string_view::npos) return bad("user information is not permitted");
    std::string_view port;
    if (rest.starts_with('[')) {
        const std::size_t bracket = rest.find(']');
        if (bracket == std::string_view::npos) return bad("the host's bracket is not closed");
        out.host = rest.substr(1, bracket - 1);
        port = rest.substr(bracket + 1);
    } else {
        const std::size_t colon = rest.find(':');
        out.host = rest.substr(0, colon);
        port = colon == std::string_view::npos ? std::string_view() : rest.substr(colon);
    }
    if (out.host.empty()) return bad("a host must be provided");
    if (port.empty()) return out;
    const auto [stop, error] = std::from_chars(port.data() + 1, port.data() + port.size(), out.port);
    if (port[0] != ':' || error != std::errc() || stop != port.data() + port.size() || out.port == 0) {
        return bad("the port is no number of a port");
    }
    out.has_port = true;
    return out;
}

std::string failure_text(int status, std::string_view body) {
    constexpr std::size_t kMaxShownBody = 2'048;
    switch (status) {
        case 400: return "the server rejected our request for an unknown reason";
        case 401: return "the server has asked for the client to provide credentials";
        case 403: return body.empty() ? "unknown" : std::string(body.substr(0, kMaxShownBody));
        case 404: return "the server could not find the requested resource";
        case 405: return "the server does not allow this method on the requested resource";
        case 409: return "the server reported a conflict";
        case 422: return "the server rejected our request due to an error in our request";
        case 429: return "the server has received too many requests and has asked us to try again later";
        case 503: return "the server is currently unable to handle the request";
        case 504:
            return "the server was unable to return a response in the time allotted, but may still be processing the "
                   "request";
        default: break;
    }
    if (status >= 500) {
        return fmt::format("an error on the server ({}) has prevented the request from succeeding",
                           registry::go_quote(body.empty() ? "unknown" : body.substr(0, kMaxShownBody)));
    }
    return fmt::format("the server responded with the status code {} but did not return more information", status);
}

Caller::Caller() : client_(http::Client::create(kCallThreads)) {}
Caller::~Caller() = default;

Caller::Call::~Call() {
    call_.reset();
    if (owner_ != nullptr) owner_->under_way_.fetch_sub(1, std::memory_order_relaxed);
}

Result<Answered> Caller::Call::wait() {
    // In steps, to see when the server stops.
    static constexpr std::chrono::milliseconds kStep{200};
    const auto step = [this] { return std::min(deadline_, std::chrono::steady_clock::now() + kStep); };
    auto answer = call_->wait(step());
    while (!answer && answer.error().code == Code::kDeadlineExceeded && !call_->over() &&
           std::chrono::steady_clock::now() < deadline_) {
        if (owner_->stopped_.load(std::memory_order_relaxed)) {
            return make_error(Code::kUnavailable, "Post \"{}\": the server is shutting down", url_);
        }
        answer = call_->wait(step());
    }
    if (!answer) {
        return make_error(answer.error().code, "Post \"{}\": {}", url_, answer.error().message);
    }
    return Answered{answer->status, std::move(answer->body), answer->finished};
}

Result<std::shared_ptr<const http::ClientTls>> Caller::tls_of(const std::string& ca_bundle) {
    const std::lock_guard lock(mutex_);
    if (const auto found = authorities_.find(ca_bundle); found != authorities_.end()) return found->second;
    auto made = ca_bundle.empty() ? http::ClientTls::create_with_system_roots()
                                  : http::ClientTls::create(ca_bundle, "", "");
    if (!made) return make_error(made.error().code, "unable to load root certificates: {}", made.error().message);
    if (authorities_.size() >= kMaxAuthorities) authorities_.clear();
    return authorities_.emplace(ca_bundle, std::move(*made)).first->second;
}

Result<std::unique_ptr<Caller::Call>> Caller::start(const ClientConfig& where, const ServiceReader& services,
                                                    std::string body, std::chrono::milliseconds timeout) {
    Place place;
    if (where.has_service()) {
        place = place_of_service(where);
    } else {
        SLUICE_TRY_ASSIGN(place, place_of_url(where.url()));
    }
    SLUICE_TRY_ASSIGN(auto tls, tls_of(where.cabundle()));
    if (under_way_.fetch_add(1, std::memory_order_relaxed) >= kMaxCalls) {
        under_way_.fetch_sub(1, std::memory_order_relaxed);
        refused_.fetch_add(1, std::memory_order_relaxed);
        return make_error(Code::kResourceExhausted, "more than {} calls of webhooks are under way", kMaxCalls);
    }
    std::unique_ptr<Call> call(new Call);
    call->owner_ = this;
    call->deadline_ = std::chrono::steady_clock::now() + timeout;
    const auto seconds = (timeout.count() + 999) / 1'000;
    http::DialRequest request;
    request.method = "POST";
    request.target = fmt::format("{}?timeout={}s", place.path.empty() ? "/" : place.path, seconds);
    call->url_ = fmt::format("https://{}{}", place.host_header, request.target);
    if (where.has_service()) {
        if (const auto found = find_service(where, services, &place); !found) {
            return make_error(found.error().code, "Post \"{}\": {}", call->url_, found.error().message);
        }
    }
    request.address = place.address;
    request.host = place.host;
    request.port = place.port;
    request.tls = std::move(tls);
    request.server_name = place.server_name;
    // The dialer's own deadline comes after the call's, whose words are Go's.
    request.timeout_ms = static_cast<std::uint32_t>(timeout.count()) + 1'000;
    request.headers = {{"Content-Type", "application/json"},
                       {"Accept", "application/json, */*"},
                       {"User-Agent", "kube-apiserver-admission"}};
    call->call_ = client_->start(std::move(request), place.host_header, std::move(body));
    return call;
}

CallerStats Caller::stats() const { return {client_->stats(), refused_.load(std::memory_order_relaxed)}; }

}  // namespace sluice::webhooks
