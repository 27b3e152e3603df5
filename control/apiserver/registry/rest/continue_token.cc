#include "control/apiserver/registry/rest/continue_token.h"

#include <fmt/format.h>

#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include "api/base/base64url.h"
#include "api/codec/json.h"

namespace sluice::registry {
namespace {

// Longer tokens were not made by us.
constexpr std::size_t kMaxContinueBytes = 4096;
constexpr std::string_view kTokenVersion = "meta.k8s.io/v1";

}  // namespace

std::string ContinueToken::encode() const {
    const boost::json::value start("/" + after + '\0');
    // -1 stands for "go on at the newest version", as in kube-apiserver.
    return base64url(fmt::format(
        R"({{"v":"{}","rv":{},"start":{}}})", kTokenVersion,
        inconsistent ? std::string("-1") : std::to_string(revision), boost::json::serialize(start)));
}

Answer<ContinueToken> ContinueToken::parse(std::string_view text) {
    const auto bad = [](std::string_view why) {
        return refuse(bad_request(
            fmt::format("invalid continue token: continue key is not valid: {}", why)));
    };
    if (text.size() > kMaxContinueBytes) return bad("the token is too long");
    while (text.ends_with('=')) text.remove_suffix(1);
    std::string json;
    if (const std::size_t at = decode_base64url(text, &json); at != std::string_view::npos) {
        return bad(fmt::format("illegal base64 data at input byte {}", at));
    }
    if (json.empty() || json.front() != '{') {
        return bad(json.empty() ? std::string("unexpected end of JSON input")
                                : fmt::format("invalid character '{}' looking for beginning of "
                                              "value",
                                              json.front()));
    }
    auto parsed = codec::parse_json(json);
    if (!parsed) return bad(parsed.error().message);
    const auto* object = parsed->if_object();
    const auto* version = object != nullptr ? object->if_contains("v") : nullptr;
    const auto* revision = object != nullptr ? object->if_contains("rv") : nullptr;
    const auto* start = object != nullptr ? object->if_contains("start") : nullptr;
    if (version == nullptr || !version->is_string() || version->get_string() != kTokenVersion) {
        return bad("server does not recognize this encoded version");
    }
    if (revision == nullptr || start == nullptr || !start->is_string()) {
        return bad("continue key is not valid");
    }
    boost::system::error_code not_a_number;
    const auto number = revision->to_number<std::int64_t>(not_a_number);
    if (not_a_number || number == 0 || number < -1) {
        return bad("incorrect encoded start resourceVersion");
    }
    ContinueToken token;
    token.inconsistent = number < 0;
    token.revision = token.inconsistent ? 0 : static_cast<store::Revision>(number);
    std::string_view after(start->get_string().data(), start->get_string().size());
    if (after.ends_with('\0')) after.remove_suffix(1);
    if (after.starts_with('/')) after.remove_prefix(1);
    // A key that climbs out of the list's prefix would read other objects.
    if (after.empty() || after.find("..") != std::string_view::npos) {
        return bad("invalid start key");
    }
    token.after = after;
    return token;
}

}  // namespace sluice::registry
