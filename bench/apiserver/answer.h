// One answer of HTTP/1.1 as it comes, in pieces of any size.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "api/base/result.h"

namespace sluice::bench {

class Answer {
public:
    using Take = std::function<void(std::string_view)>;

    // Another one follows.
    void begin();
    // Takes what belongs to the answer and hands its body to `take` in pieces. Returns how many bytes it took: all of
    // them, unless the answer was over before. kUnavailable: this is no answer.
    Result<std::size_t> feed(std::string_view bytes, const Take& take);
    [[nodiscard]] bool over() const { return state_ == State::kOver; }
    [[nodiscard]] int status() const { return status_; }

private:
    enum class State : std::uint8_t { kHead, kBody, kChunkSize, kChunk, kChunkEnd, kOver };

    // Up to and with the first `end`, which may have begun in an earlier piece; empty: it has not come yet. `*used`
    // grows by what was taken of `bytes`.
    std::string_view until(std::string_view end, std::string_view bytes, std::size_t* used);
    Result<void> read_head(std::string_view head);

    State state_ = State::kHead;
    int status_ = 0;
    std::size_t left_ = 0;  // of the body, or of the chunk
    std::string held_;      // the begin of a head or line that is not whole yet
    bool held_whole_ = false;
    bool last_ = false;  // the chunk that ends the body
};

}  // namespace sluice::bench
