#include "control/streaming/websocket.h"

#include <openssl/evp.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>

namespace sluice::streaming {
namespace {

constexpr std::string_view kGuid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";  // RFC 6455, 1.3
constexpr std::size_t kKeyCharacters = 24;

enum Opcode : unsigned {
    kContinuation = 0,
    kText = 1,
    kBinary = 2,
    kClose = 8,
    kPing = 9,
    kPong = 10,
};

Error malformed(std::string_view what) { return make_error(Code::kDataLoss, "WebSocket: {}", what); }

void append_head(std::string* out, unsigned opcode, std::size_t size) {
    out->push_back(static_cast<char>(0x80U | opcode));
    int bytes = 0;
    if (size < 126) {
        out->push_back(static_cast<char>(size));
    } else if (size <= 0xffff) {
        out->push_back(126);
        bytes = 2;
    } else {
        out->push_back(127);
        bytes = 8;
    }
    for (int i = bytes - 1; i >= 0; --i) {
        out->push_back(static_cast<char>(size >> (8U * static_cast<unsigned>(i)) & 0xffU));
    }
}

}  // namespace

std::string websocket_accept(std::string_view key) {
    std::string text(key);
    text += kGuid;
    std::array<unsigned char, SHA_DIGEST_LENGTH> digest{};
    ::SHA1(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
    std::array<unsigned char, 32> out{};
    const int size = ::EVP_EncodeBlock(out.data(), digest.data(), static_cast<int>(digest.size()));
    return {reinterpret_cast<const char*>(out.data()), static_cast<std::size_t>(size)};
}

bool is_websocket_key(std::string_view key) {
    if (key.size() != kKeyCharacters || !key.ends_with("==")) return false;
    return std::all_of(key.begin(), key.end() - 2, [](char c) {
        return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
               c == '+' || c == '/';
    });
}

// True once the frame's head is whole.
Result<bool> WebSocketReader::head() {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(head_[i]); };
    if (head_.size() < 2) return false;
    if ((byte(0) & 0x70U) != 0) return malformed("a frame uses an extension");
    if ((byte(1) & 0x80U) == 0) return malformed("a client's frame is not masked");
    const unsigned short_size = byte(1) & 0x7fU;
    const std::size_t size_bytes = short_size < 126 ? 0 : short_size == 126 ? 2 : 8;
    if (head_.size() < 2 + size_bytes + 4) return false;
    left_ = size_bytes == 0 ? short_size : 0;
    for (std::size_t i = 0; i < size_bytes; ++i) left_ = left_ << 8U | byte(2 + i);
    for (std::size_t i = 0; i < 4; ++i) mask_[i] = byte(2 + size_bytes + i);
    at_ = 0;
    opcode_ = byte(0) & 0x0fU;
    final_ = (byte(0) & 0x80U) != 0;
    const bool control = opcode_ >= kClose;
    if (control) {
        if (opcode_ > kPong) return malformed("a frame of unknown kind");
        if (!final_ || left_ > kMaxWebSocketControlBytes) {
            return malformed("a control frame is too large or in parts");
        }
        control_.clear();
        return true;
    }
    if (opcode_ > kBinary) return malformed("a frame of unknown kind");
    if ((opcode_ == kContinuation) != in_message_) {
        return malformed("parts of messages are out of order");
    }
    if (left_ > kMaxWebSocketMessageBytes - message_.size()) {
        return make_error(Code::kResourceExhausted, "WebSocket: a message is above {} bytes",
                          kMaxWebSocketMessageBytes);
    }
    if (opcode_ != kContinuation) text_ = opcode_ == kText;
    in_message_ = true;
    return true;
}

Result<void> WebSocketReader::frame_done(
    const std::function<void(const WebSocketEvent&)>& callback) {
    WebSocketEvent event;
    if (opcode_ >= kClose) {
        event.data = control_;
        if (opcode_ == kClose) {
            closed_ = true;
            event.kind = WebSocketEvent::Kind::kClose;
            callback(event);
        } else if (opcode_ == kPing) {
            event.kind = WebSocketEvent::Kind::kPing;
            callback(event);
        }
        return {};
    }
    if (!final_) return {};
    in_message_ = false;
    event.text = text_;
    event.data = message_;
    callback(event);
    message_.clear();
    return {};
}

Result<void> WebSocketReader::feed(std::string_view bytes,
                                   const std::function<void(const WebSocketEvent&)>& callback) {
    while (!bytes.empty() && !closed_) {
        if (!in_payload_) {
            head_.push_back(bytes.front());
            bytes.remove_prefix(1);
            SLUICE_TRY_ASSIGN(const bool whole, head());
            if (!whole) continue;
            head_.clear();
            in_payload_ = true;
        }
        const std::size_t size = std::min<std::uint64_t>(left_, bytes.size());
        std::string& target = opcode_ >= kClose ? control_ : message_;
        const std::size_t before = target.size();
        target.append(bytes.substr(0, size));
        for (std::size_t i = 0; i < size; ++i) {
            target[before + i] = static_cast<char>(static_cast<unsigned char>(target[before + i]) ^
                                                   mask_[(at_ + i) % 4]);
        }
        at_ += size;
        left_ -= size;
        bytes.remove_prefix(size);
        if (left_ == 0) {
            in_payload_ = false;
            SLUICE_TRY(frame_done(callback));
        }
    }
    return {};
}

std::string websocket_binary(std::string_view first, std::string_view rest) {
    std::string out;
    out.reserve(first.size() + rest.size() + 10);
    append_head(&out, kBinary, first.size() + rest.size());
    out.append(first);
    out.append(rest);
    return out;
}

std::string websocket_pong(std::string_view data) {
    std::string out;
    append_head(&out, kPong, data.size());
    out.append(data);
    return out;
}

std::string websocket_close(CloseCode code) {
    const auto number = static_cast<std::uint16_t>(code);
    std::string out;
    append_head(&out, kClose, 2);
    out.push_back(static_cast<char>(number >> 8U));
    out.push_back(static_cast<char>(number & 0xffU));
    return out;
}

}  // namespace sluice::streaming
