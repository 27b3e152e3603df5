// HTTPS as the API server sees it: requests come in whole, answers go out whole or as a stream, by HTTP/1.1 or HTTP/2.
// Beast, Asio, nghttp2 and OpenSSL stay behind server.cc.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/base/result.h"

namespace sluice::http {

class ByteStream;  // byte_stream.h

// Limits, each answered with the status named when reached.
inline constexpr std::size_t kMaxBodyBytes = 3U << 20U;         // 413, kube-apiserver's own limit
inline constexpr std::size_t kMaxHeaderBytes = 1U << 20U;       // 431; so is a single field above 64 KiB
inline constexpr std::size_t kMaxConnections = 10'000;          // further ones are closed at once
inline constexpr std::size_t kMaxQueuedStreamBytes = 8U << 20U; // a slower reader is closed
inline constexpr std::size_t kLowQueuedStreamBytes = 1U << 20U; // Responder::when_writable
// Together; then readers for whom more than kLowQueuedStreamBytes wait are closed.
inline constexpr std::size_t kMaxQueuedBytesOfAllStreams = 512U << 20U;
inline constexpr std::size_t kMaxHeaderFields = 1'000;           // 431
inline constexpr std::size_t kMaxAnonymousBodyBytes = 64U << 10U;  // 401: strangers cannot fill memory
inline constexpr std::size_t kMinGzipBytes = 128U << 10U;        // smaller answers are not compressed

// Of HTTP/2, with the names that RFC 9113 gives to the answers.
inline constexpr std::uint32_t kMaxConcurrentStreams = 100;  // REFUSED_STREAM; kube-apiserver's own number
// Requests that were reset by the client and are still being answered, as a multiple of the streams allowed;
// then ENHANCE_YOUR_CALM.
inline constexpr std::uint32_t kMaxOrphansPerStream = 4;
// Resets by the client, and frames that bring nothing forward (PING, SETTINGS, PRIORITY, empty DATA): so many at
// once, and so many a second; then ENHANCE_YOUR_CALM.
inline constexpr std::uint32_t kResetBurst = 1'000;
inline constexpr std::uint32_t kResetsPerSecond = 100;
inline constexpr std::uint32_t kControlFrameBurst = 1'000;
inline constexpr std::uint32_t kControlFramesPerSecond = 100;
inline constexpr std::uint32_t kMaxContinuations = 128;  // of one header; then the connection is closed

// Who the client certificate or token says the client is. Empty user: anonymous.
struct Identity {
    std::string user;
    std::vector<std::string> groups;
    std::string uid = {};  // as a token file gives it; empty when nobody does
    // What else an authenticator or an impersonation says, by keys in lower case.
    std::vector<std::pair<std::string, std::vector<std::string>>> extra = {};
};

struct Request {
    std::string method;  // "GET"
    std::string path;    // percent-decoded, without the query
    std::vector<std::pair<std::string, std::string>> query;    // decoded, in order
    std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
    std::string body;
    Identity identity;
    std::string remote;  // "127.0.0.1:40000"
    std::string target = {};  // path and query as they came

