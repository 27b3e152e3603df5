#include "control/kubelet/probes/http_answer_private.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "control/kubelet/probes/target_private.h"

namespace sluice::kubelet {
namespace {

std::string lower(std::string_view text) {
    std::string out(text);
    std::transform(out.begin(), out.end(), out.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return out;
}

std::string_view trim(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r')) {
        text.remove_suffix(1);
    }
    return text;
}

template <class Number>
std::optional<Number> parse_number(std::string_view text) {
    Number value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || error != std::errc() || end != text.data() + text.size()) {
        return std::nullopt;
    }
    return value;
}

}  // namespace

Result<AnswerHead> parse_answer_head(std::string_view text) {
    const std::size_t line_end = std::min(text.find('\n'), text.size());
    const std::string_view first = trim(text.substr(0, line_end));
    // "HTTP/1.1 200 OK"
    const bool shaped = first.starts_with("HTTP/1.") && first.size() >= 12 && first[8] == ' ' &&
                        (first.size() == 12 || first[12] == ' ');
    const auto status = shaped ? parse_number<int>(first.substr(9, 3)) : std::nullopt;
    if (!status || *status < 100) {
        return make_error(Code::kDataLoss, "malformed HTTP response \"{}\"", first.substr(0, 100));
    }
    AnswerHead head;
    head.status = *status;
    text.remove_prefix(std::min(line_end + 1, text.size()));
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        const std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        const std::size_t colon = line.find(':');
        if (colon == std::string_view::npos) continue;
        const std::string name = lower(trim(line.substr(0, colon)));
        const std::string_view value = trim(line.substr(colon + 1));
        if (name == "location") head.location = std::string(value);
        if (name == "content-length") head.content_length = parse_number<std::uint64_t>(value);
        if (name == "transfer-encoding") head.chunked = lower(value).ends_with("chunked");
    }
    if (head.chunked) head.content_length.reset();
    return head;
}

Result<RedirectUrl> resolve_redirect(bool tls, std::string_view host, std::uint16_t port,
                                     std::string_view path, std::string_view location) {
    RedirectUrl url{tls, std::string(host), port, ""};
    std::string_view rest = location;
    const std::size_t scheme_end = rest.find("://");
    const std::size_t first_special = rest.find_first_of("/?#");
    bool with_authority = rest.starts_with("//");
    if (scheme_end != std::string_view::npos && scheme_end < first_special) {
        const std::string scheme = lower(rest.substr(0, scheme_end));
        if (scheme != "http" && scheme != "https") {
            return make_error(Code::kInvalidArgument, "unsupported protocol scheme \"{}\"", scheme);
        }
        url.tls = scheme == "https";
        rest.remove_prefix(scheme_end + 1);
        with_authority = true;
    }
    if (with_authority) {
        rest.remove_prefix(2);
        const std::size_t end = std::min(rest.find_first_of("/?#"), rest.size());
        std::string_view authority = rest.substr(0, end);
        rest.remove_prefix(end);
        const std::size_t at = authority.rfind('@');
        if (at != std::string_view::npos) authority.remove_prefix(at + 1);
        url.port = url.tls ? 443 : 80;
        std::string_view port_text;
        if (authority.starts_with('[')) {
            const std::size_t bracket = authority.find(']');
            if (bracket == std::string_view::npos) {
                return make_error(Code::kInvalidArgument, "missing ']' in \"{}\"", location);
            }
            url.host = std::string(authority.substr(1, bracket - 1));
            if (authority.size() > bracket + 2) port_text = authority.substr(bracket + 2);
        } else {
            const std::size_t colon = authority.find(':');
            url.host = std::string(authority.substr(0, colon));
            if (colon != std::string_view::npos) port_text = authority.substr(colon + 1);
        }
        if (!port_text.empty()) {
            const auto number = parse_number<std::uint16_t>(port_text);
            if (!number || *number == 0) {
                return make_error(Code::kInvalidArgument, "invalid port in \"{}\"", location);
            }
            url.port = *number;
        }
        url.path = request_path(rest.starts_with('?') ? "/" + std::string(rest) : std::string(rest));
        return url;
    }
    const std::string_view without_query = path.substr(0, path.find('?'));
    if (rest.starts_with('/')) {
        url.path = request_path(rest);
    } else if (rest.empty() || rest.starts_with('?') || rest.starts_with('#')) {
        url.path = request_path(std::string(without_query) + std::string(rest));
    } else {
        const std::string_view folder = without_query.substr(0, without_query.rfind('/') + 1);
        url.path = request_path(std::string(folder) + std::string(rest));
    }
    return url;
}

}  // namespace sluice::kubelet
