// Reads requests of HTTP/1.1 out of bytes as they arrive: framing, and the limits that need not know who asks. Private
// to this folder; carries Beast types. It has no socket, so that any bytes, cut anywhere, can be tried on it.
//
//   begin() -> read_on() -> kMore, with more bytes again ... -> kHeader -> read_on() -> kMore ... -> kDone -> take()
//                      `-> kRefused, from any of them: where the next request begins is not known then
#pragma once

#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cstdint>
#include <memory>
#include <optional>

#include "control/http/server.h"

namespace sluice::http {

// One thread. What it has read so far is bounded by kMaxHeaderBytes and kMaxBodyBytes.
class RequestReader {
public:
    using Buffer = boost::beast::flat_buffer;
    enum class Step : std::uint8_t {
        kMore,     // all that there is was looked at
        kHeader,   // once for each request, before anything is said of its body
        kDone,     // take() has the request; what is left in the buffer belongs to the next
        kRefused,  // refusal() is the answer
    };

    // A new request, of which nothing was read yet.
    void begin();
    // Takes what it needs from the buffer. REQUIRES: begin(), and neither kDone nor kRefused since.
    Step read_on(Buffer* buffer);

    // From kHeader to take(). The head has no target yet (path, query), no identity and no remote.
    [[nodiscard]] const Request& head() const { return *request_; }
    [[nodiscard]] bool http10() const { return parser_->get().version() < 11; }
    [[nodiscard]] bool keep_alive() const { return keep_alive_; }
    // A HEAD, as far as the method is known: no answer to it has a body.
    [[nodiscard]] bool head_only() const { return request_ != nullptr && request_->method == "HEAD"; }
    [[nodiscard]] std::optional<std::uint64_t> content_length() const;
    [[nodiscard]] std::size_t body_bytes() const { return parser_->get().body().size(); }
    // Nothing of the body is still to come.
    [[nodiscard]] bool is_whole() const { return parser_->is_done(); }

    // After kDone, once. Trailers are no headers: a proxy in between may have checked only these.
    [[nodiscard]] std::shared_ptr<Request> take();

    struct Refusal {
        Response answer;
        bool oversized = false;  // rather than malformed
    };
    // After kRefused.
    [[nodiscard]] const Refusal& refusal() const { return refusal_; }

private:
    using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;

    void put(Buffer* buffer);
    Step take_head();
    Step finish();
    Step refuse(Response answer, bool oversized = false);
    Step refuse_error();

    std::optional<Parser> parser_;
    std::shared_ptr<Request> request_;
    boost::system::error_code error_;  // of the last put
    bool put_pending_ = false;         // what the last put led to was not told yet
    bool starved_ = false;             // the last put left nothing to do without more bytes
    bool header_told_ = false;
    bool keep_alive_ = true;
    Refusal refusal_;
};

}  // namespace sluice::http
