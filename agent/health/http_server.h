// A small plain HTTP server for health and metrics: GET and HEAD, answered at once on its one
// thread. Asio and Beast stay behind http_server.cc.
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
inline constexpr std::size_t kMaxConnections = 128;  // further ones are closed at once
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

class HttpServer {
public:
    virtual ~HttpServer() = default;
    // address: "0.0.0.0:10256", "[::]:10256", "127.0.0.1" with default_port; port 0 is any free one.
    // Errors name the address and, when it is taken, say so.
    static Result<std::unique_ptr<HttpServer>> listen(const std::string& address,
                                                      std::uint16_t default_port,
                                                      HttpHandler handler);
    // Whether listen() would understand the address; nothing is opened.
    static Result<void> check_address(const std::string& address);
    [[nodiscard]] virtual std::uint16_t port() const = 0;
};

}  // namespace sluice::health
