// The body of an HTTP/1.1 answer, taken out of its framing as it arrives. Pure; no I/O.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "api/base/result.h"

namespace sluice::http {

inline constexpr std::size_t kMaxChunkLineBytes = 4U << 10U;  // a chunk's size with extensions, or a trailer

class BodyDecoder {
public:
    enum class Framing { kChunked, kLength, kUntilEnd };
    BodyDecoder(Framing framing, std::uint64_t length) : framing_(framing), left_(length) {}

    // Appends what `input` holds of the body. kDataLoss: it is malformed.
    Result<void> feed(std::string_view input, std::string* body);
    [[nodiscard]] bool done() const {
        return state_ == State::kDone || (framing_ == Framing::kLength && left_ == 0);
    }
    // Whether the connection may end here.
    [[nodiscard]] bool may_end() const { return done() || framing_ == Framing::kUntilEnd; }

private:
    enum class State { kSize, kData, kDataEnd, kTrailer, kDone };
    Result<void> line_ended();

    Framing framing_;
    std::uint64_t left_;  // of the body, or of the chunk
    State state_ = State::kSize;
    std::string line_;
};

}  // namespace sluice::http
