// What a request for a log asks for, read from its query.
#pragma once

#include <cstdint>

#include "api/base/result.h"
#include "control/http/server.h"
#include "control/kubelet/logs/log_reader.h"

namespace sluice::kubelet {

struct LogRequest {
    bool follow = false;
    bool previous = false;
    logs::ReadOptions read;
};

// kInvalidArgument: a value that is not of its kind or out of its range. now_ns: Unix time, for sinceSeconds.
Result<LogRequest> parse_log_request(const http::Request& request, std::int64_t now_ns);

}  // namespace sluice::kubelet
