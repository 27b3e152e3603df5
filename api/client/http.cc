// See http.h. Each connection has its own io_context, which the calling thread runs for the length of one
// operation: that gives blocking calls with deadlines and cancellation without a thread of our own.
#include "api/client/http.h"

#include <openssl/evp.h>
#include <openssl/x509_vfy.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>
#include <cctype>
#include <chrono>
#include <mutex>
#include <optional>

#include "api/base/host_port.h"

namespace sluice::client {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;
using boost::system::error_code;

constexpr std::size_t kReadChunkBytes = 64U << 10U;

Error transport_error(const ClientConfig& config, std::string_view step, const error_code& error) {
    if (error == beast::error::timeout) {
        return make_error(Code::kDeadlineExceeded, "{}: {} timed out", config.url(), step);
    }
    if (error == asio::error::operation_aborted) {
        return make_error(Code::kCancelled, "{}: {} was stopped", config.url(), step);
    }
    return make_error(Code::kUnavailable, "{}: {}: {}", config.url(), step, error.message());
}

class Connection {
public:
    explicit Connection(const ClientConfig& config, asio::ssl::context* tls) : config_(config) {
        if (tls != nullptr) {
            tls_.emplace(ioc_, *tls);
        } else {
            plain_.emplace(ioc_);
        }
    }

    Result<void> open(const std::stop_token& stop) {
        SLUICE_TRY_ASSIGN(const auto endpoints, resolve(stop));
        error_code error = run(kConnectTimeoutMs, stop, [&](auto done) {
            lowest().async_connect(endpoints, [done](error_code e, const tcp::endpoint&) { done(e); });
        });
        if (error) return transport_error(config_, "connect", error);
        error_code ignored;
        lowest().socket().set_option(tcp::no_delay(true), ignored);
        lowest().socket().set_option(asio::socket_base::keep_alive(true), ignored);
        if (!tls_) return {};
        const std::string& name =
            config_.tls_server_name.empty() ? config_.host : config_.tls_server_name;
        error_code numeric;
        asio::ip::make_address(name, numeric);
        SSL* const ssl = tls_->native_handle();
        if (numeric) SSL_set_tlsext_host_name(ssl, name.c_str());
        if (!config_.insecure_skip_tls_verify) {
            // By OpenSSL itself rather than by Asio's callback, whose refusal has no reason in the verify result.
            X509_VERIFY_PARAM* const expected = SSL_get0_param(ssl);
            const int set = numeric ? X509_VERIFY_PARAM_set1_host(expected, name.data(), name.size())
                                    : X509_VERIFY_PARAM_set1_ip_asc(expected, name.c_str());
            if (set != 1) {
                return make_error(Code::kInvalidArgument, "{}: \"{}\" cannot be looked for in a certificate",
                                  config_.url(), name);
            }
        }
        error = run(kConnectTimeoutMs, stop, [&](auto done) {
            tls_->async_handshake(asio::ssl::stream_base::client, [done](error_code e) { done(e); });
        });
        if (error) {
            const long verify = SSL_get_verify_result(tls_->native_handle());
            if (verify != X509_V_OK && !config_.insecure_skip_tls_verify) {
                return make_error(Code::kUnauthenticated,
                                  "{}: the server's certificate is not accepted for \"{}\": {}",
                                  config_.url(), name, X509_verify_cert_error_string(verify));
            }
            return transport_error(config_, "TLS handshake", error);
        }
        return {};
    }

    error_code write(http::request<http::string_body>& request, const std::stop_token& stop) {
        return run(kResponseTimeoutMs, stop, [&](auto done) {
            const auto finish = [done](error_code e, std::size_t) { done(e); };
            if (tls_) {
                http::async_write(*tls_, request, finish);
            } else {
                http::async_write(*plain_, request, finish);
            }
        });
    }

    template <class Parser>
    error_code read_head(Parser& parser, const std::stop_token& stop) {
        return run(kResponseTimeoutMs, stop, [&](auto done) {
            const auto finish = [done](error_code e, std::size_t) { done(e); };
            if (tls_) {
                http::async_read_header(*tls_, buffer_, parser, finish);
            } else {
                http::async_read_header(*plain_, buffer_, parser, finish);
            }
        });
    }

