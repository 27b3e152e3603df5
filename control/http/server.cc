// The listener and its threads. Connections are spread over the loops in turn and stay where they are.
#include "control/http/server.h"

#include <algorithm>
#include <array>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <ctime>
#include <exception>
#include <thread>
#include <utility>
#include <vector>

#include "api/base/log.h"
#include "control/http/connection_private.h"
#include "control/http/head.h"
#include "control/http/loop_private.h"
#include "control/http/tls.h"

namespace sluice::http {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr std::string_view kComponent = "http";
constexpr int kBacklog = 4096;
constexpr std::uint32_t kLongestTickMs = 1'000;
constexpr std::uint32_t kShortestTickMs = 10;
constexpr std::uint32_t kForceCloseMs = 1'000;
constexpr auto kAcceptPause = std::chrono::milliseconds(100);

}  // namespace

void WaitingStreams::add(std::weak_ptr<Connection> stream) {
    {
        const std::lock_guard lock(mutex_);
        waiting_.push_back(std::move(stream));
        if (std::exchange(scheduled_, true)) return;
    }
    asio::post(*context_, [this] { turn(); });
}

void WaitingStreams::turn() {
    std::array<std::weak_ptr<Connection>, kStreamsPerTurn> some;
    std::size_t count = 0;
    {
        const std::lock_guard lock(mutex_);
        for (; count < some.size() && !waiting_.empty(); ++count) {
            some[count] = std::move(waiting_.front());
            waiting_.pop_front();
        }
        scheduled_ = !waiting_.empty();
        // Behind what the sockets have brought by now.
        if (scheduled_) asio::post(*context_, [this] { turn(); });
    }
    for (std::size_t i = 0; i < count; ++i) {
        if (const auto stream = some[i].lock()) stream->pull();
    }
}

namespace {

class TlsServer final : public Server {
public:
    TlsServer(const ServerOptions& options, Handler handler, SslContext context)
        : shared_(context.release()) {
        shared_.timeouts = options.timeouts;
        shared_.max_connections = options.max_connections;
        shared_.max_concurrent_streams = std::max<std::uint32_t>(1, options.max_concurrent_streams);
        shared_.goaway_chance = options.goaway_chance;
        shared_.is_untimed = options.is_untimed;
        shared_.authenticate_token = options.authenticate_token;
        shared_.handler = std::move(handler);
        const Timeouts& t = options.timeouts;
        const std::uint32_t shortest = std::min({t.handshake_ms, t.header_ms, t.body_ms, t.idle_ms,
                                                 t.request_ms, t.write_ms});
        tick_ms_ = std::clamp(shortest / 4, kShortestTickMs, kLongestTickMs);
    }

    ~TlsServer() override { shutdown(0); }
    TlsServer(const TlsServer&) = delete;
    TlsServer& operator=(const TlsServer&) = delete;

    Result<void> open(const ServerOptions& options) {
        error_code error;
        const auto address = asio::ip::make_address(options.address, error);
        if (error) {
            return make_error(Code::kInvalidArgument, "listen address \"{}\" is not an IP address",
                              options.address);
        }
        const int threads = options.threads > 0
                                ? options.threads
                                : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
        for (int i = 0; i < threads; ++i) loops_.push_back(std::make_unique<Loop>(&shared_));

        acceptor_ = std::make_unique<asio::ip::tcp::acceptor>(loops_.front()->context);
        pause_ = std::make_unique<asio::steady_timer>(loops_.front()->context);
        const asio::ip::tcp::endpoint endpoint(address, options.port);
        const char* step = "open a socket for";
        acceptor_->open(endpoint.protocol(), error);
        if (!error) {
            step = "set options of";
            acceptor_->set_option(asio::socket_base::reuse_address(true), error);
        }
        if (!error && address.is_v6() && address.is_unspecified()) {
            acceptor_->set_option(asio::ip::v6_only(false), error);
        }
        if (!error) {
            step = "bind to";
            acceptor_->bind(endpoint, error);
        }
        if (!error) {
            step = "listen on";
            acceptor_->listen(kBacklog, error);
        }
        if (error) {
            return errno_error(error.value(), "cannot {} {} port {}: {}", step, options.address,
                               options.port, error.message());
        }
        port_ = acceptor_->local_endpoint(error).port();
        accept();
        for (auto& loop : loops_) {
            loop->date = http_date(std::time(nullptr));
            tick(loop.get());
            threads_.emplace_back([raw = loop.get()] {
                raw->thread = std::this_thread::get_id();
                run(raw);
            });
        }
        return {};
    }

    [[nodiscard]] std::uint16_t port() const override { return port_; }

