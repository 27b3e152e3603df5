// One HTTP/1.1 connection over TLS. Private to this folder; carries Asio and Beast types.
//
// All of it runs on its loop's thread, but for wake(). One request is answered at a time; what a client has sent
// beyond it (pipelining) waits in the buffer. While a stream runs, a small read stays outstanding, so that a
// client that went away is noticed without anything to write.
//
//   kHandshake -> kIdle -> kHeader -> kBody -> kHandling -> kWriting -> kIdle ...
//                                                       `-> kStreaming -'
//                                       kHandling -> kWriting -> kUpgraded: the socket is a SocketStream's
//   kHandshake -> kClosed: the client speaks HTTP/2, and the socket went to http2_private.h
//   every state -> kClosing (TLS close, or discarding what was not read) -> kClosed
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <chrono>
#include <memory>
#include <string>

#include "control/http/answer.h"
#include "control/http/byte_stream.h"
#include "control/http/head.h"
#include "control/http/loop_private.h"
#include "control/http/request_reader_private.h"
#include "control/http/tls.h"
#include "control/http/tls_stream_private.h"

namespace sluice::http {

class Connection final : public Peer,
                         public AnswerSink,
                         public std::enable_shared_from_this<Connection> {
public:
    Connection(Loop* loop, boost::asio::ip::tcp::socket socket);
    ~Connection() override = default;

    // All on the loop's thread. The loop owns the connection from start() to close().
    void start();
    void check_deadline(Clock::time_point now) override;
    [[nodiscard]] bool is_late(Clock::time_point now) const override { return now >= deadline_; }
    void drain() override;
    void close() override;

    // From any thread, under the Answer's lock.
    void wake(bool stream) override;
    // Writes what is there for the client; on the loop's thread.
    void pull();

private:
    enum class State {
        kHandshake,
        kIdle,
        kHeader,
        kBody,
        kHandling,
        kWriting,
        kStreaming,
        kUpgraded,
        kClosing,
        kClosed,
    };
    using ErrorCode = boost::system::error_code;

    void on_handshake(const ErrorCode& error);
    void hand_over();
    void await_request();
    void read();
    void watch_client();
    void await_bytes();
    void take_bytes(ErrorCode error);
    void on_bytes(std::string_view bytes);
    void parse();
    // What the request itself is refused for: counted, and answered without a handler.
    void refuse_request(Response answer, bool oversized);
    [[nodiscard]] bool accept_header();
    void send_continue();
    // False if the credentials were refused (and answered).
    [[nodiscard]] bool authenticate();
    void dispatch();
    void write_response(Response response);
    void write_stream(Answer::Work work);
    void write_upgrade(Answer::Work work);
    void open_upgraded();
    void start_write();
    void write_on();
    void on_written(const ErrorCode& error);
    void request_done();
    // Answers without a handler, then closes: what remains of the request is not read.
    void refuse(Response response);
    void close_gracefully();
    void discard_input();
    void set_deadline(std::uint32_t ms) { deadline_ = Clock::now() + std::chrono::milliseconds(ms); }
    void clear_deadline() { deadline_ = Clock::time_point::max(); }
    [[nodiscard]] bool stays_open() const;

    Loop* loop_;
    Shared* shared_;
    TlsStream stream_;
    std::string remote_;
    CertificateIdentity certificate_;
    State state_ = State::kHandshake;
    Clock::time_point deadline_ = Clock::time_point::max();

    boost::beast::flat_buffer buffer_;
    bool reading_ = false;  // bytes are waited for
    RequestReader reader_;
    bool header_seen_ = false;  // of the request being read
    bool parse_due_ = false;  // what is in the buffer was not looked at yet
    Identity identity_;  // of the request being read

    std::shared_ptr<Answer> answer_;
    bool in_handler_ = false;
    bool pull_after_handler_ = false;
    bool head_only_ = false;
    bool http10_ = false;
    bool keep_alive_ = true;
    bool gzip_accepted_ = false;
    bool discard_after_write_ = false;
    Framing framing_ = Framing::kLength;
    bool writing_ = false;
    bool write_waits_ = false;  // for the socket
    bool last_write_ = false;   // of this request
    std::string out_;           // head, and the body when it is small
    std::string out_body_;
    std::size_t out_body_offset_ = 0;
    std::string_view left_;       // of out_ while that is written
    std::string_view left_body_;  // of out_body_
    std::size_t discarded_bytes_ = 0;
    Responder::OpenCallback on_open_;  // of the 101 being written
    std::function<void()> end_upgraded_;
};

}  // namespace sluice::http
