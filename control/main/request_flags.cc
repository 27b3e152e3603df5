#include "control/main/request_flags.h"

#include <CLI/CLI.hpp>

#include "api/codec/time.h"

namespace sluice::control {
namespace {

constexpr std::int64_t kMillisecond = 1'000'000;
constexpr std::int64_t kMinTimeoutMs = 1'000;
constexpr std::int64_t kMaxTimeoutMs = 3'600'000;
constexpr double kMaxGoawayChance = 0.02;  // kube-apiserver's own bound: one of fifty requests

Result<std::uint32_t> count(const char* flag, std::int64_t value, std::int64_t highest) {
    if (value < 0 || value > highest) {
        return make_error(Code::kInvalidArgument, "{} {}: it must be between 0 and {}", flag, value,
                          highest);
    }
    return static_cast<std::uint32_t>(value);
}

}  // namespace

void add_request_flags(CLI::App* app, RequestFlags* flags) {
    app->add_option("--enable-priority-and-fairness", flags->fairness,
                    "Requests wait by the rules of FlowSchemas and PriorityLevelConfigurations; false "
                    "for two plain limits")
        ->capture_default_str();
    app->add_option("--max-requests-inflight", flags->max_requests,
                    "Requests that change nothing, at once; with priority and fairness, added to the "
                    "following to make the seats; 0 for no limit")
        ->capture_default_str();
    app->add_option("--max-mutating-requests-inflight", flags->max_mutating_requests,
                    "Requests that change something, at once; 0 for no limit")
        ->capture_default_str();
    app->add_option("--request-timeout", flags->request_timeout,
                    "How long a request may take that is not a stream")
        ->capture_default_str();
    app->add_option("--http2-max-streams-per-connection", flags->max_streams,
                    "Requests at once on one connection of HTTP/2; 0 for 100")
        ->capture_default_str();
    app->add_option("--goaway-chance", flags->goaway_chance,
                    "The probability with which a request of HTTP/2 makes its client connect anew: 0 to "
                    "0.02")
        ->capture_default_str();
    app->add_option("--audit-log-path", flags->audit_log_path,
                    "Requests are noted in this file; - for standard output");
    app->add_option("--audit-policy-file", flags->audit_policy_file,
                    "audit.k8s.io/v1 Policy that says which requests are noted");
    app->add_option("--audit-log-maxsize", flags->audit_max_megabytes,
                    "Megabytes of the audit log before it is rotated; 0 for 100")
        ->capture_default_str();
    app->add_option("--audit-log-maxage", flags->audit_max_age_days,
                    "Days that rotated audit logs are kept; 0 for ever")
        ->capture_default_str();
    app->add_option("--audit-log-maxbackup", flags->audit_max_backups,
                    "Rotated audit logs that are kept; 0 for all")
        ->capture_default_str();
}

Result<RequestOptions> read_request_flags(const RequestFlags& flags) {
    constexpr std::int64_t kMaxRequests = 100'000;
    constexpr std::int64_t kMaxStreams = 10'000;
    constexpr std::int64_t kMaxMegabytes = 1'000'000;
    constexpr std::int64_t kMaxCount = 1'000'000;
    RequestOptions out;
    out.gate.fairness = flags.fairness;
    SLUICE_TRY_ASSIGN(out.gate.max_requests,
                      count("--max-requests-inflight", flags.max_requests, kMaxRequests));
    SLUICE_TRY_ASSIGN(
        out.gate.max_mutating_requests,
        count("--max-mutating-requests-inflight", flags.max_mutating_requests, kMaxRequests));
    const auto timeout = codec::parse_duration_ns(flags.request_timeout);
    const std::int64_t timeout_ms = timeout ? *timeout / kMillisecond : 0;
    if (timeout_ms < kMinTimeoutMs || timeout_ms > kMaxTimeoutMs) {
        return make_error(Code::kInvalidArgument,
                          "--request-timeout \"{}\": it must be a duration between 1s and 1h",
                          flags.request_timeout);
    }
    out.request_timeout_ms = static_cast<std::uint32_t>(timeout_ms);
    out.gate.max_wait_ms = out.request_timeout_ms / 4;
    SLUICE_TRY_ASSIGN(out.max_streams, count("--http2-max-streams-per-connection",
                                             flags.max_streams, kMaxStreams));
    if (!(flags.goaway_chance >= 0 && flags.goaway_chance <= kMaxGoawayChance)) {
        return make_error(Code::kInvalidArgument, "--goaway-chance {}: it must be between 0 and {}",
                          flags.goaway_chance, kMaxGoawayChance);
    }
    out.goaway_chance = flags.goaway_chance;
    out.audit.log.path = flags.audit_log_path;
    out.audit.policy_path = flags.audit_policy_file;
    SLUICE_TRY_ASSIGN(out.audit.log.max_megabytes,
                      count("--audit-log-maxsize", flags.audit_max_megabytes, kMaxMegabytes));
    SLUICE_TRY_ASSIGN(out.audit.log.max_age_days,
                      count("--audit-log-maxage", flags.audit_max_age_days, kMaxCount));
    SLUICE_TRY_ASSIGN(out.audit.log.max_backups,
                      count("--audit-log-maxbackup", flags.audit_max_backups, kMaxCount));
    return out;
}

}  // namespace sluice::control