    void shutdown(std::uint32_t grace_ms) override {
        if (threads_.empty()) return;
        shared_.draining.store(true);
        asio::post(loops_.front()->context, [this] {
            error_code ignored;
            acceptor_->close(ignored);
            pause_->cancel();
        });
        each_connection([](Peer& connection) { connection.drain(); });
        wait_until_drained(grace_ms);
        each_connection([](Peer& connection) { connection.close(); });
        wait_until_drained(kForceCloseMs);
        for (auto& loop : loops_) loop->context.stop();
        for (auto& thread : threads_) thread.join();
        threads_.clear();
        // No loop runs any more, so closing what a race left behind here touches nobody. It detaches the answers
        // that handlers may still hold.
        for (auto& loop : loops_) {
            const std::vector<std::shared_ptr<Peer>> left(loop->connections.begin(),
                                                                loop->connections.end());
            for (const auto& connection : left) connection->close();
        }
    }

    [[nodiscard]] ServerStats stats() const override {
        const Counters& c = shared_.counters;
        const auto get = [](const std::atomic<std::uint64_t>& value) {
            return value.load(std::memory_order_relaxed);
        };
        return {get(c.connections),         get(c.streams),
                get(c.accepted),            get(c.refused_connections),
                get(c.failed_handshakes),   get(c.timed_out_connections),
                get(c.timed_out_requests),  get(c.malformed_requests),
                get(c.oversized_requests),  get(c.overflowed_streams),
                get(c.upgraded),            get(c.upgrades),
                get(c.http2_connections),   get(c.http2_requests),
                get(c.client_resets),       get(c.slow_streams),
                get(c.flooded_connections), get(c.broken_connections),
                get(c.goaways)};
    }

private:
    // Nothing here throws by design; should memory run out, the one connection is lost to its deadline and the
    // others go on.
    static void run(Loop* loop) {
        while (true) {
            try {
                loop->context.run();
                return;
            } catch (const std::exception& exception) {
                log::error(kComponent, "a connection failed: {}", exception.what());
            }
        }
    }

    // Each accepted socket belongs to the loop it will live on from the start.
    void accept() {
        Loop* loop = loops_[next_loop_].get();
        next_loop_ = (next_loop_ + 1) % loops_.size();
        acceptor_->async_accept(
            loop->context, [this, loop](const error_code& error, asio::ip::tcp::socket socket) {
                if (error == asio::error::operation_aborted || !acceptor_->is_open()) return;
                if (error) {
                    // Mostly a lack of file descriptors: trying again at once would only spin.
                    log::warn(kComponent, "cannot accept a connection: {}", error.message());
                    pause_->expires_after(kAcceptPause);
                    pause_->async_wait([this](const error_code& cancelled) {
                        if (!cancelled && acceptor_->is_open()) accept();
                    });
                    return;
                }
                admit(loop, std::move(socket));
                accept();
            });
    }

    void admit(Loop* loop, asio::ip::tcp::socket socket) {
        Counters& counters = shared_.counters;
        counters.accepted.fetch_add(1, std::memory_order_relaxed);
        if (counters.connections.load(std::memory_order_relaxed) >= shared_.max_connections) {
            counters.refused_connections.fetch_add(1, std::memory_order_relaxed);
            return;  // the socket closes as it goes out of scope
        }
        counters.connections.fetch_add(1);
        auto connection = std::make_shared<Connection>(loop, std::move(socket));
        asio::post(loop->context, [connection = std::move(connection)] { connection->start(); });
    }

    void tick(Loop* loop) {
        loop->tick.expires_after(std::chrono::milliseconds(tick_ms_));
        loop->tick.async_wait([this, loop](const error_code& error) {
            if (error) return;
            loop->date = http_date(std::time(nullptr));
            const auto now = Peer::Clock::now();
            std::vector<std::shared_ptr<Peer>> late;
            for (const auto& connection : loop->connections) {
                if (connection->is_late(now)) late.push_back(connection);
            }
            for (const auto& connection : late) connection->check_deadline(now);
            tick(loop);
        });
    }

    template <class Action>
    void each_connection(Action action) {
        for (auto& loop : loops_) {
            asio::post(loop->context, [raw = loop.get(), action] {
                const std::vector<std::shared_ptr<Peer>> all(raw->connections.begin(),
                                                                   raw->connections.end());
                for (const auto& connection : all) action(*connection);
            });
        }
    }

    void wait_until_drained(std::uint32_t ms) {
        std::unique_lock lock(shared_.drained_mutex);
        shared_.drained.wait_for(lock, std::chrono::milliseconds(ms),
                                 [this] { return shared_.counters.connections.load() == 0; });
    }

    Shared shared_;
    std::vector<std::unique_ptr<Loop>> loops_;
    std::unique_ptr<asio::ip::tcp::acceptor> acceptor_;
    std::unique_ptr<asio::steady_timer> pause_;  // after a failed accept
    std::vector<std::thread> threads_;
    std::size_t next_loop_ = 0;
    std::uint16_t port_ = 0;
    std::uint32_t tick_ms_ = kLongestTickMs;
};

}  // namespace

Result<std::unique_ptr<Server>> listen(const ServerOptions& options, Handler handler) {
    SLUICE_TRY_ASSIGN(SslContext context, make_server_context(options));
    auto server = std::make_unique<TlsServer>(options, std::move(handler), std::move(context));
    SLUICE_TRY(server->open(options));
    return std::unique_ptr<Server>(std::move(server));
}

}  // namespace sluice::http
