// See frames.h. The protobuf framing is four bytes of length, big-endian, before each frame.
#include "api/client/frames.h"

namespace sluice::client {

void FrameReader::append(std::string_view bytes) {
    // What was consumed is dropped here and not in next(), whose view must stay good.
    if (begin_ > 0) {
        buffer_.erase(0, begin_);
        begin_ = 0;
    }
    buffer_.append(bytes);
}

Result<std::optional<std::string_view>> FrameReader::next() {
    return encoding_ == Encoding::kProtobuf ? next_protobuf() : next_json();
}

Result<std::optional<std::string_view>> FrameReader::next_protobuf() {
    constexpr std::size_t kPrefix = 4;
    if (pending() < kPrefix) return std::optional<std::string_view>();
    std::size_t length = 0;
    for (std::size_t i = 0; i < kPrefix; ++i) {
        length = length << 8U | static_cast<unsigned char>(buffer_[begin_ + i]);
    }
    if (length > kMaxFrameBytes) {
        return make_error(Code::kResourceExhausted, "watch frame of {} bytes, more than {}", length,
                          kMaxFrameBytes);
    }
    if (pending() < kPrefix + length) return std::optional<std::string_view>();
    const std::string_view frame = std::string_view(buffer_).substr(begin_ + kPrefix, length);
    begin_ += kPrefix + length;
    return std::optional(frame);
}

Result<std::optional<std::string_view>> FrameReader::next_json() {
    while (begin_ + scanned_ < buffer_.size()) {
        const char c = buffer_[begin_ + scanned_];
        if (depth_ == 0) {
            if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
                ++begin_;
                continue;
            }
            if (c != '{') {
                return make_error(Code::kDataLoss, "watch frame starts with byte 0x{:02x}, not {{",
                                  static_cast<unsigned char>(c));
            }
        }
        ++scanned_;
        if (in_string_) {
            if (escaped_) {
                escaped_ = false;
            } else if (c == '\\') {
                escaped_ = true;
            } else if (c == '"') {
                in_string_ = false;
            }
        } else if (c == '"') {
            in_string_ = true;
        } else if (c == '{' || c == '[') {
            ++depth_;
        } else if (c == '}' || c == ']') {
            if (--depth_ == 0) {
                const std::string_view frame = std::string_view(buffer_).substr(begin_, scanned_);
                begin_ += scanned_;
                scanned_ = 0;
                return std::optional(frame);
            }
        }
        if (scanned_ > kMaxFrameBytes) {
            return make_error(Code::kResourceExhausted, "watch frame of more than {} bytes",
                              kMaxFrameBytes);
        }
    }
    return std::optional<std::string_view>();
}

}  // namespace sluice::client