    template <class Parser>
    error_code read_some(Parser& parser, std::uint32_t timeout_ms, const std::stop_token& stop) {
        return run(timeout_ms, stop, [&](auto done) {
            const auto finish = [done](error_code e, std::size_t) { done(e); };
            if (tls_) {
                http::async_read_some(*tls_, buffer_, parser, finish);
            } else {
                http::async_read_some(*plain_, buffer_, parser, finish);
            }
        });
    }

    // An idle connection has nothing to read: data or an end means that the server gave it up.
    bool idle_and_alive() {
        char byte = 0;
        const ssize_t got = ::recv(lowest().socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) && buffer_.size() == 0;
    }

private:
    beast::tcp_stream& lowest() { return tls_ ? tls_->next_layer() : *plain_; }

    Result<std::vector<tcp::endpoint>> resolve(const std::stop_token& stop) {
        error_code error;
        const auto address = asio::ip::make_address(config_.host, error);
        if (!error) return std::vector<tcp::endpoint>{{address, config_.port}};
        tcp::resolver resolver(ioc_);
        std::vector<tcp::endpoint> endpoints;
        bool finished = false;
        error = {};
        resolver.async_resolve(config_.host, std::to_string(config_.port),
                               [&](error_code e, const tcp::resolver::results_type& results) {
                                   finished = true;
                                   error = e;
                                   for (const auto& r : results) endpoints.push_back(r.endpoint());
                               });
        {
            const std::stop_callback on_stop(stop, [&] { ioc_.stop(); });
            ioc_.restart();
            ioc_.run_for(std::chrono::milliseconds(kConnectTimeoutMs));
        }
        if (!finished) {
            // The handler refers to this frame, so it must run, with an error, before we leave.
            resolver.cancel();
            ioc_.restart();
            ioc_.run();
            if (stop.stop_requested()) error = asio::error::operation_aborted;
            else error = beast::error::timeout;
        }
        if (error) return transport_error(config_, "name look-up", error);
        return endpoints;
    }

    // Starts one operation, and runs it to its end, the deadline, or the stop request.
    template <class Start>
    error_code run(std::uint32_t timeout_ms, const std::stop_token& stop, Start&& start) {
        if (stop.stop_requested()) return asio::error::operation_aborted;
        error_code result = asio::error::operation_aborted;
        lowest().expires_after(std::chrono::milliseconds(timeout_ms));
        start([&result](error_code error) { result = error; });
        const std::stop_callback on_stop(stop, [this] {
            asio::post(ioc_, [this] { lowest().close(); });
        });
        ioc_.restart();
        ioc_.run();
        lowest().expires_never();
        if (stop.stop_requested()) return asio::error::operation_aborted;
        return result;
    }

    const ClientConfig& config_;
    asio::io_context ioc_{1};
    std::optional<beast::ssl_stream<beast::tcp_stream>> tls_;
    std::optional<beast::tcp_stream> plain_;
    beast::flat_buffer buffer_{kReadChunkBytes + kMaxHeadBytes};
};

class BeastClient;

class BeastStream final : public HttpStream {
public:
    BeastStream(BeastClient* owner, std::unique_ptr<Connection> connection, std::stop_token stop)
        : owner_(owner), connection_(std::move(connection)), stop_(std::move(stop)) {
        parser_.body_limit(boost::none);
        parser_.header_limit(kMaxHeadBytes);
    }
    ~BeastStream() override;

    error_code receive_head(bool head_request) {
        parser_.skip(head_request);
        const error_code error = connection_->read_head(parser_, stop_);
        if (error) return error;
        head_.status = static_cast<int>(parser_.get().result_int());
        for (const auto& field : parser_.get()) {
            std::string name(field.name_string());
            std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) {
                return static_cast<char>(std::tolower(c));
            });
            head_.headers.emplace_back(std::move(name), std::string(field.value()));
        }
        return {};
    }

    [[nodiscard]] const HttpHead& head() const override { return head_; }
    Result<std::size_t> read(char* data, std::size_t size, std::uint32_t timeout_ms) override;

private:
    BeastClient* owner_;
    std::unique_ptr<Connection> connection_;
    std::stop_token stop_;
    http::response_parser<http::buffer_body> parser_;
    HttpHead head_;
};

class BeastClient final : public HttpClient {
public:
    BeastClient(ClientConfig config, std::string user_agent)
        : config_(std::move(config)), user_agent_(std::move(user_agent)) {}

