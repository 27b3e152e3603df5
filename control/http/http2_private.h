// One connection of HTTP/2 over TLS: the socket of an Http2Session. Private to this folder; carries Asio types.
#pragma once

#include <array>
#include <boost/asio/ip/tcp.hpp>
#include <memory>
#include <string>

#include "control/http/http2_session_private.h"
#include "control/http/loop_private.h"
#include "control/http/peer_private.h"
#include "control/http/socket_stream_private.h"
#include "control/http/tls.h"

namespace sluice::http {

class Http2Connection final : public Peer, public std::enable_shared_from_this<Http2Connection> {
public:
    Http2Connection(Loop* loop, TlsStream stream, const std::string& remote,
                    CertificateIdentity certificate);

    void start();
    [[nodiscard]] bool is_late(Clock::time_point now) const override {
        return now >= deadline_ || (!closing_ && session_ != nullptr && session_->is_late(now));
    }
    void check_deadline(Clock::time_point now) override;
    void drain() override;
    void close() override;

private:
    using ErrorCode = boost::system::error_code;

    void read();
    void on_bytes(const ErrorCode& error, std::size_t bytes);
    void flush();
    void on_written(const ErrorCode& error);
    void close_gracefully();

    static constexpr std::size_t kReadBytes = 16U << 10U;

    Loop* loop_;
    Shared* shared_;
    TlsStream stream_;
    std::string remote_;
    CertificateIdentity certificate_;
    std::unique_ptr<Http2Session> session_;
    std::array<char, kReadBytes> in_{};
    std::string out_;
    bool writing_ = false;
    bool closing_ = false;
    bool closed_ = false;
    Clock::time_point deadline_ = Clock::time_point::max();  // of the write, or of closing
};

// Makes one and gives it to the loop. REQUIRES: on the loop's thread; the handshake is complete.
void start_http2(Loop* loop, TlsStream stream, const std::string& remote,
                 CertificateIdentity certificate);

}  // namespace sluice::http
