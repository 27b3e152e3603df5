#include "control/http/tls_stream_private.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/error.hpp>
#include <cerrno>

#include "api/base/result.h"

namespace sluice::http {
namespace {

namespace asio = boost::asio;
using ErrorCode = TlsStream::ErrorCode;

constexpr std::size_t kRecordBytes = 16U << 10U;
constexpr std::size_t kGatherBytes = 128U << 10U;  // of records that leave in one call
constexpr std::size_t kDropBytes = 16U << 10U;

ErrorCode system_error(int number) { return {number, boost::system::system_category()}; }

// Records on their way to the socket, when nothing waits before them; empty between calls.
std::string& scratch() {
    thread_local std::string bytes;
    return bytes;
}

}  // namespace

struct TlsStream::Impl : std::enable_shared_from_this<Impl> {
    Impl(next_layer_type from, SSL_CTX* context) : socket(std::move(from)), ssl(SSL_new(context)) {
        SLUICE_ASSERT(ssl != nullptr);
        SSL_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
        // A record's head, its body and what follows come in one call.
        SSL_set_read_ahead(ssl, 1);
        BIO* bio = BIO_new(method());
        SLUICE_ASSERT(bio != nullptr);
        BIO_set_data(bio, this);
        BIO_set_init(bio, 1);
        SSL_set_bio(ssl, bio, bio);
        ErrorCode ignored;
        socket.native_non_blocking(true, ignored);
    }
    ~Impl() { SSL_free(ssl); }
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;

    static const BIO_METHOD* method();
    static int bio_read(BIO* bio, char* into, int size);
    static int bio_write(BIO* bio, const char* bytes, int size);
    static long bio_control(BIO* bio, int command, long number, void* pointer);

    // Why OpenSSL could not go on, from what SSL_get_error says. would_block: for want of bytes.
    [[nodiscard]] ErrorCode reason(int ssl_error) const;
    // False with would_block when the socket takes no more; what is left waits in `unsent`.
    bool flush(ErrorCode* error);
    std::size_t read_now(char* into, std::size_t size, ErrorCode* error);
    bool write_now(std::string_view* data, ErrorCode* error);
    // Steps of the asynchronous ones: each does what it can and comes again when the socket lets it.
    void read(asio::mutable_buffer into, const IoDone& done);
    void write(std::string_view left, std::size_t size, const IoDone& done);
    void shake(const Done& done);
    void end(const Done& done);
    void drop(const Done& done);
    // Goes on with `next` once the socket is ready; `failed` when it was closed.
    template <class Next, class Failed>
    void wait(next_layer_type::wait_type what, Next next, Failed failed) {
        socket.async_wait(what, [self = shared_from_this(), next = std::move(next),
                                 failed = std::move(failed)](const ErrorCode& error) {
            if (error) return failed(error);
            next(*self);
        });
    }

    next_layer_type socket;
    SSL* ssl;
    std::string unsent;  // records that the socket did not take
    std::size_t sent = 0;  // of them
    int read_error = 0;    // errno of the last read that failed for good
    bool read_ended = false;
};

const BIO_METHOD* TlsStream::Impl::method() {
    static const BIO_METHOD* made = [] {
        BIO_METHOD* out = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
        SLUICE_ASSERT(out != nullptr);
        BIO_meth_set_read(out, bio_read);
        BIO_meth_set_write(out, bio_write);
        BIO_meth_set_ctrl(out, bio_control);
        return out;
    }();
    return made;
}

int TlsStream::Impl::bio_read(BIO* bio, char* into, int size) {
    auto* self = static_cast<Impl*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    while (true) {
        const ssize_t got = recv(self->socket.native_handle(), into, static_cast<std::size_t>(size), 0);
        if (got > 0) return static_cast<int>(got);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            BIO_set_retry_read(bio);
        } else if (got < 0) {
            self->read_error = errno;
        } else {
            self->read_ended = true;
        }
        return static_cast<int>(got);
    }
}