    Result<void> prepare() {
        if (!config_.tls) return {};
        error_code error;
        tls_.emplace(asio::ssl::context::tls_client);
        SSL_CTX_set_min_proto_version(tls_->native_handle(), TLS1_2_VERSION);
        static constexpr std::array<unsigned char, 9> kAlpn = {8,   'h', 't', 't', 'p',
                                                               '/', '1', '.', '1'};
        SSL_CTX_set_alpn_protos(tls_->native_handle(), kAlpn.data(), kAlpn.size());
        const auto check = [&](std::string_view what) -> Result<void> {
            if (!error) return {};
            return make_error(Code::kInvalidArgument, "{}: {}: {}", config_.url(), what,
                              error.message());
        };
        // OpenSSL would ask for the password of an encrypted key on the terminal, and wait.
        tls_->set_password_callback([](std::size_t, asio::ssl::context::password_purpose) { return std::string(); });
        tls_->set_verify_mode(config_.insecure_skip_tls_verify ? asio::ssl::verify_none
                                                               : asio::ssl::verify_peer);
        if (!config_.insecure_skip_tls_verify) {
            if (config_.ca_pem.empty()) {
                tls_->set_default_verify_paths(error);
            } else {
                tls_->add_certificate_authority(asio::buffer(config_.ca_pem), error);
            }
            SLUICE_TRY(check("certificate authority"));
        }
        if (!config_.certificate_pem.empty()) {
            tls_->use_certificate_chain(asio::buffer(config_.certificate_pem), error);
            SLUICE_TRY(check("client certificate"));
            tls_->use_private_key(asio::buffer(config_.private_key_pem), asio::ssl::context::pem, error);
            SLUICE_TRY(check("client key"));
            if (SSL_CTX_check_private_key(tls_->native_handle()) != 1) {
                return make_error(Code::kInvalidArgument,
                                  "{}: the client key does not belong to the client certificate",
                                  config_.url());
            }
        }
        return {};
    }

    Result<std::unique_ptr<HttpStream>> stream(const HttpRequest& request,
                                               std::stop_token stop) override {
        http::request<http::string_body> message = build(request);
        std::unique_ptr<Connection> reused = take_idle();
        while (true) {
            const bool was_reused = reused != nullptr;
            std::unique_ptr<Connection> connection = std::move(reused);
            if (!connection) {
                connection = std::make_unique<Connection>(config_, tls_ ? &*tls_ : nullptr);
                SLUICE_TRY(connection->open(stop));
            }
            error_code error = connection->write(message, stop);
            auto answer = std::make_unique<BeastStream>(this, std::move(connection), stop);
            if (!error) error = answer->receive_head(request.method == "HEAD");
            if (!error) {
                if (answer->head().status == 401) forget_token();
                return std::unique_ptr<HttpStream>(std::move(answer));
            }
            // The server may close an idle connection as we pick it up. Reading again is harmless.
            const bool again = was_reused && !stop.stop_requested() && request.method == "GET" &&
                               error != beast::error::timeout;
            if (!again) return transport_error(config_, request.method + " " + request.target, error);
        }
    }

    Result<HttpResponse> request(const HttpRequest& request, std::stop_token stop) override {
        SLUICE_TRY_ASSIGN(auto answer, stream(request, std::move(stop)));
        HttpResponse response;
        response.head = answer->head();
        std::vector<char> chunk(kReadChunkBytes);
        while (true) {
            SLUICE_TRY_ASSIGN(const std::size_t got,
                              answer->read(chunk.data(), chunk.size(), kResponseTimeoutMs));
            if (got == 0) return response;
            if (response.body.size() + got > kMaxResponseBytes) {
                return make_error(Code::kResourceExhausted, "{}: the answer to {} is larger than {} bytes",
                                  config_.url(), request.target, kMaxResponseBytes);
            }
            response.body.append(chunk.data(), got);
        }
    }

    [[nodiscard]] const ClientConfig& config() const override { return config_; }

    void give_back(std::unique_ptr<Connection> connection) {
        const std::lock_guard lock(mutex_);
        if (idle_.size() < kMaxIdleConnections) idle_.push_back(std::move(connection));
    }

private:
    std::unique_ptr<Connection> take_idle() {
        const std::lock_guard lock(mutex_);
        while (!idle_.empty()) {
            std::unique_ptr<Connection> connection = std::move(idle_.back());
            idle_.pop_back();
            if (connection->idle_and_alive()) return connection;
        }
        return nullptr;
    }

