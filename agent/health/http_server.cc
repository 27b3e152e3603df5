// See http_server.h.
#include "agent/health/http_server.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <atomic>
#include <charconv>
#include <chrono>
#include <future>
#include <optional>
#include <set>
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

class Thread final : public HttpThread {
public:
    Thread() : work_(ioc_.get_executor()), thread_([this] { ioc_.run(); }) {}
    ~Thread() override {
        ioc_.stop();
        thread_.join();
    }
    Thread(const Thread&) = delete;
    Thread& operator=(const Thread&) = delete;
    [[nodiscard]] std::uint64_t refused() const override { return refused_; }
    asio::io_context& context() { return ioc_; }

    // The rest on the thread itself.
    bool enter() {
        if (live_ >= kMaxThreadConnections) return false;
        ++live_;
        return true;
    }
    void leave() { --live_; }
    void refuse() { ++refused_; }

private:
    std::size_t live_ = 0;
    std::atomic<std::uint64_t> refused_{0};
    // After the counts, for connections that end with it count themselves out.
    asio::io_context ioc_{1};
    asio::executor_work_guard<asio::io_context::executor_type> work_;
    std::thread thread_;
};

class Session;

// A listening socket and its connections; all of it on the thread.
class Port : public std::enable_shared_from_this<Port> {
public:
    Port(Thread& thread, HttpHandler handler)
        : thread_(thread), handler_(std::move(handler)), acceptor_(thread.context()), pause_(thread.context()) {}

    Result<void> open(const std::string& address, std::uint16_t default_port) {
        SLUICE_TRY_ASSIGN(const tcp::endpoint endpoint, parse_endpoint(address, default_port));
        error_code error;
        acceptor_.open(endpoint.protocol(), error);
        if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
        // Both families, whatever the machine's default for such sockets.
        const bool everywhere = endpoint.address().is_v6() && endpoint.address().is_unspecified();
        if (!error && everywhere) acceptor_.set_option(asio::ip::v6_only(false), error);
        if (!error) acceptor_.bind(endpoint, error);
        if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
        if (error == asio::error::address_in_use) {
            return make_error(Code::kAlreadyExists, "{}: the port is taken by another program", address);
        }
        if (error) return errno_error(error.value(), "{}: cannot listen", address);
        number_ = acceptor_.local_endpoint(error).port();
        return {};
    }
    [[nodiscard]] std::uint16_t number() const { return number_; }

    void accept();
    void close();
    HttpAnswer answer(const std::string& path) const { return handler_(path); }
    void ended(Session* session) {
        sessions_.erase(session);
        thread_.leave();
    }

private:
    Thread& thread_;
    const HttpHandler handler_;
    tcp::acceptor acceptor_;
    asio::steady_timer pause_;
    std::set<Session*> sessions_;  // each keeps itself and this alive
    std::uint16_t number_ = 0;
    bool closed_ = false;
};

class Session : public std::enable_shared_from_this<Session> {
public:
    Session(tcp::socket socket, std::shared_ptr<Port> port)
        : stream_(std::move(socket)), port_(std::move(port)) {}
    ~Session() { port_->ended(this); }
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    void close() {
        closed_ = true;
        stream_.close();
    }
    void read() {
        parser_.emplace();
        parser_->header_limit(kMaxHeadBytes);
        parser_->body_limit(0);
        stream_.expires_after(std::chrono::milliseconds(kIdleTimeoutMs));
        http::async_read(stream_, buffer_, *parser_,
                         [self = shared_from_this()](error_code error, std::size_t) {
                             if (!error && !self->closed_) self->answer();
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
            HttpAnswer made = port_->answer(target.substr(0, target.find('?')));
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
                              if (!error && !self->closed_ && self->response_.keep_alive()) self->read();
                          });
    }

    beast::tcp_stream stream_;
    const std::shared_ptr<Port> port_;
    bool closed_ = false;
    beast::flat_buffer buffer_{kMaxHeadBytes};
    std::optional<http::request_parser<http::string_body>> parser_;
    http::response<http::string_body> response_;
};

void Port::accept() {
    acceptor_.async_accept([self = shared_from_this()](error_code error, tcp::socket socket) {
        if (self->closed_) return;
        if (!error) {
            if (self->sessions_.size() >= kMaxConnections || !self->thread_.enter()) {
                self->thread_.refuse();
            } else {
                const auto session = std::make_shared<Session>(std::move(socket), self);
                self->sessions_.insert(session.get());
                session->read();
            }
            self->accept();
            return;
        }
        // Out of descriptors, most likely: wait for some to come free.
        self->pause_.expires_after(kAcceptPause);
        self->pause_.async_wait([self](error_code stopped) {
            if (!stopped && !self->closed_) self->accept();
        });
    });
}

void Port::close() {
    closed_ = true;
    error_code ignored;
    acceptor_.close(ignored);
    pause_.cancel();
    for (Session* session : sessions_) session->close();
}

class Server final : public HttpServer {
public:
    Server(std::shared_ptr<Thread> thread, std::shared_ptr<Port> port)
        : thread_(std::move(thread)), port_(std::move(port)) {
        asio::post(thread_->context(), [port = port_] { port->accept(); });
    }
    ~Server() override {
        std::promise<void> closed;
        asio::post(thread_->context(), [&] {
            port_->close();
            closed.set_value();
        });
        closed.get_future().wait();
    }
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;
    [[nodiscard]] std::uint16_t port() const override { return port_->number(); }

private:
    // Before the port, which uses it; what is left of the port's connections goes with the thread's context.
    const std::shared_ptr<Thread> thread_;
    const std::shared_ptr<Port> port_;
};

}  // namespace

std::shared_ptr<HttpThread> HttpThread::start() { return std::make_shared<Thread>(); }

Result<std::unique_ptr<HttpServer>> HttpServer::listen(const std::string& address,
                                                       std::uint16_t default_port,
                                                       HttpHandler handler,
                                                       std::shared_ptr<HttpThread> thread) {
    if (!thread) thread = HttpThread::start();
    // There is no other kind.
    auto own = std::static_pointer_cast<Thread>(std::move(thread));
    auto port = std::make_shared<Port>(*own, std::move(handler));
    SLUICE_TRY(port->open(address, default_port));
    return std::unique_ptr<HttpServer>(std::make_unique<Server>(std::move(own), std::move(port)));
}

Result<void> HttpServer::check_address(const std::string& address) {
    SLUICE_TRY(parse_endpoint(address, 0));
    return {};
}

}  // namespace sluice::health
