#include "control/http/exchange.h"

#include <fmt/core.h>

#include <ctime>

#include "control/http/gzip.h"
#include "control/http/loop_private.h"
#include "control/http/status_body.h"

namespace sluice::http {
namespace {

bool is_bearer(std::string_view authorization) {
    static constexpr std::string_view kBearer = "bearer ";
    return authorization.size() >= kBearer.size() &&
           lower_case(authorization.substr(0, kBearer.size())) == kBearer;
}

}  // namespace

std::string lower_case(std::string_view name) {
    std::string out(name);
    for (char& c : out) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
    }
    return out;
}

std::optional<Identity> authenticate(const Shared& shared, const CertificateIdentity& certificate,
                                     std::string_view authorization) {
    if (!certificate.identity.user.empty() &&
        static_cast<std::int64_t>(std::time(nullptr)) <= certificate.not_after_s) {
        return certificate.identity;
    }
    if (is_bearer(authorization)) {
        if (!shared.authenticate_token) return std::nullopt;
        return shared.authenticate_token(authorization.substr(authorization.find(' ') + 1));
    }
    if (certificate.presented) return std::nullopt;
    return Identity{};
}

Response unauthorized() { return status_response(401, "Unauthorized", "Unauthorized"); }

Response body_too_large() {
    return status_response(413, "RequestEntityTooLarge",
                           fmt::format("Request entity too large: limit is {}", kMaxBodyBytes));
}

Response header_too_large() { return text_response(431, "431 Request Header Fields Too Large"); }

Response timed_out() {
    return status_response(504, "Timeout",
                           "Timeout: request did not complete within the allotted timeout");
}

void code_body(Response* response, bool gzip_accepted) {
    if (response->body.size() <= kMinGzipBytes) return;
    for (const auto& [name, value] : response->headers) {
        if (lower_case(name) == "content-encoding") return;
    }
    response->headers.emplace_back("Vary", "Accept-Encoding");
    if (!gzip_accepted) return;
    if (auto packed = gzip(response->body)) {
        response->body = std::move(*packed);
        response->headers.emplace_back("Content-Encoding", "gzip");
    }
}

}  // namespace sluice::http
