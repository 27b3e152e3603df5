#include "control/http/uri.h"

#include <algorithm>
#include <optional>

namespace sluice::http {
namespace {

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

Result<std::string> decode(std::string_view text, bool plus_is_space) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        char c = text[i];
        if (c == '%') {
            const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
            const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
            if (high < 0 || low < 0) {
                return make_error(Code::kInvalidArgument,
                                  "the request target has an invalid escape at \"{}\"",
                                  text.substr(i, 3));
            }
            c = static_cast<char>(high * 16 + low);
            if (c == '\0') {
                return make_error(Code::kInvalidArgument, "the request target has a NUL character");
            }
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        out.push_back(c);
    }
    return out;
}

}  // namespace

Result<Target> parse_target(std::string_view target) {
    if (target.size() > kMaxTargetBytes) {
        return make_error(Code::kInvalidArgument, "the request target is longer than {} bytes",
                          kMaxTargetBytes);
    }
    const auto is_raw_invalid = [](char c) {
        return static_cast<unsigned char>(c) <= 0x20 || c == 0x7f || c == '#';
    };
    if (std::any_of(target.begin(), target.end(), is_raw_invalid)) {
        return make_error(Code::kInvalidArgument,
                          "the request target has a control character, a space or a fragment");
    }
    for (const std::string_view scheme : {"https://", "http://"}) {
        if (target.starts_with(scheme)) {
            const std::size_t end = target.find_first_of("/?", scheme.size());
            target = end == std::string_view::npos ? std::string_view{"/"} : target.substr(end);
            break;
        }
    }
    if (target.empty() || (target.front() != '/' && target.front() != '?')) {
        return make_error(Code::kInvalidArgument, "the request target does not begin with a slash");
    }

    Target out;
    const std::size_t question = target.find('?');
    SLUICE_TRY_ASSIGN(out.path, decode(target.substr(0, question), false));
    if (out.path.empty()) out.path.push_back('/');
    if (question == std::string_view::npos) return out;

    std::string_view rest = target.substr(question + 1);
    while (!rest.empty()) {
        const std::size_t end = rest.find('&');
        const std::string_view pair = rest.substr(0, end);
        rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
        if (pair.empty()) continue;
        if (out.query.size() == kMaxQueryParameters) {
            return make_error(Code::kInvalidArgument,
                              "the request has more than {} query parameters",
                              kMaxQueryParameters);
        }
        const std::size_t equals = pair.find('=');
        SLUICE_TRY_ASSIGN(std::string name, decode(pair.substr(0, equals), true));
        std::string value;
        if (equals != std::string_view::npos) {
            SLUICE_TRY_ASSIGN(value, decode(pair.substr(equals + 1), true));
        }
        out.query.emplace_back(std::move(name), std::move(value));
    }
    return out;
}

std::vector<std::string_view> path_segments(std::string_view path, std::size_t most) {
    constexpr std::size_t kUsualSegments = 8;
    std::vector<std::string_view> out;
    out.reserve(kUsualSegments);
    while (!path.empty() && out.size() <= most) {
        const std::size_t slash = path.find('/');
        if (slash != 0) out.push_back(path.substr(0, slash));
        if (slash == std::string_view::npos) break;
        path.remove_prefix(slash + 1);
    }
    return out;
}

std::string percent_encode(std::string_view text) {
    static constexpr std::string_view kHex = "0123456789ABCDEF";
    std::string out;
    out.reserve(text.size());
    for (const char c : text) {
        const bool unreserved = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                                (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' ||
                                c == '~';
        if (unreserved) {
            out.push_back(c);
        } else {
            const auto byte = static_cast<unsigned char>(c);
            out.push_back('%');
            out.push_back(kHex[byte >> 4U]);
            out.push_back(kHex[byte & 15U]);
        }
    }
    return out;
}

}  // namespace sluice::http
