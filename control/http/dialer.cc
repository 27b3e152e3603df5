#include "control/http/dialer.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <atomic>
#include <boost/asio/connect.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <cstring>
#include <exception>
#include <optional>
#include <thread>
#include <unordered_map>

#include "api/base/host_port.h"
#include "api/base/log.h"
#include "control/http/answer_head.h"
#include "control/http/socket_stream_private.h"
#include "control/http/tls.h"

namespace sluice::http {
namespace {

namespace asio = boost::asio;
using ErrorCode = boost::system::error_code;

constexpr std::string_view kComponent = "dialer";
constexpr std::size_t kHeadReadBytes = 4U << 10U;

class OpensslTls final : public ClientTls {
public:
    OpensslTls() : context(SSL_CTX_new(TLS_client_method())) {}
    const SslContext context;
};

std::string host_of(const DialRequest& request) {
    return host_and_port(request.address.empty() ? request.host : request.address, request.port);
}

// What Go says of a certificate that does not verify.
std::string why_untrusted(long verdict) {
    switch (verdict) {
        case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
        case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        case X509_V_ERR_CERT_SIGNATURE_FAILURE:
            return "certificate signed by unknown authority";
        case X509_V_ERR_CERT_HAS_EXPIRED:
        case X509_V_ERR_CERT_NOT_YET_VALID:
            return "certificate has expired or is not yet valid";
        default: return X509_verify_cert_error_string(verdict);
    }
}

// As Go's clients put it, lower case and without glibc's capital.
std::string reason(const ErrorCode& error) {
    std::string text = error.message();
    if (!text.empty() && text.front() >= 'A' && text.front() <= 'Z') text.front() += 32;
    return text;
}

// The answer's body as a stream that is only read.
class BodyStream final : public ByteStream, public std::enable_shared_from_this<BodyStream> {
public:
    BodyStream(std::shared_ptr<ByteStream> raw, BodyDecoder decoder)
        : raw_(std::move(raw)), decoder_(std::move(decoder)) {}
    void read(ReadCallback callback) override {
        if (decoder_.done()) {
            raw_->when_writable([callback = std::move(callback)] { callback(std::string()); });
            return;
        }
        raw_->read([self = shared_from_this(),
                    callback = std::move(callback)](Result<std::string> bytes) {
            if (!bytes) {
                callback(std::move(bytes));
            } else if (bytes->empty()) {
                if (self->decoder_.may_end()) {
                    callback(std::string());
                } else {
                    callback(make_error(Code::kDataLoss, "the answer ended early"));
                }
            } else {
                std::string body;
                const auto fed = self->decoder_.feed(*bytes, &body);
                if (!fed) {
                    callback(fed.error());
                } else if (body.empty() && !self->decoder_.done()) {
                    self->read(callback);
                } else {
                    callback(std::move(body));
                }
            }
        });
    }
    bool write(std::string /*bytes*/) override { return false; }
    void when_writable(std::function<void()> callback) override {
        raw_->when_writable(std::move(callback));
    }
    void end_writing() override {}
    void close() override { raw_->close(); }

private:
    std::shared_ptr<ByteStream> raw_;
    BodyDecoder decoder_;
};

struct DialLoop {
    // How to end each open stream, by number. Only the thread touches it while it runs. Declared before the context, so
    // that what is destroyed with that still finds it.
    std::unordered_map<std::uint64_t, std::function<void()>> open;
    asio::io_context context{1};
    asio::executor_work_guard<asio::io_context::executor_type> work{context.get_executor()};
    std::thread thread;
};

// From an address to an answer's head. All on its loop's thread.
class Attempt : public std::enable_shared_from_this<Attempt> {
public:
    // number: of the stream that it brings, in DialLoop::open.
    Attempt(DialLoop& loop, std::uint64_t number, DialRequest request, Dialer::Callback callback,
            std::shared_ptr<std::atomic<std::size_t>> count)
        : loop_(loop),
          number_(number),
          request_(std::move(request)),
          callback_(std::move(callback)),
          socket_(loop.context),
          timer_(loop.context),
          resolver_(loop.context),
          count_(std::move(count)) {}
    ~Attempt() {
        if (count_) count_->fetch_sub(1);
    }
    Attempt(const Attempt&) = delete;
    Attempt& operator=(const Attempt&) = delete;

