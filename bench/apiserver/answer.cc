#include "bench/apiserver/answer.h"

#include <strings.h>

#include <algorithm>
#include <charconv>

namespace sluice::bench {
namespace {

constexpr std::size_t kMaxHeldBytes = 64 << 10;
constexpr std::string_view kLineEnd = "\r\n";
constexpr std::string_view kHeadEnd = "\r\n\r\n";
constexpr std::string_view kLength = "\r\ncontent-length: ";
constexpr std::string_view kChunked = "\r\ntransfer-encoding: chunked";

// Where a header's line begins, whatever the case of its letters; npos: nowhere.
std::size_t find_line(std::string_view head, std::string_view line) {
    for (std::size_t at = head.find('\r'); at != std::string_view::npos; at = head.find('\r', at + 1)) {
        if (head.size() - at < line.size()) break;
        if (strncasecmp(head.data() + at, line.data(), line.size()) == 0) return at;
    }
    return std::string_view::npos;
}

}  // namespace

void Answer::begin() {
    state_ = State::kHead;
    status_ = 0;
    left_ = 0;
    held_.clear();
    held_whole_ = false;
    last_ = false;
}

std::string_view Answer::until(std::string_view end, std::string_view bytes, std::size_t* used) {
    if (held_whole_) {
        held_.clear();
        held_whole_ = false;
    }
    if (held_.empty()) {
        if (const std::size_t at = bytes.find(end); at != std::string_view::npos) {
            *used += at + end.size();
            return bytes.substr(0, at + end.size());
        }
    }
    const std::size_t before = held_.size();
    held_.append(bytes);
    const std::size_t from = before < end.size() ? 0 : before - end.size() + 1;
    const std::size_t at = held_.find(end, from);
    if (at == std::string::npos) {
        *used += bytes.size();
        return {};
    }
    held_.resize(at + end.size());
    held_whole_ = true;
    *used += held_.size() - before;
    return held_;
}

Result<void> Answer::read_head(std::string_view head) {
    constexpr std::size_t kStatusAt = sizeof("HTTP/1.1 ") - 1;
    if (head.size() < kStatusAt + 3) return make_error(Code::kUnavailable, "an answer has no status line");
    std::from_chars(head.data() + kStatusAt, head.data() + kStatusAt + 3, status_);
    if (find_line(head, kChunked) != std::string_view::npos) {
        state_ = State::kChunkSize;
        return {};
    }
    left_ = 0;
    if (const std::size_t at = find_line(head, kLength); at != std::string_view::npos) {
        std::from_chars(head.data() + at + kLength.size(), head.data() + head.size(), left_);
    }
    state_ = left_ == 0 ? State::kOver : State::kBody;
    return {};
}

Result<std::size_t> Answer::feed(std::string_view bytes, const Take& take) {
    std::size_t used = 0;
    while (used < bytes.size() && state_ != State::kOver) {
        const std::string_view rest = bytes.substr(used);
        if (state_ == State::kBody || state_ == State::kChunk) {
            const std::string_view part = rest.substr(0, std::min(rest.size(), left_));
            if (take) take(part);
            used += part.size();
            left_ -= part.size();
            if (left_ == 0) state_ = state_ == State::kBody ? State::kOver : State::kChunkEnd;
            continue;
        }
        const std::string_view text = until(state_ == State::kHead ? kHeadEnd : kLineEnd, rest, &used);
        if (text.empty()) {
            if (held_.size() <= kMaxHeldBytes) continue;
            return make_error(Code::kUnavailable, "an answer's headers are longer than {} bytes", kMaxHeldBytes);
        }
        if (state_ == State::kHead) {
            SLUICE_TRY(read_head(text));
        } else if (state_ == State::kChunkEnd) {
            // Behind the last chunk comes an empty line, too.
            state_ = last_ ? State::kOver : State::kChunkSize;
        } else {
            constexpr int kHex = 16;
            left_ = 0;
            std::from_chars(text.data(), text.data() + text.size(), left_, kHex);
            last_ = left_ == 0;
            state_ = last_ ? State::kChunkEnd : State::kChunk;
        }
    }
    return used;
}

}  // namespace sluice::bench
