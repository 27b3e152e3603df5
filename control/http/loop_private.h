// What the connections of one server share, and what those of one thread share. Private to this folder; carries
// Asio types.
//
// A Loop is one thread: its io_context, its connections and its clock tick. A connection stays on the loop that
// it was accepted for, so its state needs no lock; other threads reach it by posting to the loop.
#pragma once

#include <array>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_set>

#include "control/http/peer_private.h"
#include "control/http/server.h"
#include "control/http/tls.h"

namespace sluice::http {

struct Counters {
    std::atomic<std::uint64_t> connections{0};
    std::atomic<std::uint64_t> streams{0};
    std::atomic<std::uint64_t> accepted{0};
    std::atomic<std::uint64_t> refused_connections{0};
    std::atomic<std::uint64_t> failed_handshakes{0};
    std::atomic<std::uint64_t> timed_out_connections{0};
    std::atomic<std::uint64_t> timed_out_requests{0};
    std::atomic<std::uint64_t> malformed_requests{0};
    std::atomic<std::uint64_t> oversized_requests{0};
    std::atomic<std::uint64_t> overflowed_streams{0};
    std::atomic<std::uint64_t> upgraded{0};
    std::atomic<std::uint64_t> upgrades{0};
    std::atomic<std::uint64_t> http2_connections{0};
    std::atomic<std::uint64_t> http2_requests{0};
    std::atomic<std::uint64_t> client_resets{0};
    std::atomic<std::uint64_t> slow_streams{0};
    std::atomic<std::uint64_t> flooded_connections{0};
    std::atomic<std::uint64_t> broken_connections{0};
    std::atomic<std::uint64_t> goaways{0};
};

// Read-only while the loops run, but for the atomics.
struct Shared {
    Timeouts timeouts;
    std::size_t max_connections = kMaxConnections;
    std::uint32_t max_concurrent_streams = kMaxConcurrentStreams;
    double goaway_chance = 0;
    std::function<bool(const Request&)> is_untimed;
    std::function<std::optional<Identity>(std::string_view token)> authenticate_token;
    Handler handler;
    SslContext tls;
    Counters counters;
    std::atomic<bool> draining{false};
    std::mutex drained_mutex;
    std::condition_variable drained;  // told when the last connection goes while draining

    explicit Shared(ssl_ctx_st* context) : tls(context) {}

    // A connection of any protocol is over.
    void connection_ended() {
        if (counters.connections.fetch_sub(1) != 1 || !draining.load()) return;
        const std::lock_guard lock(drained_mutex);
        drained.notify_all();
    }
};

class Connection;

// The streams that have something to write. When an event goes to a thousand watches, what is asked and answered
// meanwhile must not wait for the last of them, so some of them are seen to in each turn of the loop; and what comes
// for a stream before its turn is written with the rest, in one TLS record.
class WaitingStreams {
public:
    explicit WaitingStreams(boost::asio::io_context* context) : context_(context) {}

    // From any thread.
    void add(std::weak_ptr<Connection> stream);

    static constexpr std::size_t kStreamsPerTurn = 32;

private:
    void turn();

    boost::asio::io_context* context_;
    std::mutex mutex_;
    std::deque<std::weak_ptr<Connection>> waiting_;  // guarded by mutex_, as is the next
    bool scheduled_ = false;
};

struct Loop {
    explicit Loop(Shared* server_state) : shared(server_state) {}

    Shared* shared;
    // Declared before the io_context, so that handlers destroyed with it still find it.
    std::unordered_set<std::shared_ptr<Peer>> connections;
    std::string date;  // for the Date header; refreshed by the tick
    std::array<char, 16U << 10U> in{};  // what is read, until the connection that it is for has looked at it
    std::thread::id thread;
    boost::asio::io_context context{1};
    boost::asio::steady_timer tick{context};
    WaitingStreams streams{&context};

    [[nodiscard]] bool runs_here() const { return std::this_thread::get_id() == thread; }
};

}  // namespace sluice::http
