// Where nghttp2's C interface meets Http2Session. Private to this folder; carries nghttp2's types.
#pragma once

#include <nghttp2/nghttp2.h>

#include <string_view>

#include "control/http/http2_session_private.h"

namespace sluice::http {

// A session with this folder's limits that calls back to `owner`, which outlives it. Never null: without memory for
// it the process ends.
[[nodiscard]] nghttp2_session* new_server_session(Http2Session* owner);

// The texts must live until nghttp2 has copied them, which is during the call they are given to.
[[nodiscard]] nghttp2_nv header_field(std::string_view name, std::string_view value);

// Reads Http2Stream::data.
[[nodiscard]] nghttp2_data_provider data_provider(Http2Stream* stream);

}  // namespace sluice::http
