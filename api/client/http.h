// HTTP/1.1 towards one API server: TLS with verification, connections kept alive and shared, deadlines on every
// step, answers read whole or as they come. Asio, Beast and OpenSSL stay behind http.cc.
//
// Calls block the calling thread; any number of threads may call. A stop token ends a call at once with kCancelled.
#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/base/result.h"
#include "api/client/kubeconfig.h"

namespace sluice::client {

// Limits; reaching one is kResourceExhausted or kDeadlineExceeded.
inline constexpr std::size_t kMaxResponseBytes = 512U << 20U;  // a list of 50,000 services is about 50 MB
inline constexpr std::uint32_t kMaxHeadBytes = 64U << 10U;
inline constexpr std::size_t kMaxIdleConnections = 8;
inline constexpr std::uint32_t kConnectTimeoutMs = 10'000;   // resolve, connect and TLS, each
inline constexpr std::uint32_t kResponseTimeoutMs = 60'000;  // from the request to the answer's head
inline constexpr std::uint32_t kTokenCacheMs = 60'000;       // a rotated tokenFile is seen after this

using Headers = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
    std::string method = "GET";
    std::string target;  // path and query, percent-encoded; the prefix of the server's URL is put before it
    Headers headers;
    std::string body;
};

struct HttpHead {
    int status = 0;
    Headers headers;  // names in lower case
    // First of that name, or empty.
    [[nodiscard]] std::string_view header(std::string_view lower_case_name) const;
};

struct HttpResponse {
    HttpHead head;
    std::string body;
};

// An answer whose body is read as it comes. One thread. Destroying it early closes its connection.
class HttpStream {
public:
    virtual ~HttpStream() = default;
    [[nodiscard]] virtual const HttpHead& head() const = 0;
    // Waits for at least one byte; 0 is the end of the body. kUnavailable when the connection breaks,
    // kDeadlineExceeded after timeout_ms without a byte.
    virtual Result<std::size_t> read(char* data, std::size_t size, std::uint32_t timeout_ms) = 0;
};

class HttpClient {
public:
    virtual ~HttpClient() = default;

    // Certificates and keys are checked here; nothing is sent yet.
    static Result<std::unique_ptr<HttpClient>> create(const ClientConfig& config,
                                                      std::string user_agent);

    // Returns when the head is there.
    virtual Result<std::unique_ptr<HttpStream>> stream(const HttpRequest& request,
                                                       std::stop_token stop) = 0;
    // The whole answer, of at most kMaxResponseBytes.
    virtual Result<HttpResponse> request(const HttpRequest& request, std::stop_token stop) = 0;
    [[nodiscard]] virtual const ClientConfig& config() const = 0;
};

// "a b&c" as "a%20b%26c".
[[nodiscard]] std::string percent_encode(std::string_view text);

}  // namespace sluice::client
