#include "control/kubelet/server/log_request.h"

#include <charconv>
#include <optional>
#include <string_view>

#include "control/kubelet/logs/cri_log.h"

namespace sluice::kubelet {
namespace {

constexpr std::int64_t kNsPerS = 1'000'000'000;

// As Kubernetes reads flags in queries: present and neither "false" nor "0".
bool flag(const http::Request& request, std::string_view name) {
    const auto value = request.parameter(name);
    return value && *value != "false" && *value != "False" && *value != "0";
}

Result<std::optional<std::int64_t>> number(const http::Request& request, std::string_view name,
                                           std::int64_t least) {
    const auto value = request.parameter(name);
    if (!value) return std::optional<std::int64_t>{};
    std::int64_t out = 0;
    const auto [end, error] = std::from_chars(value->data(), value->data() + value->size(), out);
    if (error != std::errc() || end != value->data() + value->size()) {
        return make_error(Code::kInvalidArgument, "{}: strconv.ParseInt: parsing \"{}\": invalid syntax",
                          name, *value);
    }
    if (out < least) {
        return make_error(Code::kInvalidArgument, "{}: Invalid value: {}: must be greater than {}{}",
                          name, out, least == 0 ? "or equal to " : "", 0);
    }
    return std::optional<std::int64_t>(out);
}

}  // namespace

Result<LogRequest> parse_log_request(const http::Request& request, std::int64_t now_ns) {
    LogRequest out;
    out.follow = flag(request, "follow");
    out.previous = flag(request, "previous");
    out.read.timestamps = flag(request, "timestamps");
    SLUICE_TRY_ASSIGN(out.read.tail_lines, number(request, "tailLines", 0));
    SLUICE_TRY_ASSIGN(out.read.limit_bytes, number(request, "limitBytes", 1));
    SLUICE_TRY_ASSIGN(const auto since_s, number(request, "sinceSeconds", 1));
    const auto since_time = request.parameter("sinceTime");
    if (since_s && since_time) {
        return make_error(Code::kInvalidArgument,
                          "at most one of `sinceTime` or `sinceSeconds` may be specified");
    }
    if (since_s) {
        out.read.since_ns = *since_s > now_ns / kNsPerS ? 0 : now_ns - *since_s * kNsPerS;
    }
    if (since_time) {
        SLUICE_TRY_ASSIGN(out.read.since_ns, logs::parse_time_ns(*since_time));
    }
    if (const auto stream = request.parameter("stream")) {
        if (*stream != "All" && *stream != "Stdout" && *stream != "Stderr") {
            return make_error(Code::kInvalidArgument,
                              "stream: Unsupported value: \"{}\": supported values: \"All\", "
                              "\"Stderr\", \"Stdout\"",
                              *stream);
        }
        out.read.want_stdout = *stream != "Stderr";
        out.read.want_stderr = *stream != "Stdout";
    }
    return out;
}

}  // namespace sluice::kubelet
