#include "control/http/exchange.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <utility>

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

namespace {

// Go's duration with the units that make sense here; nullopt if it is none, or not positive.
std::optional<double> duration_ms(std::string_view text) {
    static constexpr std::array<std::pair<std::string_view, double>, 6> kUnits = {
        {{"ns", 1e-6}, {"us", 1e-3}, {"ms", 1.0}, {"s", 1e3}, {"m", 6e4}, {"h", 3.6e6}}};
    constexpr std::size_t kMaxBytes = 64;
    if (text.empty() || text.size() > kMaxBytes) return std::nullopt;
    if (text == "0") return 0.0;
    double total = 0;
    while (!text.empty()) {
        double value = 0;
        double place = 0;  // of the next digit behind the point; 0 before it
        std::size_t used = 0;
        for (; used < text.size(); ++used) {
            const char c = text[used];
            if (c == '.' && place == 0) {
                place = 0.1;
            } else if (c < '0' || c > '9') {
                break;
            } else if (place == 0) {
                value = value * 10 + (c - '0');
            } else {
                value += (c - '0') * place;
                place /= 10;
            }
        }
        if (used == 0 || text.substr(0, used) == ".") return std::nullopt;
        text.remove_prefix(used);
        const auto* unit = std::find_if(kUnits.begin(), kUnits.end(), [text](const auto& known) {
            const std::string_view rest = text.substr(std::min(known.first.size(), text.size()));
            return text.starts_with(known.first) &&
                   (rest.empty() || rest[0] == '.' || (rest[0] >= '0' && rest[0] <= '9'));
        });
        if (unit == kUnits.end()) return std::nullopt;
        total += value * unit->second;
        text.remove_prefix(unit->first.size());
    }
    return total;
}

}  // namespace

Result<std::uint32_t> request_time_ms(const Request& request, const Shared& shared) {
    const Timeouts& timeouts = shared.timeouts;
    if (shared.is_untimed && shared.is_untimed(request)) return kUntimed;
    const auto asked = request.parameter("timeout");
    if (!asked || asked->empty()) return timeouts.request_ms;
    // What is passed on to somebody else's server is not ours to read: upgrades have a time, but do not say which.
    if (request.path.find("/proxy/") != std::string::npos || request.path.ends_with("/proxy")) {
        return timeouts.request_ms;
    }
    const auto ms = duration_ms(*asked);
    if (!ms) {
        return make_error(Code::kInvalidArgument,
                          "invalid timeout specified in the request URL - time: invalid duration {}",
                          json_quote(*asked));
    }
    if (*ms < 1) return timeouts.request_ms;  // none is asked for
    return static_cast<std::uint32_t>(std::min<double>(*ms, timeouts.request_ms));
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
