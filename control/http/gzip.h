// Content coding: whether a client takes gzip, and compressing whole bodies. zlib stays behind gzip.cc.
#pragma once

#include <string>
#include <string_view>

#include "api/base/result.h"

namespace sluice::http {

// Reads an Accept-Encoding header (RFC 9110, 12.5.3): gzip or "*" with a quality above zero; gzip;q=0 refuses.
[[nodiscard]] bool accepts_gzip(std::string_view accept_encoding);

// At the fastest level: on a cluster network the processor is dearer than the wire.
Result<std::string> gzip(std::string_view text);

}  // namespace sluice::http