    void start() {
        const bool resolves = request_.address.empty();
        ErrorCode error;
        const auto address = asio::ip::make_address(resolves ? request_.host : request_.address, error);
        if (error && !resolves) {
            finish(make_error(Code::kInvalidArgument, "dial tcp: \"{}\" is not an IP address",
                              request_.address));
            return;
        }
        timer_.expires_after(std::chrono::milliseconds(request_.timeout_ms));
        timer_.async_wait([self = shared_from_this()](const ErrorCode& cancelled) {
            if (cancelled || !self->callback_) return;
            self->end(make_error(Code::kDeadlineExceeded, "dial tcp {}: i/o timeout", host_of(self->request_)));
        });
        if (error) return resolve();
        socket_.async_connect({address, request_.port},
                              [self = shared_from_this()](const ErrorCode& failed) {
                                  self->connected(failed);
                              });
    }

    void give_up() {
        if (callback_) end(make_error(Code::kCancelled, "dial tcp {}: it was given up", host_of(request_)));
    }

private:
    void end(Error error) {
        finish(std::move(error));
        ErrorCode ignored;
        resolver_.cancel();
        lowest().close(ignored);
    }

    void finish(Result<DialAnswer> answer) {
        if (!callback_) return;
        timer_.cancel();
        std::exchange(callback_, nullptr)(std::move(answer));
    }

    PlainStream::lowest_layer_type& lowest() {
        return tls_ ? tls_->lowest_layer() : socket_.lowest_layer();
    }

    void resolve() {
        resolver_.async_resolve(
            request_.host, std::to_string(request_.port), asio::ip::resolver_base::numeric_service,
            [self = shared_from_this()](const ErrorCode& failed,
                                        const asio::ip::tcp::resolver::results_type& found) {
                if (!self->callback_) return;
                if (failed) {
                    self->finish(make_error(Code::kUnavailable, "dial tcp: lookup {}: {}", self->request_.host,
                                            reason(failed)));
                    return;
                }
                asio::async_connect(self->socket_, found,
                                    [self](const ErrorCode& error, const asio::ip::tcp::endpoint&) {
                                        self->connected(error);
                                    });
            });
    }

    void connected(const ErrorCode& error) {
        if (!callback_) return;
        if (error) {
            finish(make_error(Code::kUnavailable, "dial tcp {}: connect: {}", host_of(request_),
                              reason(error)));
            return;
        }
        ErrorCode ignored;
        socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
        socket_.set_option(asio::socket_base::keep_alive(true), ignored);
        if (!request_.tls) {
            connection_ready();
            return;
        }
        tls_.emplace(std::move(socket_), static_cast<const OpensslTls&>(*request_.tls).context.get());
        SSL_set_verify(tls_->native_handle(),
                       request_.skip_verify ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, nullptr);
        if (!request_.server_name.empty()) {
            SSL_set_tlsext_host_name(tls_->native_handle(), request_.server_name.c_str());
        }
        tls_->async_handshake(TlsStream::Side::kClient,
                              [self = shared_from_this()](const ErrorCode& failed) {
                                  self->shaken(failed);
                              });
    }

