#include "control/http/connection_private.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <exception>
#include <utility>

#include "api/base/host_port.h"
#include "api/base/log.h"
#include "control/http/exchange.h"
#include "control/http/gzip.h"
#include "control/http/http2_private.h"
#include "control/http/socket_stream_private.h"
#include "control/http/status_body.h"

namespace sluice::http {
namespace {

namespace asio = boost::asio;

constexpr std::string_view kComponent = "http";
constexpr std::size_t kReadBytes = 16U << 10U;
constexpr std::size_t kJoinBytes = 16U << 10U;       // smaller bodies share the head's TLS record
constexpr std::size_t kPipelinedBytes = 64U << 10U;  // buffered while a stream runs
constexpr std::size_t kKeptBufferBytes = 64U << 10U; // capacity an idle connection may keep
constexpr std::uint32_t kCloseMs = 1'000;
constexpr std::uint32_t kDiscardMs = 5'000;
constexpr std::size_t kMaxDiscardBytes = 2 * kMaxBodyBytes;
constexpr std::size_t kSlowestBytesPerSecond = 64U << 10U;

}  // namespace

Connection::Connection(Loop* loop, asio::ip::tcp::socket socket)
    : loop_(loop),
      shared_(loop->shared),
      stream_(std::move(socket), loop->shared->tls.get()),
      buffer_(kMaxHeaderBytes + 2 * kReadBytes) {}

// Life of the connection ---------------------------------------------------------------------------

void Connection::start() {
    loop_->connections.insert(shared_from_this());
    auto& socket = stream_.next_layer();
    ErrorCode ignored;
    socket.set_option(asio::ip::tcp::no_delay(true), ignored);
    socket.set_option(asio::socket_base::keep_alive(true), ignored);
    const auto peer = socket.remote_endpoint(ignored);
    remote_ = host_and_port(peer.address().to_string(), peer.port());
    set_deadline(shared_->timeouts.handshake_ms);
    stream_.async_handshake(
        TlsStream::Side::kServer,
        [self = shared_from_this()](const ErrorCode& error) { self->on_handshake(error); });
}

void Connection::on_handshake(const ErrorCode& error) {
    if (state_ == State::kClosed) return;
    if (error) {
        shared_->counters.failed_handshakes.fetch_add(1, std::memory_order_relaxed);
        log::debug(kComponent, "TLS handshake with {} failed: {}", remote_, error.message());
        close();
        return;
    }
    certificate_ = certificate_identity(stream_.native_handle());
    if (shared_->draining.load(std::memory_order_relaxed)) {
        close_gracefully();
        return;
    }
    if (speaks_http2(stream_.native_handle())) {
        hand_over();
        return;
    }
    await_request();
}

// The socket goes on as a connection of HTTP/2, which counts in this one's place.
void Connection::hand_over() {
    const auto self = shared_from_this();
    state_ = State::kClosed;
    clear_deadline();
    start_http2(loop_, std::move(stream_), remote_, std::move(certificate_));
    loop_->connections.erase(self);
}

void Connection::check_deadline(Clock::time_point now) {
    if (!is_late(now)) return;
    switch (state_) {
        case State::kIdle:
            close_gracefully();
            return;
        case State::kHandling:
            clear_deadline();
            if (answer_ && answer_->expire()) {
                shared_->counters.timed_out_requests.fetch_add(1, std::memory_order_relaxed);
                keep_alive_ = false;
                write_response(timed_out());
            }
            return;
        case State::kClosing:
        case State::kClosed:
            close();
            return;
        case State::kHandshake:
        case State::kHeader:
        case State::kBody:
        case State::kWriting:
        case State::kStreaming:
        case State::kUpgraded:
            shared_->counters.timed_out_connections.fetch_add(1, std::memory_order_relaxed);
            log::debug(kComponent, "{} is too slow and is disconnected", remote_);
            close();
            return;
    }
}

void Connection::drain() {
    keep_alive_ = false;
    if (state_ == State::kIdle) {
        close_gracefully();
    } else if (state_ == State::kStreaming && answer_) {
        answer_->end_stream();
    } else if (state_ == State::kUpgraded) {
        close();
    }
}

bool Connection::stays_open() const {
    return keep_alive_ && !shared_->draining.load(std::memory_order_relaxed);
}

void Connection::close_gracefully() {
    if (state_ == State::kClosed || state_ == State::kClosing) return;
    state_ = State::kClosing;
    set_deadline(kCloseMs);
    stream_.async_part([self = shared_from_this()](const ErrorCode&) { self->close(); });
}

// A refused request's body is on its way: closing now would make the kernel reset the connection, and
// the client would lose the answer. So the rest is read, undecrypted, and thrown away within limits.
void Connection::discard_input() {
    if (state_ == State::kClosed) return;
    if (state_ != State::kClosing) {
        state_ = State::kClosing;
        set_deadline(kDiscardMs);
        ErrorCode ignored;
        stream_.next_layer().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
        buffer_.clear();
    }
    stream_.next_layer().async_read_some(
        buffer_.prepare(kReadBytes),
        [self = shared_from_this()](const ErrorCode& error, std::size_t bytes) {
            self->discarded_bytes_ += bytes;
            if (error || self->discarded_bytes_ > kMaxDiscardBytes) {
                self->close();
            } else {
                self->discard_input();
            }
        });
}

void Connection::close() {
    if (state_ == State::kClosed) return;
    const auto self = shared_from_this();
    if (state_ == State::kStreaming) {
        shared_->counters.streams.fetch_sub(1, std::memory_order_relaxed);
    }
    const bool was_upgraded = state_ == State::kUpgraded;
    state_ = State::kClosed;
    clear_deadline();
    if (const auto on_open = std::exchange(on_open_, nullptr)) on_open(nullptr);
    if (const auto answer = std::exchange(answer_, nullptr)) answer->finish();
    if (was_upgraded) {
        shared_->counters.upgraded.fetch_sub(1, std::memory_order_relaxed);
        if (const auto end = std::exchange(end_upgraded_, nullptr)) end();
    } else {
        ErrorCode ignored;
        stream_.next_layer().close(ignored);
    }
    loop_->connections.erase(self);
    shared_->connection_ended();
}

// Reading ------------------------------------------------------------------------------------------

void Connection::await_request() {
    reader_.begin();
    head_only_ = false;
    header_seen_ = false;
    if (buffer_.size() > 0) {
        state_ = State::kHeader;
        set_deadline(shared_->timeouts.header_ms);
        // Not from here: a client that sends many requests at once would have them answered one inside another.
        parse_due_ = true;
        asio::post(loop_->context, [self = shared_from_this()] {
            if (self->state_ == State::kHeader && self->parse_due_) self->parse();
        });
        return;
    }
    if (buffer_.capacity() > kKeptBufferBytes) buffer_.shrink_to_fit();
    state_ = State::kIdle;
    set_deadline(shared_->timeouts.idle_ms);
    read();
}

void Connection::read() {
    if (reading_) return;  // the client watch of a stream that just ended will bring the bytes
    if (buffer_.size() > kMaxHeaderBytes + kReadBytes) {
        refuse_request(header_too_large(), true);
        return;
    }
    await_bytes();
}

// While a stream runs: to notice that the client went away, and for what it asks next.
void Connection::watch_client() {
    if (reading_ || buffer_.size() > kPipelinedBytes) return;
    await_bytes();
}

void Connection::await_bytes() {
    reading_ = true;
    if (stream_.has_pending()) {
        asio::post(loop_->context, [self = shared_from_this()] { self->take_bytes({}); });
        return;
    }
    stream_.when_readable([self = shared_from_this()](const ErrorCode& error) { self->take_bytes(error); });
}

void Connection::take_bytes(ErrorCode error) {
    // The socket of an upgraded connection belongs to somebody else.
    if (state_ == State::kClosed || state_ == State::kClosing || state_ == State::kUpgraded) return;
    std::size_t bytes = 0;
    if (!error) bytes = stream_.read_now(loop_->in.data(), loop_->in.size(), &error);
    if (error == asio::error::would_block) {
        stream_.when_readable([self = shared_from_this()](const ErrorCode& failed) { self->take_bytes(failed); });
        return;
    }
    reading_ = false;
    if (error) {
        close();
        return;
    }
    on_bytes({loop_->in.data(), bytes});
}

void Connection::on_bytes(std::string_view bytes) {
    const auto space = buffer_.prepare(bytes.size());
    std::memcpy(space.data(), bytes.data(), bytes.size());
    buffer_.commit(bytes.size());
    switch (state_) {
        case State::kIdle:
            state_ = State::kHeader;
            set_deadline(shared_->timeouts.header_ms);
            parse();
            break;
        case State::kHeader:
        case State::kBody:
            parse();
            break;
        case State::kStreaming:
        case State::kHandling:
            watch_client();
            break;
        default:
            break;  // kept for the next request
    }
}

void Connection::parse() {
    parse_due_ = false;
    while (true) {
        const auto step = reader_.read_on(&buffer_);
        if (step == RequestReader::Step::kHeader) {
            header_seen_ = true;
            if (!accept_header()) return;
            continue;
        }
        if (identity_.user.empty() && header_seen_ && reader_.body_bytes() > kMaxAnonymousBodyBytes) {
            refuse(unauthorized());
            return;
        }
        if (step == RequestReader::Step::kRefused) {
            head_only_ = reader_.head_only();
            refuse_request(reader_.refusal().answer, reader_.refusal().oversized);
        } else if (step == RequestReader::Step::kDone) {
            dispatch();
        } else {
            read();
        }
        return;
    }
}

void Connection::refuse_request(Response answer, bool oversized) {
    auto& counter = oversized ? shared_->counters.oversized_requests : shared_->counters.malformed_requests;
    counter.fetch_add(1, std::memory_order_relaxed);
    refuse(std::move(answer));
}

bool Connection::accept_header() {
    const Request& head = reader_.head();
    http10_ = reader_.http10();
    head_only_ = reader_.head_only();
    keep_alive_ = reader_.keep_alive();
    gzip_accepted_ = accepts_gzip(head.header("accept-encoding"));
    identity_ = {};
    if (!authenticate()) return false;
    const auto length = reader_.content_length();
    if (identity_.user.empty() && length && *length > kMaxAnonymousBodyBytes) {
        refuse(unauthorized());
        return false;
    }
    state_ = State::kBody;
    set_deadline(shared_->timeouts.body_ms);
    if (!reader_.is_whole() && !http10_ && lower_case(head.header("expect")) == "100-continue") {
        send_continue();
        return false;
    }
    return true;
}

void Connection::send_continue() {
    out_ = "HTTP/1.1 100 Continue\r\n\r\n";
    asio::async_write(stream_, asio::buffer(out_),
                      [self = shared_from_this()](const ErrorCode& error, std::size_t) {
                          if (self->state_ != State::kBody) return;
                          self->out_.clear();
                          if (error) {
                              self->close();
                          } else {
                              self->parse();
                          }
                      });
}

bool Connection::authenticate() {
    auto found = http::authenticate(*shared_, certificate_, reader_.head().header("authorization"));
    if (!found) {
        refuse(unauthorized());
        return false;
    }
    identity_ = std::move(*found);
    return true;
}

void Connection::dispatch() {
    auto request = reader_.take();
    request->identity = std::move(identity_);
    request->remote = remote_;

    const auto time_ms = request_time_ms(*request, *shared_);
    if (!time_ms) {
        refuse_request(status_response(400, "BadRequest", time_ms.error().message), false);
        return;
    }
    state_ = State::kHandling;
    if (*time_ms == kUntimed) {
        clear_deadline();
        // The client's end is the only one that such a request may have.
        watch_client();
    } else {
        set_deadline(*time_ms);
    }
    answer_ = std::make_shared<Answer>(this, gzip_accepted_ && !head_only_);
    in_handler_ = true;
    try {
        shared_->handler(std::move(request), std::make_shared<AnswerResponder>(answer_));
    } catch (const std::exception& exception) {
        // The Responder that the handler dropped has answered 500 already.
        log::error(kComponent, "a handler threw: {}", exception.what());
    }
    in_handler_ = false;
    if (std::exchange(pull_after_handler_, false)) pull();
}

// Writing ------------------------------------------------------------------------------------------

void Connection::wake(bool stream) {
    if (loop_->runs_here() && in_handler_) {
        pull_after_handler_ = true;
        return;
    }
    if (stream) {
        loop_->streams.add(weak_from_this());
        return;
    }
    if (auto self = weak_from_this().lock()) {
        asio::post(loop_->context, [self = std::move(self)] { self->pull(); });
    }
}

void Connection::pull() {
    if (!answer_ || state_ == State::kClosed || state_ == State::kClosing) return;
    // While a write is under way the rest waits in the Answer, but not for a reader that is too slow: the
    // write may never end.
    if (writing_ && !answer_->overflowed()) return;
    Answer::Work work = answer_->take();
    switch (work.kind) {
        case Answer::Work::Kind::kNothing:
            break;
        case Answer::Work::Kind::kResponse:
            write_response(std::move(work.head));
            break;
        case Answer::Work::Kind::kStream:
            write_stream(std::move(work));
            break;
        case Answer::Work::Kind::kUpgrade:
            write_upgrade(std::move(work));
            break;
        case Answer::Work::Kind::kAbort:
            shared_->counters.overflowed_streams.fetch_add(1, std::memory_order_relaxed);
            log::warn(kComponent, "{} reads its stream too slowly and is disconnected", remote_);
            close();
            break;
    }
}

void Connection::write_response(Response response) {
    const bool no_body = response.status == 204 || response.status == 304;
    if (no_body) response.body.clear();
    state_ = State::kWriting;
    last_write_ = true;
    append_head(&out_, response, no_body ? Framing::kNoBody : Framing::kLength,
                head_only_ ? response.length.value_or(response.body.size()) : response.body.size(), loop_->date,
                stays_open(), http10_);
    if (!head_only_) {
        if (response.body.size() <= kJoinBytes) {
            out_ += response.body;
        } else {
            out_body_ = std::move(response.body);
            out_body_offset_ = 0;
        }
    }
    start_write();
}

void Connection::write_stream(Answer::Work work) {
    if (work.begins) {
        state_ = State::kStreaming;
        shared_->counters.streams.fetch_add(1, std::memory_order_relaxed);
        framing_ = http10_ ? Framing::kUntilClose : Framing::kChunked;
        if (http10_) keep_alive_ = false;
        append_head(&out_, work.head, framing_, 0, loop_->date, stays_open(), http10_);
        watch_client();
    }
    last_write_ = work.ends;
    if (work.broken) keep_alive_ = false;
    if (head_only_) {
        work.data.clear();
        out_body_offset_ = 0;
    } else if (framing_ == Framing::kUntilClose) {
        out_body_offset_ = work.data.empty() ? 0 : Answer::kFramingBytes;
    } else {
        if (!work.data.empty()) {
            const std::size_t size = work.data.size() - Answer::kFramingBytes;
            std::array<char, Answer::kFramingBytes + 1> prefix{};
            std::snprintf(prefix.data(), prefix.size(), "%08zx\r\n", size);
            work.data.replace(0, Answer::kFramingBytes, prefix.data(), Answer::kFramingBytes);
            work.data += "\r\n";
        }
        if (work.ends && !work.broken) work.data += "0\r\n\r\n";
        out_body_offset_ = 0;
    }
    if (!out_.empty() && work.data.size() <= kJoinBytes) {
        out_.append(work.data, out_body_offset_);
    } else {
        out_body_ = std::move(work.data);
    }
    start_write();
}

void Connection::write_upgrade(Answer::Work work) {
    state_ = State::kWriting;
    last_write_ = true;
    on_open_ = std::move(work.on_open);
    append_head(&out_, work.head, Framing::kUpgrade, 0, loop_->date, true, http10_);
    start_write();
}

// The socket moves into a stream of its own, which tells this connection when it is over. What the client sent
// behind its request belongs to the stream.
void Connection::open_upgraded() {
    state_ = State::kUpgraded;
    shared_->counters.upgraded.fetch_add(1, std::memory_order_relaxed);
    shared_->counters.upgrades.fetch_add(1, std::memory_order_relaxed);
    const auto rest = buffer_.data();
    std::string early(static_cast<const char*>(rest.data()), rest.size());
    buffer_.clear();
    buffer_.shrink_to_fit();
    auto stream = std::make_shared<SocketStream<TlsStream>>(
        std::move(stream_), std::move(early), [weak = weak_from_this()] {
            if (const auto self = weak.lock()) self->close();
        });
    end_upgraded_ = [stream] { stream->end(); };
    std::exchange(on_open_, nullptr)(std::make_shared<StreamHandle>(std::move(stream)));
    if (shared_->draining.load(std::memory_order_relaxed)) close();
}

void Connection::start_write() {
    writing_ = true;
    write_waits_ = false;
    left_ = out_;
    left_body_ = std::string_view(out_body_).substr(out_body_.empty() ? 0 : out_body_offset_);
    write_on();
}

// Mostly the socket takes everything at once, and nothing is waited for.
void Connection::write_on() {
    const auto self = shared_from_this();  // whatever happens to the connection in here
    ErrorCode error;
    if ((stream_.write_now(&left_, &error) && stream_.write_now(&left_body_, &error)) ||
        error != asio::error::would_block) {
        on_written(error);
        return;
    }
    // Once for the whole: a reader who takes a byte now and then has no longer.
    if (!std::exchange(write_waits_, true)) {
        const std::size_t bytes = left_.size() + left_body_.size();
        set_deadline(shared_->timeouts.write_ms + static_cast<std::uint32_t>(bytes / kSlowestBytesPerSecond * 1'000));
    }
    stream_.when_writable([self](const ErrorCode& failed) {
        if (self->state_ == State::kClosed || self->state_ == State::kClosing) return;
        if (failed) {
            self->on_written(failed);
            return;
        }
        self->write_on();
        // What came meanwhile found the connection writing.
        if (!self->writing_) self->pull();
    });
}

void Connection::on_written(const ErrorCode& error) {
    writing_ = false;
    if (state_ == State::kClosed || state_ == State::kClosing) return;
    if (error) {
        close();
        return;
    }
    out_.clear();
    out_body_.clear();
    if (out_body_.capacity() > kKeptBufferBytes) out_body_ = {};
    clear_deadline();
    if (on_open_) {
        open_upgraded();
        return;
    }
    if (last_write_) {
        request_done();
        return;
    }
    if (answer_) answer_->written();
}

void Connection::request_done() {
    if (state_ == State::kStreaming) {
        shared_->counters.streams.fetch_sub(1, std::memory_order_relaxed);
    }
    // A state that is neither streaming nor reading: on_close callbacks may look at other connections.
    state_ = State::kWriting;
    if (const auto answer = std::exchange(answer_, nullptr)) answer->finish();
    if (state_ != State::kWriting) return;
    if (discard_after_write_ && !reading_) {
        discard_input();
    } else if (!stays_open()) {
        close_gracefully();
    } else {
        await_request();
    }
}

void Connection::refuse(Response response) {
    keep_alive_ = false;
    discard_after_write_ = true;
    write_response(std::move(response));
}

}  // namespace sluice::http
