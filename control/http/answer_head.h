// The heads of HTTP/1.1 as a client has them: the request's that it writes, the answer's that it reads, and how the
// answer's body is framed. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "api/base/result.h"
#include "control/http/body.h"
#include "control/http/dialer.h"

namespace sluice::http {

// Request line, Host, the request's own headers and the empty line. Line breaks in them become spaces.
std::string request_head(const DialRequest& request, std::string_view host);
// Status line and headers, without the empty line. kDataLoss if they are not HTTP/1.x.
Result<DialAnswer> parse_answer_head(std::string_view head);
// kDataLoss: a length or coding that cannot be.
Result<BodyDecoder> answer_decoder(const DialAnswer& answer, std::string_view method);

}  // namespace sluice::http
