#include "control/apiserver/aggregator/handover.h"

#include <fmt/format.h>

#include <string_view>

#include "control/http/status_body.h"

namespace sluice::aggregator {
namespace {

// A key of extra as part of a header's name: what no name may hold is escaped.
std::string escaped_key(std::string_view key) {
    static constexpr std::string_view kLegal = "!#$&'*+-.^_`|~";
    std::string out;
    for (const char c : key) {
        const bool legal = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                           kLegal.find(c) != std::string_view::npos;
        if (legal) {
            out += c;
        } else {
            out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
        }
    }
    return out;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> identity_headers(const http::Identity& who) {
    std::vector<std::pair<std::string, std::string>> out;
    out.emplace_back("X-Remote-User", who.user);
    if (!who.uid.empty()) out.emplace_back("X-Remote-Uid", who.uid);
    for (const std::string& group : who.groups) out.emplace_back("X-Remote-Group", group);
    for (const auto& [key, values] : who.extra) {
        for (const std::string& value : values) out.emplace_back("X-Remote-Extra-" + escaped_key(key), value);
    }
    return out;
}

void hand_over(relay::Relay& relay, const Remote& remote, std::size_t turn,
               const std::shared_ptr<const http::Request>& request, std::shared_ptr<http::Responder> responder) {
    if (!remote.available || remote.places.empty()) {
        constexpr int kUnavailable = 503;
        return responder->send(http::text_response(kUnavailable, "service unavailable\n"));
    }
    if (remote.tls == nullptr) {
        constexpr int kInternal = 500;
        return responder->send(http::text_response(kInternal, remote.tls_error + "\n"));
    }
    http::DialRequest dial = remote.dial(turn);
    dial.target = request->target;
    dial.headers = identity_headers(request->identity);
    relay.forward(std::move(dial), request, std::move(responder));
}

}  // namespace sluice::aggregator
