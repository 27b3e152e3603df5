// A small plain HTTP server for health and metrics: GET and HEAD, answered at once on one thread, its own or one that
// many servers share. Asio and Beast stay behind http_server.cc.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "api/base/result.h"

namespace sluice::health {

// Limits: anyone on the network may connect here.
inline constexpr std::size_t kMaxConnections = 128;  // of a server; further ones are closed at once
inline constexpr std::size_t kMaxThreadConnections = 1024;  // of all servers of a thread, likewise
inline constexpr std::uint32_t kMaxHeadBytes = 8192;
inline constexpr std::uint32_t kIdleTimeoutMs = 10'000;  // for a request, and for its answer to leave

struct HttpAnswer {
    int status = 200;
    std::string content_type;
    std::string body;
    std::vector<std::pair<std::string, std::string>> headers{};  // further ones
};

// path: without the query. Called on the server's thread.
using HttpHandler = std::function<HttpAnswer(const std::string& path)>;

// Runs servers. Thread-safe; shared by its servers, the last of which ends it.
class HttpThread {
public:
    virtual ~HttpThread() = default;
    static std::shared_ptr<HttpThread> start();
    // Connections closed for want of room.
    [[nodiscard]] virtual std::uint64_t refused() const = 0;
};

// Destroying it closes the port and all its connections; when that returns, the handler is not called any more. Not to
// be done by a handler.
class HttpServer {
public:
    virtual ~HttpServer() = default;
    // address: "0.0.0.0:10256", "[::]:10256", "127.0.0.1" with default_port; port 0 is any free one.
    // thread: null: one of its own. Errors name the address and, when it is taken, say so.
    static Result<std::unique_ptr<HttpServer>> listen(const std::string& address,
                                                      std::uint16_t default_port,
                                                      HttpHandler handler,
                                                      std::shared_ptr<HttpThread> thread = nullptr);
    // Whether listen() would understand the address; nothing is opened.
    static Result<void> check_address(const std::string& address);
    [[nodiscard]] virtual std::uint16_t port() const = 0;
};

}  // namespace sluice::health
