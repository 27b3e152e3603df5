#include "control/apiserver/proxy/log_options.h"

#include <fmt/core.h>

#include <charconv>
#include <cstdint>
#include <ctime>
#include <optional>
#include <vector>

#include "control/apiserver/proxy/status.h"
#include "control/http/uri.h"

namespace sluice::apiserver {
namespace {

bool flag(const http::Request& request, std::string_view name) {
    const auto value = request.parameter(name);
    return value && *value != "false" && *value != "False" && *value != "FALSE" && *value != "0";
}

bool is_digits(std::string_view text, std::size_t from, std::size_t count) {
    if (text.size() < from + count) return false;
    for (std::size_t i = from; i < from + count; ++i) {
        if (text[i] < '0' || text[i] > '9') return false;
    }
    return true;
}

// The form of RFC 3339; the kubelet checks the days of each month.
bool is_time(std::string_view text) {
    if (!is_digits(text, 0, 4) || text.size() < 20 || text[4] != '-' || !is_digits(text, 5, 2) ||
        text[7] != '-' || !is_digits(text, 8, 2) || text[10] != 'T' || !is_digits(text, 11, 2) ||
        text[13] != ':' || !is_digits(text, 14, 2) || text[16] != ':' || !is_digits(text, 17, 2)) {
        return false;
    }
    std::size_t at = 19;
    if (text[at] == '.') {
        ++at;
        const std::size_t first = at;
        while (is_digits(text, at, 1)) ++at;
        if (at == first) return false;
    }
    const std::string_view zone = text.substr(at);
    return zone == "Z" || (zone.size() == 6 && (zone[0] == '+' || zone[0] == '-') &&
                           is_digits(zone, 1, 2) && zone[3] == ':' && is_digits(zone, 4, 2));
}

class Options {
public:
    explicit Options(const http::Request& request) : request_(request) {}

    void pass_flag(std::string_view name) {
        if (flag(request_, name)) add(name, "true");
    }
    // least: 0 or 1.
    std::optional<std::int64_t> pass_number(std::string_view name, std::int64_t least) {
        const auto text = request_.parameter(name);
        if (!text) return std::nullopt;
        std::int64_t value = 0;
        const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
        if (error == std::errc::result_out_of_range) {
            malformed_ = fmt::format("strconv.ParseInt: parsing \"{}\": value out of range", *text);
        } else if (error != std::errc() || end != text->data() + text->size()) {
            malformed_ = fmt::format("strconv.ParseInt: parsing \"{}\": invalid syntax", *text);
        } else if (value < least) {
            problems_.push_back({"FieldValueInvalid", std::string(name),
                                 fmt::format("Invalid value: {}: must be greater than {}", value,
                                             least == 0 ? "or equal to 0" : "0")});
        } else {
            add(name, *text);
        }
        return value;
    }
    void forbid(std::string message) {
        problems_.push_back({"FieldValueForbidden", "", "Forbidden: " + std::move(message)});
    }
    void pass_stream(bool tail) {
        const auto text = request_.parameter("stream");
        if (!text || text->empty()) return;
        if (*text != "All" && *text != "Stdout" && *text != "Stderr") {
            problems_.push_back(
                {"FieldValueNotSupported", "stream",
                 fmt::format("Unsupported value: \"{}\": supported values: \"All\", \"Stderr\", "
                             "\"Stdout\"",
                             *text)});
            return;
        }
        if (tail && *text != "All") {
            forbid("`tailLines` and a specific `stream` are mutually exclusive");
        }
        add("stream", *text);
    }
    void pass_time(std::string_view text) {
        if (!is_time(text)) {
            malformed_ = fmt::format(
                "parsing time \"{}\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"{}\" as \"2006\"",
                text, text);
        }
        add("sinceTime", text);
    }

    tl::expected<std::string, http::Response> finish(std::string_view pod) {
        if (!malformed_.empty()) {
            return tl::unexpected<http::Response>(bad_request(malformed_));
        }
        if (!problems_.empty()) {
            return tl::unexpected<http::Response>(invalid_log_options(pod, problems_));
        }
        return std::move(query_);
    }

private:
    void add(std::string_view name, std::string_view value) {
        query_ += query_.empty() ? '?' : '&';
        query_ += fmt::format("{}={}", name, http::percent_encode(value));
    }

    const http::Request& request_;
    std::string query_;
    std::string malformed_;
    std::vector<FieldProblem> problems_;
};

}  // namespace

tl::expected<std::string, http::Response> log_options_query(const http::Request& request,
                                                            std::string_view pod) {
    Options options(request);
    options.pass_flag("follow");
    options.pass_flag("previous");
    options.pass_flag("timestamps");
    const bool tail = options.pass_number("tailLines", 0).has_value();
    options.pass_number("limitBytes", 1);
    const auto since_time = request.parameter("sinceTime");
    const bool has_time = since_time && !since_time->empty();
    if (has_time && request.parameter("sinceSeconds")) {
        options.forbid("at most one of `sinceTime` or `sinceSeconds` may be specified");
    } else {
        options.pass_number("sinceSeconds", 1);
        if (has_time) options.pass_time(*since_time);
    }
    options.pass_stream(tail);
    return options.finish(pod);
}

}  // namespace sluice::apiserver
