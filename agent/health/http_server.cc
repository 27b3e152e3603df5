// See http_server.h.
#include "agent/health/http_server.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <charconv>
#include <chrono>
#include <optional>
#include <thread>

#include "api/base/ip_address.h"

namespace sluice::health {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;
using boost::system::error_code;

constexpr std::chrono::milliseconds kAcceptPause{100};

Result<tcp::endpoint> parse_endpoint(const std::string& text, std::uint16_t default_port) {
    const auto refuse = [&] {
        return make_error(Code::kInvalidArgument, "\"{}\" is not ADDRESS:PORT or [ADDRESS]:PORT", text);
    };
    std::string host = text;
    std::string port;
    if (!text.empty() && text.front() == '[') {
        const auto close = text.find(']');
        if (close == std::string::npos) return refuse();
        host = text.substr(1, close - 1);
        if (close + 1 < text.size()) {
            if (text[close + 1] != ':') return refuse();
            port = text.substr(close + 2);
            if (port.empty()) return refuse();
        }
    } else if (const auto colon = text.rfind(':');
               colon != std::string::npos && text.find(':') == colon) {
        host = text.substr(0, colon);
        port = text.substr(colon + 1);
        if (port.empty()) return refuse();
    }
    unsigned number = default_port;
    if (!port.empty()) {
        const auto end = port.data() + port.size();
        const auto [stop, error] = std::from_chars(port.data(), end, number);
        if (error != std::errc() || stop != end || number > 65'535) return refuse();
    }
    error_code error;
    const auto address = asio::ip::make_address(host, error);
    if (error) return refuse();
    return tcp::endpoint(address, static_cast<std::uint16_t>(number));
}

class Session : public std::enable_shared_from_this<Session> {
public:
    Session(tcp::socket socket, const HttpHandler& handler, std::shared_ptr<std::size_t> live)
        : stream_(std::move(socket)), handler_(handler), live_(std::move(live)) {
        ++*live_;
    }
    ~Session() { --*live_; }
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    void read() {
        parser_.emplace();
        parser_->header_limit(kMaxHeadBytes);
        parser_->body_limit(0);
        stream_.expires_after(std::chrono::milliseconds(kIdleTimeoutMs));
        http::async_read(stream_, buffer_, *parser_,
                         [self = shared_from_this()](error_code error, std::size_t) {
                             if (!error) self->answer();
                         });
    }

private:
    void answer() {
        const auto& request = parser_->get();
        response_ = {};
        response_.version(request.version());
        response_.keep_alive(request.keep_alive());
        const bool head = request.method() == http::verb::head;
        if (head || request.method() == http::verb::get) {
            const std::string target(request.target());
            HttpAnswer made = handler_(target.substr(0, target.find('?')));
            response_.result(static_cast<unsigned>(made.status));
            response_.set(http::field::content_type, made.content_type);
            for (const auto& [name, value] : made.headers) response_.set(name, value);
            response_.body() = std::move(made.body);
        } else {
            response_.result(http::status::method_not_allowed);
            response_.set(http::field::allow, "GET, HEAD");
        }
        response_.prepare_payload();
        if (head) response_.body().clear();
        stream_.expires_after(std::chrono::milliseconds(kIdleTimeoutMs));
        http::async_write(stream_, response_,
                          [self = shared_from_this()](error_code error, std::size_t) {
                              if (!error && self->response_.keep_alive()) self->read();
                          });
    }

    beast::tcp_stream stream_;
    const HttpHandler& handler_;
    std::shared_ptr<std::size_t> live_;
    beast::flat_buffer buffer_{kMaxHeadBytes};
    std::optional<http::request_parser<http::string_body>> parser_;
    http::response<http::string_body> response_;
};

class Server final : public HttpServer {
public:
    explicit Server(HttpHandler handler) : handler_(std::move(handler)) {}
    ~Server() override {
        ioc_.stop();
        if (thread_.joinable()) thread_.join();
    }

    Result<void> start(const std::string& address, std::uint16_t default_port) {
        SLUICE_TRY_ASSIGN(const tcp::endpoint endpoint, parse_endpoint(address, default_port));
        error_code error;
        acceptor_.open(endpoint.protocol(), error);
        if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
        if (!error) acceptor_.bind(endpoint, error);
        if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
        if (error == asio::error::address_in_use) {
            return make_error(Code::kAlreadyExists, "{}: the port is taken by another program", address);
        }
        if (error) return errno_error(error.value(), "{}: cannot listen", address);
        accept();
        thread_ = std::thread([this] { ioc_.run(); });
        return {};
    }
    [[nodiscard]] std::uint16_t port() const override {
        error_code ignored;
        return acceptor_.local_endpoint(ignored).port();
    }

private:
    void accept() {
        acceptor_.async_accept([this](error_code error, tcp::socket socket) {
            if (!error && *live_ < kMaxConnections) {
                std::make_shared<Session>(std::move(socket), handler_, live_)->read();
            }
            if (!error) {
                accept();
                return;
            }
            // Out of descriptors, most likely: wait for some to come free.
            pause_.expires_after(kAcceptPause);
            pause_.async_wait([this](error_code stopped) {
                if (!stopped) accept();
            });
        });
    }

    HttpHandler handler_;
    std::shared_ptr<std::size_t> live_ = std::make_shared<std::size_t>(0);
    asio::io_context ioc_{1};
    tcp::acceptor acceptor_{ioc_};
    asio::steady_timer pause_{ioc_};
    std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::listen(const std::string& address,
                                                       std::uint16_t default_port,
                                                       HttpHandler handler) {
    auto server = std::make_unique<Server>(std::move(handler));
    SLUICE_TRY(server->start(address, default_port));
    return std::unique_ptr<HttpServer>(std::move(server));
}

Result<void> HttpServer::check_address(const std::string& address) {
    SLUICE_TRY(parse_endpoint(address, 0));
    return {};
}

}  // namespace sluice::health