    // First of that name, or empty.
    [[nodiscard]] std::string_view header(std::string_view lower_case_name) const;
    [[nodiscard]] std::optional<std::string_view> parameter(std::string_view name) const;
};

struct Response {
    int status = 200;
    std::vector<std::pair<std::string, std::string>> headers;  // Content-Type and the like
    std::string body;  // Content-Length is set by the server; gzip by the server when asked for and large
    // In answer to a HEAD: how long the body would be, for those who have only the head of it.
    std::optional<std::uint64_t> length = {};
};

// Answers one request; thread-safe; exactly one of send, begin_stream or upgrade is called. Dropping the last reference
// without answering sends a 500.
class Responder {
public:
    virtual ~Responder() = default;
    virtual void send(Response response) = 0;
    // Headers now, then chunks; body in head is ignored.
    virtual void begin_stream(Response head) = 0;
    // False once the client is gone or too slow (then the connection is closed).
    virtual bool write(std::string chunk) = 0;
    virtual void end_stream() = 0;
    // Ends a stream before its end, so that the client sees that it has not everything: the connection is closed
    // without the last chunk, a stream of HTTP/2 is reset. Without a connection there is nobody to tell.
    virtual void abort_stream() { end_stream(); }
    // Called once, when the answer (a stream or not) is over for any reason: written, client gone, too slow,
    // timed out. On a server thread, never from inside write(); at once, on the caller's thread, if it is
    // already over.
    virtual void on_close(std::function<void()> callback) = 0;
    // Called once when no more than kLowQueuedStreamBytes of a stream wait for the client, or the answer is over: for
    // streams whose source can wait. On a server thread, or at once. A responder that queues nothing keeps this one.
    virtual void when_writable(std::function<void()> callback) { callback(); }
    // Answers 101 with the head's headers (Upgrade is the handler's, Connection the server's) and gives the
    // connection away: on_open is called once on a server thread, with null if the client is gone by then. The
    // stream has no deadlines, counts in ServerStats::upgraded, and ends with the server.
    using OpenCallback = std::function<void(std::shared_ptr<ByteStream>)>;
    virtual void upgrade(Response head, OpenCallback on_open);
};

// Called on a server thread; must not block for long. The request is the handler's: it may complete it (the
// identity, say) before it passes it on as const.
using Handler = std::function<void(std::shared_ptr<Request>, std::shared_ptr<Responder>)>;

// How long a client may take. Checked about once a second (or four times in the shortest one, if that
// is less), so that no timer is set per request.
struct Timeouts {
    std::uint32_t handshake_ms = 10'000;
    std::uint32_t header_ms = 15'000;  // from a request's first byte to the end of its headers
    std::uint32_t body_ms = 60'000;    // from there to the end of the body
    std::uint32_t idle_ms = 90'000;    // between requests
    std::uint32_t request_ms = 60'000; // from the request's end to send or begin_stream; then 504
    std::uint32_t write_ms = 30'000;   // for each write, and a second more for each 64 KiB of it
};

// Counters since the start, but for the first two and upgraded.
struct ServerStats {
    std::uint64_t connections = 0;           // open now
    std::uint64_t streams = 0;               // open now
    std::uint64_t accepted = 0;
    std::uint64_t refused_connections = 0;   // beyond max_connections
    std::uint64_t failed_handshakes = 0;
    std::uint64_t timed_out_connections = 0; // too slow in handshake, header, body or write
    std::uint64_t timed_out_requests = 0;    // answered with 504
    std::uint64_t malformed_requests = 0;    // answered with 400
    std::uint64_t oversized_requests = 0;    // answered with 413 or 431
    std::uint64_t overflowed_streams = 0;    // beyond kMaxQueuedStreamBytes
    std::uint64_t upgraded = 0;              // upgraded connections, open now
    std::uint64_t upgrades = 0;
    std::uint64_t http2_connections = 0;     // open now
    std::uint64_t http2_requests = 0;
    std::uint64_t client_resets = 0;         // streams of HTTP/2 that the client gave up
    std::uint64_t slow_streams = 0;          // streams of HTTP/2 whose reader or writer was too slow
    std::uint64_t flooded_connections = 0;   // ended with ENHANCE_YOUR_CALM
    std::uint64_t broken_connections = 0;    // of HTTP/2, ended for breaking the protocol
    std::uint64_t goaways = 0;               // told to come back by goaway_chance
};

struct ServerOptions {
    std::string address = "127.0.0.1";
    std::uint16_t port = 6443;  // 0: any free port
    std::string certificate_pem;
    std::string private_key_pem;
    std::string client_ca_pem;  // client certificates are asked for and checked against it, not required
    int threads = 0;            // 0: one per CPU
    std::size_t max_connections = kMaxConnections;
    bool http2 = true;          // offered in ALPN, before http/1.1
    std::uint32_t max_concurrent_streams = kMaxConcurrentStreams;
    // The probability with which a request of HTTP/2 makes its client connect anew, so that long connections spread
    // over several servers: 0 to 0.02.
    double goaway_chance = 0;
    Timeouts timeouts;
    // Whose answer may take any time to begin, whatever Timeouts::request_ms says; it ends with the client instead.
    // Nobody's, if not given.
    std::function<bool(const Request&)> is_untimed;
    // Bearer token to identity; nullopt refuses with 401.
    std::function<std::optional<Identity>(std::string_view token)> authenticate_token;
};

class Server {
public:
    virtual ~Server() = default;
    [[nodiscard]] virtual std::uint16_t port() const = 0;
    // Stops accepting, lets requests in flight finish (streams are ended) within the time, then closes.
    virtual void shutdown(std::uint32_t grace_ms) = 0;
    [[nodiscard]] virtual ServerStats stats() const = 0;
};

Result<std::unique_ptr<Server>> listen(const ServerOptions& options, Handler handler);

}  // namespace sluice::http
