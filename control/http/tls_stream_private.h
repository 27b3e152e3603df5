// TLS over a socket of Asio's. Private to this folder; carries Asio types.
//
// asio::ssl::stream copies every byte through buffers of its own, 70 KiB for each connection, and queues an operation
// for each step. Here OpenSSL reads from the socket and what it writes goes to the socket: what can be done at once is
// done at once, records that are written together leave in one call, and an idle connection holds no buffer at all.
//
// Everything runs on the executor's one thread. Operations that are under way keep what they need alive, but for the
// caller's buffers; closing the socket ends them.
#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/system/error_code.hpp>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>

struct ssl_st;
struct ssl_ctx_st;

namespace sluice::http {

class TlsStream {
public:
    using next_layer_type = boost::asio::ip::tcp::socket;
    using lowest_layer_type = next_layer_type::lowest_layer_type;
    using executor_type = next_layer_type::executor_type;
    using ErrorCode = boost::system::error_code;
    using Done = std::function<void(const ErrorCode&)>;
    using IoDone = std::function<void(const ErrorCode&, std::size_t)>;
    enum class Side { kClient, kServer };

    // The context is used until the stream is gone.
    TlsStream(next_layer_type socket, ssl_ctx_st* context);
    ~TlsStream();
    TlsStream(TlsStream&&) noexcept;
    TlsStream& operator=(TlsStream&&) = delete;

    [[nodiscard]] next_layer_type& next_layer();
    [[nodiscard]] lowest_layer_type& lowest_layer() { return next_layer().lowest_layer(); }
    [[nodiscard]] executor_type get_executor() { return next_layer().get_executor(); }
    [[nodiscard]] ssl_st* native_handle();

    // May call back before it returns.
    void async_handshake(Side side, const Done& done);

    // Bytes came that were not read yet; part of a record is enough.
    [[nodiscard]] bool has_pending() const;
    // What can be read without waiting, from one record. would_block: nothing. eof: the peer has said that nothing
    // follows; stream_truncated: it went without saying so.
    std::size_t read_now(char* into, std::size_t size, ErrorCode* error);
    // Takes from `data` what it could pass on, and tells whether all of it, and all before it, is with the kernel. With
    // would_block the rest, which may be empty, is to be written again once the socket can be written.
    bool write_now(std::string_view* data, ErrorCode* error);
    // Calls back when the socket can be read, or written.
    template <class Handler>
    void when_readable(Handler handler) {
        next_layer().async_wait(next_layer_type::wait_read, std::move(handler));
    }
    template <class Handler>
    void when_writable(Handler handler) {
        next_layer().async_wait(next_layer_type::wait_write, std::move(handler));
    }

    // Asio's AsyncStream. One read and one write at a time; never calls back before it returns.
    template <class Buffers>
    void async_read_some(const Buffers& buffers, const IoDone& done) {
        start_read(*boost::asio::buffer_sequence_begin(buffers), done);
    }
    template <class Buffers>
    void async_write_some(const Buffers& buffers, const IoDone& done) {
        boost::asio::const_buffer first;
        for (auto at = boost::asio::buffer_sequence_begin(buffers);
             at != boost::asio::buffer_sequence_end(buffers) && first.size() == 0; ++at) {
            first = *at;
        }
        start_write(first, done);
    }

    // Tells the peer that nothing follows, behind what was written. Reading may go on. May call back before it
    // returns.
    void async_end(const Done& done);
    // The same, and drops what comes until the peer has closed: to close with bytes unread would take the last answer
    // away from the peer.
    void async_part(const Done& done);

private:
    struct Impl;

    void start_read(boost::asio::mutable_buffer into, const IoDone& done);
    void start_write(boost::asio::const_buffer data, const IoDone& done);

    std::shared_ptr<Impl> impl_;
};

}  // namespace sluice::http
