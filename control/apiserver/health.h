// /healthz, /livez and /readyz: named checks, run when asked.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/http/server.h"

namespace sluice::apiserver {

struct HealthCheck {
    std::string name;
    // Which of the endpoints it belongs to.
    bool livez = true;
    bool readyz = true;
    bool healthz = true;
    // nullopt: healthy; otherwise why not, for the log. Thread-safe and quick.
    std::function<std::optional<std::string>()> run;
};

// The answer to /healthz, /livez, /readyz and /ENDPOINT/CHECK, with the parameters `verbose` and `exclude`:
// "ok", or each check on a line. A failure is 500 with the names of the checks; the reasons, which may name
// files, go to the log only, since anyone may ask.
// nullopt when the path is none of these, or names no check.
[[nodiscard]] std::optional<http::Response> health_answer(const std::vector<HealthCheck>& checks,
                                                          std::string_view path,
                                                          const http::Request& request);

// True for the paths above, known checks or not: these need no credentials.
[[nodiscard]] bool is_health_path(std::string_view path);

}  // namespace sluice::apiserver