    void shaken(const ErrorCode& error) {
        if (!callback_) return;
        if (error) {
            const long verdict = SSL_get_verify_result(tls_->native_handle());
            if (!request_.skip_verify && verdict != X509_V_OK && !request_.server_name.empty()) {
                finish(make_error(Code::kPermissionDenied, "tls: failed to verify certificate: x509: {}",
                                  why_untrusted(verdict)));
            } else if (!request_.skip_verify && verdict != X509_V_OK) {
                finish(make_error(Code::kPermissionDenied,
                                  "tls: failed to verify certificate of {}: {}", host_of(request_),
                                  X509_verify_cert_error_string(verdict)));
            } else {
                finish(make_error(Code::kUnavailable, "tls: handshake with {} failed: {}",
                                  host_of(request_), reason(error)));
            }
            return;
        }
        if (!request_.skip_verify && !names_fit()) {
            finish(make_error(Code::kPermissionDenied,
                              "tls: failed to verify certificate: x509: certificate is not valid for {}",
                              request_.server_name.empty() ? request_.address : request_.server_name));
            return;
        }
        connection_ready();
    }

    void connection_ready() {
        if (!request_.method.empty()) return send_head();
        DialAnswer answer;
        answer.stream = tls_ ? own(std::move(*tls_), {}) : own(std::move(socket_), {});
        finish(std::move(answer));
    }

    [[nodiscard]] bool names_fit() {
        X509* certificate = SSL_get0_peer_certificate(tls_->native_handle());
        if (certificate == nullptr) return false;
        if (!request_.server_name.empty()) {
            const std::string& name = request_.server_name;
            return X509_check_host(certificate, name.data(), name.size(), 0, nullptr) == 1 ||
                   X509_check_ip_asc(certificate, name.c_str(), 0) == 1;
        }
        if (X509_check_ip_asc(certificate, request_.address.c_str(), 0) == 1) return true;
        for (const auto& name : request_.server_names) {
            if (!name.empty() &&
                X509_check_host(certificate, name.data(), name.size(), 0, nullptr) == 1) {
                return true;
            }
        }
        return false;
    }

    template <class Action>
    void with_stream(Action action) {
        if (tls_) {
            action(*tls_);
        } else {
            action(socket_);
        }
    }

    void send_head() {
        if (request_.waits_for_answer) timer_.cancel();
        buffer_ = request_head(request_, host_of(request_)) + request_.body;
        with_stream([this](auto& stream) {
            asio::async_write(stream, asio::buffer(buffer_),
                              [self = shared_from_this()](const ErrorCode& error, std::size_t) {
                                  if (!self->callback_) return;
                                  if (error) {
                                      self->finish(make_error(Code::kUnavailable, "write tcp {}: {}",
                                                              host_of(self->request_),
                                                              reason(error)));
                                      return;
                                  }
                                  self->buffer_.clear();
                                  self->read_head();
                              });
        });
    }

    void read_head() {
        const std::size_t size = buffer_.size();
        if (size > kMaxAnswerHeadBytes) {
            finish(make_error(Code::kDataLoss, "the answer's header is above {} bytes",
                              kMaxAnswerHeadBytes));
            return;
        }
        buffer_.resize(size + kHeadReadBytes);
        with_stream([this, size](auto& stream) {
            stream.async_read_some(
                asio::buffer(buffer_.data() + size, kHeadReadBytes),
                [self = shared_from_this(), size](const ErrorCode& error, std::size_t bytes) {
                    self->on_head(error, size, bytes);
                });
        });
    }

    void on_head(const ErrorCode& error, std::size_t before, std::size_t bytes) {
        if (!callback_) return;
        buffer_.resize(before + bytes);
        if (error) {
            finish(make_error(Code::kUnavailable, "read tcp {}: {}", host_of(request_),
                              reason(error)));
            return;
        }
        const std::size_t end = buffer_.find("\r\n\r\n", before < 3 ? 0 : before - 3);
        if (end == std::string::npos) {
            read_head();
            return;
        }
        auto answer = parse_answer_head(std::string_view(buffer_).substr(0, end));
        if (!answer) {
            finish(answer.error());
            return;
        }
        std::string early = buffer_.substr(end + 4);
        if (answer->status == 100) {
            buffer_ = std::move(early);
            on_head({}, buffer_.size(), 0);
            return;
        }
        answer->stream = tls_ ? own(std::move(*tls_), std::move(early))
                              : own(std::move(socket_), std::move(early));
        if (answer->status != 101) {
            auto decoder = answer_decoder(*answer, request_.method);
            if (!decoder) {
                finish(decoder.error());
                return;
            }
            answer->stream = std::make_shared<BodyStream>(answer->stream, std::move(*decoder));
        }
        finish(std::move(answer));
    }

