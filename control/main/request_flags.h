// The flags about requests: how many at once, for how long, by which protocol, and what is noted of them. Named as
// kube-apiserver names them.
#pragma once

#include <cstdint>
#include <string>

#include "api/base/result.h"
#include "control/apiserver/audit/auditor.h"
#include "control/apiserver/flowcontrol/gate.h"

namespace CLI {
class App;
}

namespace sluice::control {

struct RequestFlags {
    bool fairness = true;
    std::int64_t max_requests = 400;
    std::int64_t max_mutating_requests = 200;
    std::string request_timeout = "1m0s";
    std::int64_t max_streams = 0;
    double goaway_chance = 0;
    std::string audit_log_path;
    std::string audit_policy_file;
    std::int64_t audit_max_megabytes = 0;
    std::int64_t audit_max_age_days = 0;
    std::int64_t audit_max_backups = 0;
};

struct RequestOptions {
    flowcontrol::GateOptions gate;
    audit::AuditOptions audit;
    std::uint32_t request_timeout_ms = 60'000;
    std::uint32_t max_streams = 0;  // of one connection; 0: the HTTP server's own number
    double goaway_chance = 0;
};

// Adds the flags; the command line is then parsed into *flags, which outlives app.
void add_request_flags(CLI::App* app, RequestFlags* flags);

// Errors name the flag.
Result<RequestOptions> read_request_flags(const RequestFlags& flags);

}  // namespace sluice::control
