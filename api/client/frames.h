// Cuts the byte stream of a watch into frames, whatever the pieces it arrives in: length-prefixed for protobuf, one
// JSON object after another for JSON. Knows nothing of what is inside. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "api/base/result.h"

namespace sluice::client {

enum class Encoding : std::uint8_t { kProtobuf, kJson };

// A larger frame is kResourceExhausted: the watch is given up before it takes the memory of the program. An API object
// is at most 3 MiB as the server stores it.
inline constexpr std::size_t kMaxFrameBytes = 16U << 20U;

class FrameReader {
public:
    explicit FrameReader(Encoding encoding) : encoding_(encoding) {}

    // Cost: amortised O(bytes).
    void append(std::string_view bytes);
    // The next whole frame, without its length; nullopt until more bytes come. The view is good until the next call.
    // kDataLoss for what can never become a frame, kResourceExhausted beyond the limit; both are final.
    Result<std::optional<std::string_view>> next();
    // Bytes of an unfinished frame; not 0 at the end of the stream means that it was cut.
    [[nodiscard]] std::size_t pending() const { return buffer_.size() - begin_; }

private:
    Result<std::optional<std::string_view>> next_protobuf();
    Result<std::optional<std::string_view>> next_json();

    Encoding encoding_;
    std::string buffer_;
    std::size_t begin_ = 0;    // of the unfinished frame
    // State of the JSON scan, so that no byte is looked at twice.
    std::size_t scanned_ = 0;  // from begin_
    std::uint32_t depth_ = 0;
    bool in_string_ = false;
    bool escaped_ = false;
};

}  // namespace sluice::client
