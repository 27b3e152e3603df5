#include "control/http/body.h"

#include <algorithm>
#include <charconv>

namespace sluice::http {

Result<void> BodyDecoder::line_ended() {
    if (!line_.empty() && line_.back() == '\r') line_.pop_back();
    if (state_ == State::kDataEnd) {
        if (!line_.empty()) {
            return make_error(Code::kDataLoss, "a chunk of the answer is longer than it says");
        }
        state_ = State::kSize;
    } else if (state_ == State::kTrailer) {
        if (line_.empty()) state_ = State::kDone;
    } else {
        const std::size_t end = std::min(line_.find_first_of("; \t"), line_.size());
        const auto [rest, error] = std::from_chars(line_.data(), line_.data() + end, left_, 16);
        if (error != std::errc() || rest != line_.data() + end) {
            return make_error(Code::kDataLoss, "the answer has a malformed chunk size");
        }
        state_ = left_ == 0 ? State::kTrailer : State::kData;
    }
    line_.clear();
    return {};
}

Result<void> BodyDecoder::feed(std::string_view input, std::string* body) {
    if (framing_ == Framing::kUntilEnd) {
        body->append(input);
        return {};
    }
    if (framing_ == Framing::kLength) {
        const std::size_t size = std::min<std::uint64_t>(left_, input.size());
        body->append(input.substr(0, size));
        left_ -= size;
        return {};
    }
    while (!input.empty() && state_ != State::kDone) {
        if (state_ == State::kData) {
            const std::size_t size = std::min<std::uint64_t>(left_, input.size());
            body->append(input.substr(0, size));
            input.remove_prefix(size);
            left_ -= size;
            if (left_ == 0) state_ = State::kDataEnd;
            continue;
        }
        const std::size_t end = input.find('\n');
        line_.append(input.substr(0, end));
        if (line_.size() > kMaxChunkLineBytes) {
            return make_error(Code::kDataLoss, "the answer has a chunk header above {} bytes",
                              kMaxChunkLineBytes);
        }
        if (end == std::string_view::npos) return {};
        input.remove_prefix(end + 1);
        SLUICE_TRY(line_ended());
    }
    return {};
}

}  // namespace sluice::http
