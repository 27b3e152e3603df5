#include "control/apiserver/service_accounts/claims.h"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <cmath>
#include <limits>
#include <optional>

#include "api/base/base64url.h"

namespace sluice::service_accounts {
namespace {

namespace json = boost::json;

constexpr char kPrivate[] = "kubernetes.io";
constexpr char kLegacyPrefix[] = "kubernetes.io/serviceaccount/";
constexpr std::size_t kMaxDepth = 8;

struct Parts {
    std::string_view header;
    std::string_view payload;
    std::string_view signature;
    std::string_view signed_text;
};

std::optional<Parts> split(std::string_view token) {
    if (token.size() > kMaxTokenBytes) return std::nullopt;
    const std::size_t first = token.find('.');
    if (first == std::string_view::npos) return std::nullopt;
    const std::size_t second = token.find('.', first + 1);
    if (second == std::string_view::npos || token.find('.', second + 1) != std::string_view::npos) return std::nullopt;
    return Parts{token.substr(0, first), token.substr(first + 1, second - first - 1), token.substr(second + 1),
                 token.substr(0, second)};
}

std::optional<json::object> object_in(std::string_view encoded) {
    const auto text = from_base64url(encoded);
    if (!text) return std::nullopt;
    boost::system::error_code error;
    json::parse_options options;
    options.max_depth = kMaxDepth;
    json::value value = json::parse(*text, error, {}, options);
    if (error || !value.is_object()) return std::nullopt;
    return std::move(value.as_object());
}

std::string text_in(const json::object& object, std::string_view key) {
    const json::value* value = object.if_contains(key);
    return value != nullptr && value->is_string() ? std::string(value->as_string()) : std::string();
}

// Dates are numbers, whole or not; what is no date, or beyond all dates, is refused.
bool date_in(const json::object& object, std::string_view key, std::int64_t* out) {
    const json::value* value = object.if_contains(key);
    if (value == nullptr) return true;
    if (value->is_int64()) {
        *out = value->as_int64();
    } else if (value->is_double() && std::abs(value->as_double()) < 1e15) {
        *out = static_cast<std::int64_t>(value->as_double());
    } else {
        return false;
    }
    return *out >= 0;
}

bool audiences_in(const json::object& object, std::vector<std::string>* out) {
    const json::value* value = object.if_contains("aud");
    if (value == nullptr) return true;
    if (value->is_string()) {
        out->emplace_back(value->as_string());
        return true;
    }
    if (!value->is_array() || value->as_array().size() > kMaxAudiences) return false;
    for (const json::value& one : value->as_array()) {
        if (!one.is_string()) return false;
        out->emplace_back(one.as_string());
    }
    return true;
}

Reference reference_in(const json::object& object, std::string_view key) {
    const json::value* value = object.if_contains(key);
    if (value == nullptr || !value->is_object()) return {};
    return {text_in(value->as_object(), "name"), text_in(value->as_object(), "uid")};
}

void put(json::object* object, const char* key, const Reference& reference) {
    if (reference.empty()) return;
    json::object& out = (*object)[key].emplace_object();
    out["name"] = reference.name;
    if (!reference.uid.empty()) out["uid"] = reference.uid;
}

json::object payload_of(const Claims& claims) {
    json::object out;
    if (claims.legacy) {
        const std::string prefix(kLegacyPrefix);
        out["iss"] = claims.issuer;
        out[prefix + "namespace"] = claims.name_space;
        out[prefix + "secret.name"] = claims.secret.name;
        out[prefix + "service-account.name"] = claims.account.name;
        out[prefix + "service-account.uid"] = claims.account.uid;
        out["sub"] = claims.subject;
        return out;
    }
    json::array& audiences = out["aud"].emplace_array();
    for (const std::string& one : claims.audiences) audiences.emplace_back(one);
    out["exp"] = claims.expires_s;
    out["iat"] = claims.issued_s;
    out["iss"] = claims.issuer;
    out["jti"] = claims.id;
    json::object& own = out[kPrivate].emplace_object();
    own["namespace"] = claims.name_space;
    put(&own, "node", claims.node);
    put(&own, "pod", claims.pod);
    put(&own, "secret", claims.secret);
    put(&own, "serviceaccount", claims.account);
    if (claims.warn_after_s != 0) own["warnafter"] = claims.warn_after_s;
    out["nbf"] = claims.not_before_s;
    out["sub"] = claims.subject;
    return out;
}

Error malformed() { return make_error(Code::kUnauthenticated, "the token is malformed"); }

}  // namespace

Result<std::string> write_token(const Claims& claims, const KeyRing& keys) {
    const json::object header{{"alg", keys.algorithm()}, {"kid", keys.key_id()}};
    std::string token = base64url(json::serialize(header)) + "." + base64url(json::serialize(payload_of(claims)));
    SLUICE_TRY_ASSIGN(const std::string signature, keys.sign(token));
    return token + "." + base64url(signature);
}

std::string claimed_issuer(std::string_view token) {
    const auto parts = split(token);
    if (!parts) return {};
    const auto payload = object_in(parts->payload);
    return payload ? text_in(*payload, "iss") : std::string();
}

Result<Claims> read_token(std::string_view token, const KeyRing& keys) {
    const auto parts = split(token);
    if (!parts) return malformed();
    const auto header = object_in(parts->header);
    const auto signature = from_base64url(parts->signature);
    if (!header || !signature) return malformed();
    // Extensions that have to be understood are not.
    if (header->contains("crit") || header->contains("b64")) return malformed();
    if (!keys.verify(text_in(*header, "kid"), text_in(*header, "alg"), parts->signed_text, *signature)) {
        return make_error(Code::kUnauthenticated, "invalid signature");
    }
    const auto payload = object_in(parts->payload);
    if (!payload) return malformed();
    Claims out;
    out.issuer = text_in(*payload, "iss");
    out.subject = text_in(*payload, "sub");
    out.id = text_in(*payload, "jti");
    if (!audiences_in(*payload, &out.audiences) || !date_in(*payload, "exp", &out.expires_s) ||
        !date_in(*payload, "iat", &out.issued_s) || !date_in(*payload, "nbf", &out.not_before_s)) {
        return malformed();
    }
    if (out.issuer == kLegacyIssuer) {
        const std::string prefix(kLegacyPrefix);
        out.legacy = true;
        out.name_space = text_in(*payload, prefix + "namespace");
        out.secret.name = text_in(*payload, prefix + "secret.name");
        out.account = {text_in(*payload, prefix + "service-account.name"),
                       text_in(*payload, prefix + "service-account.uid")};
        return out;
    }
    const json::value* own = payload->if_contains(kPrivate);
    // A bound token without an end is none that was written here.
    if (own == nullptr || !own->is_object() || !payload->contains("exp")) return malformed();
    out.name_space = text_in(own->as_object(), "namespace");
    out.account = reference_in(own->as_object(), "serviceaccount");
    out.pod = reference_in(own->as_object(), "pod");
    out.node = reference_in(own->as_object(), "node");
    out.secret = reference_in(own->as_object(), "secret");
    if (!date_in(own->as_object(), "warnafter", &out.warn_after_s)) return malformed();
    return out;
}

}  // namespace sluice::service_accounts
