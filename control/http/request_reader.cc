#include "control/http/request_reader_private.h"

#include <fmt/core.h>

#include <boost/beast/http/error.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "control/http/exchange.h"
#include "control/http/status_body.h"
#include "control/http/uri.h"

namespace sluice::http {
namespace {

namespace beast_http = boost::beast::http;

// A beginning of "0" and two line ends. Nothing shorter can be left of a chunked body, and Beast aborts when it is
// shown the first of the two and then a part of the other.
bool may_be_last_chunk(const RequestReader::Buffer& buffer) {
    constexpr std::size_t kLastChunkBytes = 5;
    if (buffer.size() == 0 || buffer.size() >= kLastChunkBytes) return false;
    return *static_cast<const char*>(buffer.data().data()) == '0';
}

std::string_view view(boost::beast::string_view text) { return {text.data(), text.size()}; }

Response malformed(std::string_view what) { return text_response(400, fmt::format("400 Bad Request: {}", what)); }

}  // namespace

void RequestReader::begin() {
    parser_.emplace();
    // Not past the header: what a chunked body ends with would otherwise be among its fields.
    parser_->eager(false);
    parser_->header_limit(static_cast<std::uint32_t>(kMaxHeaderBytes));
    parser_->body_limit(kMaxBodyBytes);
    request_ = nullptr;
    error_ = {};
    put_pending_ = false;
    starved_ = false;
    header_told_ = false;
    keep_alive_ = true;
    refusal_ = {};
}

void RequestReader::put(Buffer* buffer) {
    std::size_t used = 0;
    try {
        used = parser_->put(buffer->data(), error_);
    } catch (const std::length_error&) {
        // How Beast says that one field is longer than its 16-bit lengths can tell.
        error_ = beast_http::error::header_limit;
    }
    buffer->consume(used);
    put_pending_ = true;
    // Only an unfinished line is reported as need_more; an unfinished body just takes what there is.
    starved_ = error_ == beast_http::error::need_more || used == 0 || buffer->size() == 0;
}

RequestReader::Step RequestReader::read_on(Buffer* buffer) {
    while (true) {
        if (!put_pending_) {
            if (header_told_ && parser_->chunked() && may_be_last_chunk(*buffer)) return Step::kMore;
            put(buffer);
        }
        if (!header_told_ && parser_->is_header_done()) {
            header_told_ = true;
            return take_head();
        }
        put_pending_ = false;
        if (error_ && error_ != beast_http::error::need_more) return refuse_error();
        if (parser_->is_done()) return finish();
        if (starved_) return Step::kMore;
    }
}

RequestReader::Step RequestReader::take_head() {
    parser_->eager(true);
    const auto& message = parser_->get();
    keep_alive_ = message.keep_alive();
    request_ = std::make_shared<Request>();
    request_->method = std::string(view(message.method_string()));
    request_->target = std::string(view(message.target()));
    std::size_t hosts = 0;
    for (const auto& field : message) {
        if (request_->headers.size() == kMaxHeaderFields) return refuse(header_too_large(), true);
        if (field.name() == beast_http::field::host) ++hosts;
        if (field.name() == beast_http::field::transfer_encoding) {
            if (http10()) return refuse(malformed("HTTP/1.0 has no Transfer-Encoding"));
            // Where a body in another coding ends is not known, and its bytes would pass for the next request.
            if (lower_case(view(field.value())) != "chunked") {
                return refuse(text_response(501, "Unsupported transfer encoding"));
            }
        }
        request_->headers.emplace_back(lower_case(view(field.name_string())), std::string(view(field.value())));
    }
    if (hosts == 0 && !http10()) return refuse(malformed("missing required Host header"));
    if (hosts > 1) return refuse(malformed("too many Host headers"));
    return Step::kHeader;
}

RequestReader::Step RequestReader::finish() {
    auto target = parse_target(request_->target);
    if (!target) return refuse(malformed(target.error().message));
    request_->path = std::move(target->path);
    request_->query = std::move(target->query);
    return Step::kDone;
}

RequestReader::Step RequestReader::refuse(Response answer, bool oversized) {
    refusal_ = {std::move(answer), oversized};
    return Step::kRefused;
}

RequestReader::Step RequestReader::refuse_error() {
    if (error_ == beast_http::error::body_limit) return refuse(body_too_large(), true);
    if (error_ == beast_http::error::header_limit) return refuse(header_too_large(), true);
    return refuse(malformed(error_.message()));
}

std::optional<std::uint64_t> RequestReader::content_length() const {
    const auto length = parser_->content_length();
    if (!length) return std::nullopt;
    return *length;
}

std::shared_ptr<Request> RequestReader::take() {
    request_->body = std::move(parser_->get().body());
    parser_.reset();
    return std::exchange(request_, nullptr);
}

}  // namespace sluice::http
