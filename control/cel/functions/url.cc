// Reading URLs. The rules, and what is said of texts that break them, are those of Go's net/url.
#include "control/cel/functions/url_private.h"

#include <algorithm>
#include <optional>

#include "api/codec/json_text.h"
#include "control/cel/errors_private.h"

namespace sluice::cel {

namespace {

bool is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

int hex_value(char c) {
    if (is_digit(c)) return c - '0';
    const char lower = static_cast<char>(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

enum class Part : std::uint8_t { kPath, kHost, kQuery };

bool allowed_in_host(char c) {
    return static_cast<unsigned char>(c) >= 0x80 || is_alpha(c) || is_digit(c) ||
           std::string_view("-_.~!$&'()*+,;=:[]<>\"").find(c) != std::string_view::npos;
}

// The part with its escapes read.
Result<std::string> unescape(std::string_view text, Part part) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (c == '%') {
            const int high = i + 1 < text.size() ? hex_value(text[i + 1]) : -1;
            const int low = i + 2 < text.size() ? hex_value(text[i + 2]) : -1;
            const bool ascii = high >= 0 && high < 8;
            if (high < 0 || low < 0 ||
                (part == Part::kHost && ascii && text.substr(i, 3) != "%25")) {
                return failed("invalid URL escape {}", codec::quoted(text.substr(i, 3)));
            }
            out += static_cast<char>(high * 16 + low);
            i += 2;
        } else if (c == '+' && part == Part::kQuery) {
            out += ' ';
        } else if (part == Part::kHost && !allowed_in_host(c)) {
            return failed("invalid character {} in host name", codec::quoted(text.substr(i, 1)));
        } else {
            out += c;
        }
    }
    return out;
}

bool path_may_have(char c) {
    return is_alpha(c) || is_digit(c) ||
           std::string_view("-_.~$&+,/:;=@!'()*[]").find(c) != std::string_view::npos;
}

// As it was written if that is a way to escape the path, else escaped anew.
std::string escaped_path(std::string_view raw, std::string_view path) {
    if (std::all_of(raw.begin(), raw.end(), [](char c) { return c == '%' || path_may_have(c); })) {
        return std::string(raw);
    }
    std::string out;
    for (const char c : path) {
        if (path_may_have(c) && std::string_view("!'()*[]").find(c) == std::string_view::npos) {
            out += c;
            continue;
        }
        constexpr const char* kDigits = "0123456789ABCDEF";
        const auto byte = static_cast<unsigned char>(c);
        out += '%';
        out += kDigits[byte >> 4U];
        out += kDigits[byte & 15U];
    }
    return out;
}

// Takes "scheme:" off the text.
Result<std::string> take_scheme(std::string_view* text) {
    for (std::size_t i = 0; i < text->size(); ++i) {
        const char c = (*text)[i];
        if (is_alpha(c)) continue;
        if (is_digit(c) || c == '+' || c == '-' || c == '.') {
            if (i == 0) break;
            continue;
        }
        if (c != ':') break;
        if (i == 0) return failed("missing protocol scheme");
        std::string scheme(text->substr(0, i));
        std::transform(scheme.begin(), scheme.end(), scheme.begin(), [](char letter) {
            return is_alpha(letter) ? static_cast<char>(letter | 0x20) : letter;
        });
        text->remove_prefix(i + 1);
        return scheme;
    }
    return std::string();
}

bool valid_port(std::string_view port) {
    if (port.empty()) return true;
    return port[0] == ':' && std::all_of(port.begin() + 1, port.end(), is_digit);
}

Result<std::string> parse_host(std::string_view host) {
    std::string_view port;
    if (!host.empty() && host[0] == '[') {
        const std::size_t end = host.rfind(']');
        if (end == host.npos) return failed("missing ']' in host");
        port = host.substr(end + 1);
    } else if (const auto colon = host.rfind(':'); colon != host.npos) {
        port = host.substr(colon);
    }
    if (!valid_port(port)) return failed("invalid port {} after host", codec::quoted(port));
    return unescape(host, Part::kHost);
}

Result<void> parse_authority(std::string_view authority, Url* url) {
    const std::size_t at = authority.rfind('@');
    if (at != authority.npos) {
        url->user = std::string(authority.substr(0, at));
        const bool valid = std::all_of(url->user.begin(), url->user.end(), [](char c) {
            return is_alpha(c) || is_digit(c) ||
                   std::string_view("-._:~!$&'()*+,;=%@").find(c) != std::string_view::npos;
        });
        if (!valid) return failed("net/url: invalid userinfo");
        authority.remove_prefix(at + 1);
    }
    SLUICE_TRY_ASSIGN(url->host, parse_host(authority));
    return {};
}

Result<Url> parse(std::string_view text) {
    Url url;
    const bool control = std::any_of(text.begin(), text.end(), [](char c) {
        return static_cast<unsigned char>(c) < 0x20 || c == 0x7F;
    });
    if (control) return failed("net/url: invalid control character in URL");
    if (text.empty()) return failed("empty url");
    if (text == "*") {
        url.path = url.escaped_path = "*";
        return url;
    }
    std::string_view rest = text;
    SLUICE_TRY_ASSIGN(url.scheme, take_scheme(&rest));
    if (const auto question = rest.find('?'); question != rest.npos) {
        url.query = std::string(rest.substr(question + 1));
        rest = rest.substr(0, question);
    }
    if (rest.empty() || rest[0] != '/') {
        // "mailto:somebody" is opaque.
        if (!url.scheme.empty()) return url;
        return failed("invalid URI for request");
    }
    if (rest.substr(0, 2) == "//" && (!url.scheme.empty() || rest.substr(0, 3) != "///")) {
        if (!url.scheme.empty()) {
            const std::string_view authority = rest.substr(2, rest.find('/', 2) - 2);
            SLUICE_TRY(parse_authority(authority, &url));
            rest.remove_prefix(2 + authority.size());
        }
    }
    SLUICE_TRY_ASSIGN(url.path, unescape(rest, Part::kPath));
    url.escaped_path = escaped_path(rest, url.path);
    return url;
}

}  // namespace

std::string Url::hostname() const {
    if (!host.empty() && host[0] == '[') {
        const std::size_t end = host.find(']');
        return end == std::string::npos ? host : host.substr(1, end - 1);
    }
    return host.substr(0, host.rfind(':'));
}

std::string Url::port() const {
    const std::size_t colon = host.rfind(':');
    const std::size_t bracket = host.rfind(']');
    if (colon == std::string::npos || (bracket != std::string::npos && bracket > colon)) return "";
    return host.substr(colon + 1);
}

std::vector<std::pair<std::string, std::vector<std::string>>> Url::parameters() const {
    std::vector<std::pair<std::string, std::vector<std::string>>> out;
    std::string_view rest = query;
    while (!rest.empty()) {
        const std::size_t end = std::min(rest.find('&'), rest.size());
        const std::string_view pair = rest.substr(0, end);
        rest.remove_prefix(std::min(end + 1, rest.size()));
        // Go leaves out what has a semicolon or a bad escape.
        if (pair.empty() || pair.find(';') != pair.npos) continue;
        const std::size_t equals = std::min(pair.find('='), pair.size());
        auto key = unescape(pair.substr(0, equals), Part::kQuery);
        auto value = unescape(pair.substr(std::min(equals + 1, pair.size())), Part::kQuery);
        if (!key || !value) continue;
        const auto found = std::find_if(out.begin(), out.end(),
                                        [&](const auto& known) { return known.first == *key; });
        if (found != out.end()) {
            found->second.push_back(std::move(*value));
        } else {
            out.emplace_back(std::move(*key), std::vector<std::string>{std::move(*value)});
        }
    }
    return out;
}

Result<Url> parse_url(std::string_view text) {
    auto url = parse(text);
    if (!url) return failed("parse {}: {}", codec::quoted(text), url.error().message);
    return url;
}

}  // namespace sluice::cel
