// ByteStream over an Asio stream. Private to this folder; carries Asio types.
//
// Everything below the public functions runs on the executor's one thread. StreamHandle is what users hold: the
// SocketStream itself lives as long as its reads and writes, and ends when the handle goes.
#pragma once

#include <algorithm>
#include <atomic>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <utility>
#include <vector>

#include "control/http/byte_stream.h"
#include "control/http/tls_stream_private.h"

namespace sluice::http {

using PlainStream = boost::asio::ip::tcp::socket;

template <class Stream>
class SocketStream final : public ByteStream,
                           public std::enable_shared_from_this<SocketStream<Stream>> {
public:
    // early: bytes of the peer that were read already. on_over is called once, on the executor's thread.
    SocketStream(Stream stream, std::string early, std::function<void()> on_over)
        : stream_(std::move(stream)),
          linger_(stream_.get_executor()),
          early_(std::move(early)),
          on_over_(std::move(on_over)) {}

    void read(ReadCallback callback) override {
        if (over_.load()) {
            callback(make_error(Code::kUnavailable, "the connection was closed"));
            return;
        }
        boost::asio::post(stream_.get_executor(),
                          [self = this->shared_from_this(), callback = std::move(callback)] {
                              self->start_read(callback);
                          });
    }

    bool write(std::string bytes) override {
        if (over_.load() || write_ended_.load()) return false;
        if (bytes.empty()) return true;
        const std::size_t size = bytes.size();
        const std::size_t queued = queued_.fetch_add(size) + size;
        if (queued > kMaxStreamQueuedBytes && queued != size) {
            close();
            return false;
        }
        boost::asio::post(stream_.get_executor(),
                          [self = this->shared_from_this(), bytes = std::move(bytes)]() mutable {
                              self->append(std::move(bytes));
                          });
        return true;
    }

    void when_writable(std::function<void()> callback) override {
        if (over_.load()) {
            callback();
            return;
        }
        boost::asio::post(stream_.get_executor(),
                          [self = this->shared_from_this(), callback = std::move(callback)] {
                              if (self->over_.load() || self->queued_.load() <= kStreamLowBytes) {
                                  callback();
                              } else {
                                  self->waiting_.push_back(callback);
                              }
                          });
    }

    void end_writing() override {
        if (write_ended_.exchange(true) || over_.load()) return;
        boost::asio::post(stream_.get_executor(), [self = this->shared_from_this()] {
            self->end_requested_ = true;
            if (!self->writing_) self->send_end();
        });
    }

    void close() override {
        if (over_.load()) return;
        boost::asio::post(stream_.get_executor(),
                          [self = this->shared_from_this()] { self->end(); });
    }

    // On the executor's thread, or when that has ended for good.
    void end() {
        if (over_.exchange(true)) return;
        const auto self = this->shared_from_this();
        linger_.cancel();
        boost::system::error_code ignored;
        stream_.lowest_layer().close(ignored);
        call_waiting();
        if (on_over_) std::exchange(on_over_, nullptr)();
    }

private:
    using ErrorCode = boost::system::error_code;

    static Error gone(const ErrorCode& error) {
        return make_error(Code::kUnavailable, "the connection was lost: {}", error.message());
    }

    void start_read(const ReadCallback& callback) {
        if (!early_.empty()) {
            callback(std::exchange(early_, {}));
        } else if (read_ended_) {
            callback(std::string());
        } else if (over_.load()) {
            callback(make_error(Code::kUnavailable, "the connection was closed"));
        } else {
            in_.resize(read_bytes_);
            stream_.async_read_some(boost::asio::buffer(in_),
                                    [self = this->shared_from_this(),
                                     callback](const ErrorCode& error, std::size_t bytes) {
                                        self->on_read(error, bytes, callback);
                                    });
        }
    }

    void on_read(const ErrorCode& error, std::size_t bytes, const ReadCallback& callback) {
        if (!error) {
            // Idle streams hold little; busy ones need few calls.
            if (bytes == read_bytes_) {
                read_bytes_ = std::min(read_bytes_ * 4, kMaxStreamReadBytes);
            } else if (bytes < read_bytes_ / 16) {
                read_bytes_ = std::max(read_bytes_ / 4, kMinStreamReadBytes);
            }
            in_.resize(bytes);
            callback(std::exchange(in_, {}));
            return;
        }
        in_ = {};
        // Many clients leave without TLS's word of parting, so that a cut counts as an end like any other: what
        // runs over these streams has its own marks of completeness.
        if (error == boost::asio::error::eof || error == boost::asio::ssl::error::stream_truncated) {
            read_ended_ = true;
            if (end_sent_) end();
            callback(std::string());
            return;
        }
        if (error != boost::asio::error::operation_aborted) end();
        callback(gone(error));
    }

    void append(std::string bytes) {
        if (over_.load()) return;
        if (pending_.empty()) {
            pending_ = std::move(bytes);
        } else {
            pending_ += bytes;
        }
        if (!writing_) start_write();
    }

    void start_write() {
        writing_ = true;
        out_ = std::exchange(pending_, {});
        boost::asio::async_write(
            stream_, boost::asio::buffer(out_),
            [self = this->shared_from_this()](const ErrorCode& error, std::size_t) {
                self->on_written(error);
            });
    }

    void on_written(const ErrorCode& error) {
        writing_ = false;
        if (over_.load()) return;
        if (error) {
            end();
            return;
        }
        queued_.fetch_sub(out_.size());
        out_ = {};
        if (!pending_.empty()) {
            start_write();
        } else if (end_requested_) {
            send_end();
        }
        if (queued_.load() <= kStreamLowBytes) call_waiting();
    }

    void send_end() {
        if (over_.load() || end_sent_) return;
        end_sent_ = true;
        linger_.expires_after(std::chrono::milliseconds(kStreamLingerMs));
        linger_.async_wait([self = this->shared_from_this()](const ErrorCode& error) {
            if (!error) self->end();
        });
        if constexpr (std::is_same_v<Stream, TlsStream>) {
            stream_.async_end([self = this->shared_from_this()](const ErrorCode&) {
                // Whether the peer sends more, reads find out.
                if (self->read_ended_) self->end();
            });
        } else {
            ErrorCode ignored;
            stream_.shutdown(boost::asio::ip::tcp::socket::shutdown_send, ignored);
            if (read_ended_) end();
        }
    }

    void call_waiting() {
        for (const auto& callback : std::exchange(waiting_, {})) callback();
    }

    Stream stream_;
    boost::asio::steady_timer linger_;
    std::string early_;
    std::function<void()> on_over_;
    std::string in_;
    std::size_t read_bytes_ = kMinStreamReadBytes;
    bool read_ended_ = false;
    std::string pending_;  // to be sent after out_
    std::string out_;      // being sent
    bool writing_ = false;
    bool end_requested_ = false;
    bool end_sent_ = false;
    std::vector<std::function<void()>> waiting_;
    std::atomic<std::size_t> queued_{0};  // bytes of pending_, out_ and of writes on their way here
    std::atomic<bool> write_ended_{false};
    std::atomic<bool> over_{false};
};

class StreamHandle final : public ByteStream {
public:
    explicit StreamHandle(std::shared_ptr<ByteStream> stream) : stream_(std::move(stream)) {}
    // What was ended for writing is still sent.
    ~StreamHandle() override {
        if (!ended_) stream_->close();
    }
    StreamHandle(const StreamHandle&) = delete;
    StreamHandle& operator=(const StreamHandle&) = delete;

    void read(ReadCallback callback) override { stream_->read(std::move(callback)); }
    bool write(std::string bytes) override { return stream_->write(std::move(bytes)); }
    void when_writable(std::function<void()> callback) override {
        stream_->when_writable(std::move(callback));
    }
    void end_writing() override {
        ended_ = true;
        stream_->end_writing();
    }
    void close() override { stream_->close(); }

private:
    std::shared_ptr<ByteStream> stream_;
    std::atomic<bool> ended_{false};
};

}  // namespace sluice::http
