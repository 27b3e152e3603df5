#include "control/http/answer_head.h"

#include <fmt/format.h>

#include <string>

#include "control/http/exchange.h"

namespace sluice::http {
namespace {

std::string without_breaks(std::string_view text) {
    std::string out(text);
    for (char& c : out) {
        if (c == '\r' || c == '\n' || c == '\0') c = ' ';
    }
    return out;
}

}  // namespace

std::string request_head(const DialRequest& request, std::string_view host) {
    std::string out = fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\n", request.method, without_breaks(request.target),
                                  without_breaks(host));
    for (const auto& [name, value] : request.headers) {
        out += fmt::format("{}: {}\r\n", without_breaks(name), without_breaks(value));
    }
    return out + "\r\n";
}

Result<DialAnswer> parse_answer_head(std::string_view head) {
    DialAnswer answer;
    const auto bad = [] { return make_error(Code::kDataLoss, "malformed HTTP response"); };
    if (head.size() < 12 || !head.starts_with("HTTP/1.") || head[8] != ' ') return bad();
    for (std::size_t i = 9; i < 12; ++i) {
        if (head[i] < '0' || head[i] > '9') return bad();
        answer.status = answer.status * 10 + (head[i] - '0');
    }
    std::size_t at = head.find("\r\n");
    while (at != std::string_view::npos && at + 2 < head.size()) {
        const std::size_t start = at + 2;
        at = head.find("\r\n", start);
        const std::string_view line = head.substr(start, at - start);
        const std::size_t colon = line.find(':');
        if (colon == std::string_view::npos || colon == 0) return bad();
        std::string_view value = line.substr(colon + 1);
        while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
        while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.remove_suffix(1);
        answer.headers.emplace_back(lower_case(line.substr(0, colon)), std::string(value));
    }
    return answer;
}

Result<BodyDecoder> answer_decoder(const DialAnswer& answer, std::string_view method) {
    using Framing = BodyDecoder::Framing;
    if (method == "HEAD" || answer.status == 204 || answer.status == 304) {
        return BodyDecoder(Framing::kLength, 0);
    }
    if (!answer.header("transfer-encoding").empty()) {
        if (lower_case(answer.header("transfer-encoding")) != "chunked") {
            return make_error(Code::kDataLoss, "the answer has a transfer coding that is not known");
        }
        return BodyDecoder(Framing::kChunked, 0);
    }
    const std::string_view length = answer.header("content-length");
    if (length.empty()) return BodyDecoder(Framing::kUntilEnd, 0);
    std::uint64_t bytes = 0;
    for (const char c : length) {
        if (c < '0' || c > '9' || bytes > (1ULL << 58U)) {
            return make_error(Code::kDataLoss, "the answer has a malformed length");
        }
        bytes = bytes * 10 + static_cast<std::uint64_t>(c - '0');
    }
    return BodyDecoder(Framing::kLength, bytes);
}

std::string_view DialAnswer::header(std::string_view lower_case_name) const {
    for (const auto& [name, value] : headers) {
        if (name == lower_case_name) return value;
    }
    return {};
}

}  // namespace sluice::http
