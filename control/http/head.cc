#include "control/http/head.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <string_view>

#include "control/http/status_body.h"

namespace sluice::http {
namespace {

bool is_own_header(std::string_view name) {
    static constexpr std::array<std::string_view, 4> kOwn = {"content-length", "transfer-encoding",
                                                             "connection", "date"};
    return std::any_of(kOwn.begin(), kOwn.end(), [&](std::string_view own) {
        return own.size() == name.size() &&
               std::equal(own.begin(), own.end(), name.begin(), [](char a, char b) {
                   return a == (b >= 'A' && b <= 'Z' ? static_cast<char>(b + 32) : b);
               });
    });
}

void append_clean(std::string* out, std::string_view value) {
    out->append(value);
    const bool clean = std::none_of(value.begin(), value.end(),
                                    [](char c) { return static_cast<unsigned char>(c) <= '\r'; });
    if (clean) return;
    std::replace_if(
        out->end() - static_cast<std::ptrdiff_t>(value.size()), out->end(),
        [](char c) { return c == '\r' || c == '\n' || c == '\0'; }, ' ');
}

}  // namespace

void append_head(std::string* out, const Response& response, Framing framing,
                 std::size_t body_bytes, const std::string& date, bool keep_alive, bool http10) {
    constexpr std::size_t kUsualHeadBytes = 512;
    out->reserve(out->size() + kUsualHeadBytes);
    out->append("HTTP/1.1 ").append(fmt::format_int(response.status).c_str()).append(" ");
    out->append(reason_phrase(response.status)).append("\r\nDate: ").append(date).append("\r\n");
    for (const auto& [name, value] : response.headers) {
        if (is_own_header(name)) continue;
        append_clean(out, name);
        out->append(": ");
        append_clean(out, value);
        out->append("\r\n");
    }
    if (framing == Framing::kLength) {
        out->append("Content-Length: ").append(fmt::format_int(body_bytes).c_str()).append("\r\n");
    } else if (framing == Framing::kChunked) {
        out->append("Transfer-Encoding: chunked\r\n");
    }
    if (framing == Framing::kUpgrade) {
        out->append("Connection: Upgrade\r\n");
    } else if (!keep_alive) {
        out->append("Connection: close\r\n");
    } else if (http10) {
        out->append("Connection: keep-alive\r\n");
    }
    out->append("\r\n");
}

std::string http_date(std::int64_t unix_time_s) {
    static constexpr std::array<const char*, 7> kDays = {"Sun", "Mon", "Tue", "Wed",
                                                         "Thu", "Fri", "Sat"};
    static constexpr std::array<const char*, 12> kMonths = {
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    const std::time_t time = unix_time_s;
    std::tm parts{};
    gmtime_r(&time, &parts);
    return fmt::format("{}, {:02} {} {} {:02}:{:02}:{:02} GMT",
                       kDays[static_cast<std::size_t>(parts.tm_wday)], parts.tm_mday,
                       kMonths[static_cast<std::size_t>(parts.tm_mon)], parts.tm_year + 1900,
                       parts.tm_hour, parts.tm_min, parts.tm_sec);
}

}  // namespace sluice::http
