// The socket side of HTTP/2: one read outstanding, one write at a time.
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <utility>

#include "api/base/log.h"
#include "control/http/http2_private.h"

namespace sluice::http {
namespace {

namespace asio = boost::asio;

constexpr std::string_view kComponent = "http";
constexpr std::size_t kWriteBytes = 128U << 10U;     // gathered for one write
constexpr std::size_t kKeptBufferBytes = 16U << 10U; // capacity an idle connection may keep
constexpr std::uint32_t kCloseMs = 1'000;

}  // namespace

Http2Connection::Http2Connection(Loop* loop, TlsStream stream, const std::string& remote,
                                 CertificateIdentity certificate)
    : loop_(loop),
      shared_(loop->shared),
      stream_(std::move(stream)),
      remote_(remote),
      certificate_(std::move(certificate)) {}

void Http2Connection::start() {
    loop_->connections.insert(shared_from_this());
    shared_->counters.http2_connections.fetch_add(1, std::memory_order_relaxed);
    const std::weak_ptr<Http2Connection> weak = weak_from_this();
    session_ = std::make_unique<Http2Session>(
        shared_, &loop_->date, remote_, std::move(certificate_), [weak, loop = loop_] {
            asio::post(loop->context, [weak] {
                const auto self = weak.lock();
                if (!self || self->closed_) return;
                self->session_->pull();
                self->flush();
            });
        });
    flush();
    read();
}

void Http2Connection::read() {
    stream_.async_read_some(
        asio::buffer(in_), [self = shared_from_this()](const ErrorCode& error, std::size_t bytes) {
            self->on_bytes(error, bytes);
        });
}

void Http2Connection::on_bytes(const ErrorCode& error, std::size_t bytes) {
    if (closed_ || closing_) return;
    if (error || !session_->receive({in_.data(), bytes})) {
        close();
        return;
    }
    flush();
    if (!closed_ && !closing_) read();
}

void Http2Connection::flush() {
    if (writing_ || closed_ || closing_) return;
    if (!session_->fill(&out_, kWriteBytes)) {
        close();
        return;
    }
    if (out_.empty()) {
        if (session_->is_over()) close_gracefully();
        return;
    }
    writing_ = true;
    deadline_ = Clock::now() + std::chrono::milliseconds(shared_->timeouts.write_ms);
    asio::async_write(stream_, asio::buffer(out_),
                      [self = shared_from_this()](const ErrorCode& error, std::size_t) {
                          self->on_written(error);
                      });
}

void Http2Connection::on_written(const ErrorCode& error) {
    writing_ = false;
    if (closed_ || closing_) return;
    if (error) {
        close();
        return;
    }
    out_.clear();
    if (out_.capacity() > kKeptBufferBytes) out_ = {};
    deadline_ = Clock::time_point::max();
    flush();
}

void Http2Connection::check_deadline(Clock::time_point now) {
    if (closed_) return;
    if (now >= deadline_) {
        if (!closing_) {
            shared_->counters.timed_out_connections.fetch_add(1, std::memory_order_relaxed);
            log::debug(kComponent, "{} is too slow and is disconnected", remote_);
        }
        close();
        return;
    }
    if (closing_) return;
    if (!session_->check_deadlines(now)) {
        close();
        return;
    }
    flush();
}

void Http2Connection::drain() {
    if (closed_ || closing_) return;
    session_->drain();
    flush();
}

void Http2Connection::close_gracefully() {
    closing_ = true;
    deadline_ = Clock::now() + std::chrono::milliseconds(kCloseMs);
    session_->close();
    stream_.async_part([self = shared_from_this()](const ErrorCode&) { self->close(); });
}

void Http2Connection::close() {
    if (closed_) return;
    const auto self = shared_from_this();
    closed_ = true;
    deadline_ = Clock::time_point::max();
    session_->close();
    ErrorCode ignored;
    stream_.next_layer().close(ignored);
    loop_->connections.erase(self);
    shared_->counters.http2_connections.fetch_sub(1, std::memory_order_relaxed);
    shared_->connection_ended();
}

void start_http2(Loop* loop, TlsStream stream, const std::string& remote,
                 CertificateIdentity certificate) {
    std::make_shared<Http2Connection>(loop, std::move(stream), remote, std::move(certificate))
        ->start();
}

}  // namespace sluice::http