    template <class Stream>
    std::shared_ptr<ByteStream> own(Stream connection, std::string early) {
        auto stream = std::make_shared<SocketStream<Stream>>(
            std::move(connection), std::move(early),
            [number = number_, &loop = loop_, count = std::exchange(count_, nullptr)] {
                count->fetch_sub(1);
                loop.open.erase(number);
            });
        loop_.open.emplace(number_, [weak = std::weak_ptr(stream)] {
            if (const auto live = weak.lock()) live->end();
        });
        return std::make_shared<StreamHandle>(std::move(stream));
    }

    DialLoop& loop_;
    const std::uint64_t number_;
    DialRequest request_;
    Dialer::Callback callback_;
    PlainStream socket_;
    std::optional<TlsStream> tls_;
    asio::steady_timer timer_;
    asio::ip::tcp::resolver resolver_;
    std::shared_ptr<std::atomic<std::size_t>> count_;
    std::string buffer_;
};

class AsioDialer final : public Dialer {
public:
    explicit AsioDialer(int threads) {
        for (int i = 0; i < std::max(1, threads); ++i) {
            auto& loop = *loops_.emplace_back(std::make_shared<DialLoop>());
            loop.thread = std::thread([&loop] { run(&loop); });
        }
    }
    ~AsioDialer() override {
        for (auto& loop : loops_) loop->context.stop();
        for (auto& loop : loops_) loop->thread.join();
        // Streams that others still hold are over from here on, and do not come back to the threads.
        for (auto& loop : loops_) {
            for (const auto& [number, end] : std::exchange(loop->open, {})) end();
        }
    }
    AsioDialer(const AsioDialer&) = delete;
    AsioDialer& operator=(const AsioDialer&) = delete;

    End dial(DialRequest request, Callback callback) override {
        if (count_->fetch_add(1) >= kMaxDialedConnections) {
            count_->fetch_sub(1);
            callback(make_error(Code::kResourceExhausted, "more than {} connections are open",
                                kMaxDialedConnections));
            return [] {};
        }
        const std::uint64_t number = next_.fetch_add(1);
        const auto& loop = loops_[number % loops_.size()];
        auto attempt = std::make_shared<Attempt>(*loop, number, std::move(request), std::move(callback), count_);
        asio::post(loop->context, [attempt] { attempt->start(); });
        return [weak_loop = std::weak_ptr(loop), weak = std::weak_ptr(attempt), number] {
            const auto running = weak_loop.lock();
            if (!running) return;
            asio::post(running->context, [&open = running->open, weak, number] {
                if (const auto live = weak.lock()) live->give_up();
                const auto brought = open.find(number);
                if (brought == open.end()) return;
                const auto end = brought->second;  // which takes itself out
                end();
            });
        };
    }
    [[nodiscard]] std::size_t connections() const override { return count_->load(); }

private:
    static void run(DialLoop* loop) {
        while (true) {
            try {
                loop->context.run();
                return;
            } catch (const std::exception& exception) {
                log::error(kComponent, "a connection failed: {}", exception.what());
            }
        }
    }

    std::shared_ptr<std::atomic<std::size_t>> count_ = std::make_shared<std::atomic<std::size_t>>();
    std::vector<std::shared_ptr<DialLoop>> loops_;
    std::atomic<std::uint64_t> next_{0};
};

using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;

Bio reader(const std::string& text) {
    return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), &BIO_free);
}

Error unusable(const char* what) {
    ERR_clear_error();
    return make_error(Code::kInvalidArgument, "{} cannot be used", what);
}