    void forget_token() {
        const std::lock_guard lock(mutex_);
        token_read_at_.reset();
    }

    std::string bearer_token() {
        if (config_.token_file.empty()) return config_.token;
        const std::lock_guard lock(mutex_);
        const auto now = std::chrono::steady_clock::now();
        if (!token_read_at_ || now - *token_read_at_ > std::chrono::milliseconds(kTokenCacheMs)) {
            // While the file is being replaced the last token may still be good.
            if (auto text = read_file(config_.token_file); text) {
                const auto is_space = [](unsigned char c) { return c <= ' '; };
                std::erase_if(*text, is_space);
                if (!text->empty()) cached_token_ = std::move(*text);
            }
            token_read_at_ = now;
        }
        return cached_token_.empty() ? config_.token : cached_token_;
    }

    http::request<http::string_body> build(const HttpRequest& request) {
        http::request<http::string_body> message;
        message.method_string(request.method);
        message.target(config_.path_prefix + request.target);
        message.version(11);
        message.set(http::field::host, host_and_port(config_.host, config_.port));
        message.set(http::field::user_agent, user_agent_);
        for (const auto& [name, value] : request.headers) message.set(name, value);
        if (const std::string token = bearer_token(); !token.empty()) {
            message.set(http::field::authorization, "Bearer " + token);
        } else if (!config_.username.empty()) {
            const std::string plain = config_.username + ":" + config_.password;
            std::string encoded((plain.size() + 2) / 3 * 4 + 1, '\0');
            const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(encoded.data()),
                                             reinterpret_cast<const unsigned char*>(plain.data()),
                                             static_cast<int>(plain.size()));
            encoded.resize(static_cast<std::size_t>(size));
            message.set(http::field::authorization, "Basic " + encoded);
        }
        if (!config_.impersonate_user.empty()) {
            message.set("Impersonate-User", config_.impersonate_user);
        }
        message.body() = request.body;
        message.prepare_payload();
        return message;
    }

    const ClientConfig config_;
    const std::string user_agent_;
    std::optional<asio::ssl::context> tls_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<Connection>> idle_;
    std::string cached_token_;
    std::optional<std::chrono::steady_clock::time_point> token_read_at_;
};

BeastStream::~BeastStream() {
    if (connection_ && parser_.is_done() && parser_.keep_alive() && !stop_.stop_requested()) {
        owner_->give_back(std::move(connection_));
    }
}

Result<std::size_t> BeastStream::read(char* data, std::size_t size, std::uint32_t timeout_ms) {
    while (!parser_.is_done()) {
        if (!connection_) {
            return make_error(Code::kUnavailable, "{}: the connection is closed", owner_->config().url());
        }
        auto& body = parser_.get().body();
        body.data = data;
        body.size = size;
        error_code error = connection_->read_some(parser_, timeout_ms, stop_);
        if (error == http::error::need_buffer) error = {};
        const std::size_t got = size - body.size;
        if (got > 0) return got;
        if (error) {
            connection_.reset();
            return transport_error(owner_->config(), "reading the answer", error);
        }
    }
    return std::size_t{0};
}

}  // namespace

std::string_view HttpHead::header(std::string_view lower_case_name) const {
    for (const auto& [name, value] : headers) {
        if (name == lower_case_name) return value;
    }
    return {};
}

Result<std::unique_ptr<HttpClient>> HttpClient::create(const ClientConfig& config,
                                                       std::string user_agent) {
    auto client = std::make_unique<BeastClient>(config, std::move(user_agent));
    SLUICE_TRY(client->prepare());
    return std::unique_ptr<HttpClient>(std::move(client));
}

std::string percent_encode(std::string_view text) {
    static constexpr char kHex[] = "0123456789ABCDEF";
    std::string out;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (std::isalnum(byte) != 0 || c == '-' || c == '_' || c == '.' || c == '~') {
            out.push_back(c);
        } else {
            out.push_back('%');
            out.push_back(kHex[byte >> 4U]);
            out.push_back(kHex[byte & 15U]);
        }
    }
    return out;
}

}  // namespace sluice::client
