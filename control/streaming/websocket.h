// The server's side of WebSocket (RFC 6455): the handshake's answer, and frames. No I/O; OpenSSL stays in websocket.cc.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "api/base/result.h"

namespace sluice::streaming {

inline constexpr std::size_t kMaxWebSocketMessageBytes = 4U << 20U;  // 1009 beyond it
inline constexpr std::size_t kMaxWebSocketControlBytes = 125;        // RFC 6455, 5.5

enum class CloseCode : std::uint16_t {
    kNormal = 1000,
    kProtocolError = 1002,
    kTooBig = 1009,
    kInternalError = 1011,
};

// Sec-WebSocket-Accept for a Sec-WebSocket-Key.
[[nodiscard]] std::string websocket_accept(std::string_view key);
// Whether it is a key: 16 bytes in base64.
[[nodiscard]] bool is_websocket_key(std::string_view key);

struct WebSocketEvent {
    enum class Kind { kMessage, kPing, kClose };  // pongs are nobody's concern
    Kind kind = Kind::kMessage;
    bool text = false;
    std::string_view data;  // a whole message, or a control frame's; valid during the call
};

// Not thread-safe.
class WebSocketReader {
public:
    // Calls back for each whole message and control frame, until a close frame; what follows that is dropped.
    // kDataLoss: not as RFC 6455 wants a client's frames; kResourceExhausted: a message above
    // kMaxWebSocketMessageBytes.
    Result<void> feed(std::string_view bytes,
                      const std::function<void(const WebSocketEvent&)>& callback);

private:
    Result<bool> head();
    Result<void> frame_done(const std::function<void(const WebSocketEvent&)>& callback);

    std::string head_;
    bool in_payload_ = false;
    std::uint64_t left_ = 0;  // of the frame's payload
    std::uint64_t at_ = 0;    // in the frame's payload, for the mask
    unsigned char mask_[4] = {};
    unsigned opcode_ = 0;
    bool final_ = false;
    bool in_message_ = false;
    bool text_ = false;
    bool closed_ = false;
    std::string message_;
    std::string control_;
};

// Frames of a server, which are not masked.
[[nodiscard]] std::string websocket_binary(std::string_view first, std::string_view rest);
[[nodiscard]] std::string websocket_pong(std::string_view data);
[[nodiscard]] std::string websocket_close(CloseCode code);

}  // namespace sluice::streaming