Result<void> load_authorities(SSL_CTX* context, const std::string& ca_pem) {
    const Bio ca = reader(ca_pem);
    int count = 0;
    while (X509* certificate = PEM_read_bio_X509(ca.get(), nullptr, nullptr, nullptr)) {
        X509_STORE_add_cert(SSL_CTX_get_cert_store(context), certificate);
        X509_free(certificate);
        ++count;
    }
    ERR_clear_error();
    if (count == 0) return unusable("the authority's certificate");
    return {};
}

// The settings of every client, and its pair, if it has one.
Result<void> load_client(SSL_CTX* context, const std::string& certificate_pem, const std::string& private_key_pem) {
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    if (certificate_pem.empty()) return {};
    const Bio chain = reader(certificate_pem);
    X509* leaf = PEM_read_bio_X509(chain.get(), nullptr, nullptr, nullptr);
    const bool used = leaf != nullptr && SSL_CTX_use_certificate(context, leaf) == 1;
    X509_free(leaf);
    if (!used) return unusable("the client certificate");
    const Bio key_text = reader(private_key_pem);
    EVP_PKEY* key = PEM_read_bio_PrivateKey(key_text.get(), nullptr, nullptr, nullptr);
    const bool fits = key != nullptr && SSL_CTX_use_PrivateKey(context, key) == 1 &&
                      SSL_CTX_check_private_key(context) == 1;
    EVP_PKEY_free(key);
    if (!fits) return unusable("the client certificate's private key");
    return {};
}

class Collector : public std::enable_shared_from_this<Collector> {
public:
    Collector(std::shared_ptr<ByteStream> stream, std::size_t max_bytes,
              std::function<void(std::string)> callback)
        : stream_(std::move(stream)), max_bytes_(max_bytes), callback_(std::move(callback)) {}
    void next() {
        stream_->read([self = shared_from_this()](Result<std::string> bytes) {
            if (bytes) self->text_ += *bytes;
            if (!bytes || bytes->empty() || self->text_.size() >= self->max_bytes_) {
                if (self->text_.size() > self->max_bytes_) self->text_.resize(self->max_bytes_);
                self->stream_->close();
                self->callback_(std::move(self->text_));
                return;
            }
            self->next();
        });
    }

private:
    std::shared_ptr<ByteStream> stream_;
    std::size_t max_bytes_;
    std::function<void(std::string)> callback_;
    std::string text_;
};

}  // namespace

Result<std::shared_ptr<const ClientTls>> ClientTls::create(const std::string& ca_pem,
                                                           const std::string& certificate_pem,
                                                           const std::string& private_key_pem) {
    auto tls = std::make_shared<OpensslTls>();
    SLUICE_TRY(load_authorities(tls->context.get(), ca_pem));
    SLUICE_TRY(load_client(tls->context.get(), certificate_pem, private_key_pem));
    return std::shared_ptr<const ClientTls>(std::move(tls));
}

Result<std::shared_ptr<const ClientTls>> ClientTls::create_with_system_roots(
    const std::string& certificate_pem, const std::string& private_key_pem) {
    auto tls = std::make_shared<OpensslTls>();
    SSL_CTX* context = tls->context.get();
    SLUICE_TRY(load_client(context, certificate_pem, private_key_pem));
    if (SSL_CTX_set_default_verify_paths(context) != 1) {
        ERR_clear_error();
        return make_error(Code::kInternal, "the system's certificate authorities cannot be read");
    }
    return std::shared_ptr<const ClientTls>(std::move(tls));
}

std::unique_ptr<Dialer> Dialer::create(int threads) { return std::make_unique<AsioDialer>(threads); }

void read_all(std::shared_ptr<ByteStream> stream, std::size_t max_bytes,
              std::function<void(std::string)> callback) {
    std::make_shared<Collector>(std::move(stream), max_bytes, std::move(callback))->next();
}

}  // namespace sluice::http
