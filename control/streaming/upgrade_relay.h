// Passing a client's request for an upgraded connection on to the next server, and then the bytes of both.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "control/http/byte_stream.h"
#include "control/http/dialer.h"
#include "control/http/server.h"

namespace sluice::streaming {

inline constexpr std::size_t kMaxErrorBodyBytes = 64U << 10U;  // of a refusal; the rest is dropped

using Headers = std::vector<std::pair<std::string, std::string>>;

// Whether the request asks for another protocol, and whether for WebSocket.
[[nodiscard]] bool wants_upgrade(const http::Request& request);
[[nodiscard]] bool wants_websocket(const http::Request& request);
// What the request's headers say about the upgrade: Upgrade, protocol versions, WebSocket keys.
[[nodiscard]] Headers upgrade_headers(const http::Request& request);
// The names in a header that is a list, over all its lines.
[[nodiscard]] std::vector<std::string> listed(const http::Request& request,
                                              std::string_view lower_case_name);

// A body on its way to the client, whose stream has begun: each piece is written when it comes, and the next is asked
// for when the client has room. Ends the stream with the body, and breaks it off if the body breaks off.
// Whoever dialed for it ends it with the answer (http::Dialer::End).
void relay_body(std::shared_ptr<http::ByteStream> body, std::shared_ptr<http::Responder> responder);

// The next server's answer as ours: status, type and up to kMaxErrorBodyBytes of the body.
void relay_answer(const http::DialAnswer& answer, const std::shared_ptr<http::Responder>& responder);

// Dials until the client goes away, answers as the next server does (its refusals included, by on_answer) and joins the
// connections. The dialer outlives the call's answer. on_error makes the answer when there is no connection.
using OnAnswer = std::function<void(http::DialAnswer, std::shared_ptr<http::Responder>)>;
void relay_upgrade(http::Dialer& dialer, http::DialRequest request,
                   const std::shared_ptr<http::Responder>& responder,
                   std::function<http::Response(const Error&)> on_error, const OnAnswer& on_answer = relay_answer);

}  // namespace sluice::streaming
