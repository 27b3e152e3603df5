// Response heads in HTTP/1.1 form.
#pragma once

#include <cstdint>
#include <string>

#include "control/http/server.h"

namespace sluice::http {

enum class Framing { kLength, kChunked, kUntilClose, kNoBody, kUpgrade };

// Appends status line and headers with the empty line. Line breaks inside header values, which would let a
// value forge headers, become spaces; headers that are the server's own (Content-Length, Transfer-Encoding,
// Connection, Date) are dropped from the handler's.
// date: as in the Date header. keep_alive: false adds "Connection: close"; http10: the request was HTTP/1.0, which
// needs "Connection: keep-alive" said.
void append_head(std::string* out, const Response& response, Framing framing,
                 std::size_t body_bytes, const std::string& date, bool keep_alive, bool http10);

// "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110, 5.6.7).
[[nodiscard]] std::string http_date(std::int64_t unix_time_s);

}  // namespace sluice::http