// Takes everything: whoever asked OpenSSL to write then flushes.
int TlsStream::Impl::bio_write(BIO* bio, const char* bytes, int size) {
    auto* self = static_cast<Impl*>(BIO_get_data(bio));
    std::string& out = self->unsent.empty() ? scratch() : self->unsent;
    out.append(bytes, static_cast<std::size_t>(size));
    return size;
}

long TlsStream::Impl::bio_control(BIO* bio, int command, long /*number*/, void* /*pointer*/) {
    if (command == BIO_CTRL_EOF) return static_cast<Impl*>(BIO_get_data(bio))->read_ended ? 1 : 0;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

ErrorCode TlsStream::Impl::reason(int ssl_error) const {
    const unsigned long code = ERR_get_error();
    ERR_clear_error();
    if (ssl_error == SSL_ERROR_WANT_READ) return asio::error::would_block;
    if (ssl_error == SSL_ERROR_ZERO_RETURN) return asio::error::eof;
    if (read_error != 0) return system_error(read_error);
    if (read_ended) return asio::ssl::error::stream_truncated;
    if (code == 0) return asio::ssl::error::unspecified_system_error;
    return {static_cast<int>(code), asio::error::get_ssl_category()};
}

bool TlsStream::Impl::flush(ErrorCode* error) {
    std::string& fresh = scratch();
    const bool waits = !unsent.empty();
    std::string_view left = waits ? std::string_view(unsent).substr(sent) : std::string_view(fresh);
    int failed = 0;
    while (!left.empty() && failed == 0) {
        const ssize_t taken = send(socket.native_handle(), left.data(), left.size(), MSG_NOSIGNAL);
        if (taken < 0) {
            if (errno != EINTR) failed = errno == EWOULDBLOCK ? EAGAIN : errno;
            continue;
        }
        left.remove_prefix(static_cast<std::size_t>(taken));
        if (!left.empty()) failed = EAGAIN;  // the socket is full
    }
    if (failed == EAGAIN) {
        if (waits) {
            sent = unsent.size() - left.size();
        } else {
            unsent = left;
            sent = 0;
            fresh.clear();
        }
        *error = asio::error::would_block;
        return false;
    }
    fresh.clear();
    unsent = {};
    sent = 0;
    *error = failed == 0 ? ErrorCode() : system_error(failed);
    return failed == 0;
}

std::size_t TlsStream::Impl::read_now(char* into, std::size_t size, ErrorCode* error) {
    ERR_clear_error();
    std::size_t got = 0;
    const int ok = SSL_read_ex(ssl, into, size, &got);
    *error = ok == 1 ? ErrorCode() : reason(SSL_get_error(ssl, ok));
    // What OpenSSL had to say itself, to new keys for instance; should that fail, the next write shows it.
    if (!scratch().empty()) {
        ErrorCode ignored;
        flush(&ignored);
    }
    return ok == 1 ? got : 0;
}

bool TlsStream::Impl::write_now(std::string_view* data, ErrorCode* error) {
    // What waits goes first: records are made when the socket takes them.
    if (!unsent.empty() && !flush(error)) return false;
    do {
        while (!data->empty() && scratch().size() < kGatherBytes) {
            ERR_clear_error();
            std::size_t taken = 0;
            const int ok = SSL_write_ex(ssl, data->data(), std::min(data->size(), kRecordBytes), &taken);
            if (ok != 1) {
                *error = reason(SSL_get_error(ssl, ok));
                scratch().clear();
                return false;
            }
            data->remove_prefix(taken);
        }
        if (!flush(error)) return false;
    } while (!data->empty());
    return true;
}

void TlsStream::Impl::read(asio::mutable_buffer into, const IoDone& done) {
    ErrorCode error;
    const std::size_t got = read_now(static_cast<char*>(into.data()), into.size(), &error);
    if (error != asio::error::would_block) return done(error, got);
    wait(next_layer_type::wait_read, [into, done](Impl& self) { self.read(into, done); },
         [done](const ErrorCode& failed) { done(failed, 0); });
}

void TlsStream::Impl::write(std::string_view left, std::size_t size, const IoDone& done) {
    ErrorCode error;
    if (write_now(&left, &error)) return done({}, size);
    if (error != asio::error::would_block) return done(error, 0);
    wait(next_layer_type::wait_write, [left, size, done](Impl& self) { self.write(left, size, done); },
         [done](const ErrorCode& failed) { done(failed, 0); });
}

void TlsStream::Impl::shake(const Done& done) {
    ERR_clear_error();
    const int shaken = SSL_do_handshake(ssl);
    const ErrorCode why = shaken == 1 ? ErrorCode() : reason(SSL_get_error(ssl, shaken));
    ErrorCode error;
    const bool flushed = flush(&error);
    if (why && why != asio::error::would_block) return done(why);
    if (!flushed && error != asio::error::would_block) return done(error);
    if (!why && flushed) return done({});
    wait(flushed ? next_layer_type::wait_read : next_layer_type::wait_write,
         [done](Impl& self) { self.shake(done); }, done);
}

void TlsStream::Impl::end(const Done& done) {
    ErrorCode error;
    if (flush(&error)) return done({});
    if (error != asio::error::would_block) return done(error);
    wait(next_layer_type::wait_write, [done](Impl& self) { self.end(done); }, done);
}

void TlsStream::Impl::drop(const Done& done) {
    std::array<char, kDropBytes> bytes;
    const ssize_t got = recv(socket.native_handle(), bytes.data(), bytes.size(), 0);
    const bool more = got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
    if (!more) return done({});
    wait(next_layer_type::wait_read, [done](Impl& self) { self.drop(done); }, done);
}

TlsStream::TlsStream(next_layer_type socket, ssl_ctx_st* context)
    : impl_(std::make_shared<Impl>(std::move(socket), context)) {}
TlsStream::~TlsStream() = default;
TlsStream::TlsStream(TlsStream&&) noexcept = default;

TlsStream::next_layer_type& TlsStream::next_layer() { return impl_->socket; }
ssl_st* TlsStream::native_handle() { return impl_->ssl; }
bool TlsStream::has_pending() const { return SSL_has_pending(impl_->ssl) == 1; }

std::size_t TlsStream::read_now(char* into, std::size_t size, ErrorCode* error) {
    return impl_->read_now(into, size, error);
}
bool TlsStream::write_now(std::string_view* data, ErrorCode* error) { return impl_->write_now(data, error); }

void TlsStream::async_handshake(Side side, const Done& done) {
    if (side == Side::kServer) {
        SSL_set_accept_state(impl_->ssl);
    } else {
        SSL_set_connect_state(impl_->ssl);
    }
    impl_->shake(done);
}

void TlsStream::start_read(asio::mutable_buffer into, const IoDone& done) {
    if (has_pending()) {
        asio::post(get_executor(), [impl = impl_, into, done] { impl->read(into, done); });
    } else {
        impl_->wait(next_layer_type::wait_read, [into, done](Impl& self) { self.read(into, done); },
                    [done](const ErrorCode& failed) { done(failed, 0); });
    }
}

void TlsStream::start_write(asio::const_buffer data, const IoDone& done) {
    std::string_view left(static_cast<const char*>(data.data()), data.size());
    ErrorCode error;
    const bool written = impl_->write_now(&left, &error);
    if (!written && error == asio::error::would_block) {
        impl_->wait(next_layer_type::wait_write,
                    [left, size = data.size(), done](Impl& self) { self.write(left, size, done); },
                    [done](const ErrorCode& failed) { done(failed, 0); });
        return;
    }
    asio::post(get_executor(), [error, size = written ? data.size() : 0, done] { done(error, size); });
}

void TlsStream::async_end(const Done& done) {
    ERR_clear_error();
    // Of a connection that was lost or never shaken hands on nothing can be told.
    SSL_shutdown(impl_->ssl);
    ERR_clear_error();
    impl_->end(done);
}

void TlsStream::async_part(const Done& done) {
    async_end([impl = impl_, done](const ErrorCode& error) {
        if (error) return done(error);
        impl->drop(done);
    });
}

}  // namespace sluice::http
