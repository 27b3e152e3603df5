// HTTP/1.1 requests with a body and an answer that is read whole, over connections that are kept for the next request
// to the same server: what the API server asks webhooks.
//
//   start(request) -> Call --wait(deadline)--> answer
//        | an idle connection of the same server, else the dialer's
//        `-- a kept connection that ends without an answer, as the server had closed it: once more on a new one, so
//            that a request which may not come twice has no place here
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "api/base/result.h"
#include "control/http/dialer.h"

namespace sluice::http {

inline constexpr std::size_t kMaxIdleConnections = 128;     // of all servers together
inline constexpr std::size_t kMaxIdlePerServer = 8;
inline constexpr std::uint32_t kMaxIdleMs = 30'000;         // then a connection is not used again
inline constexpr std::size_t kMaxClientBodyBytes = 16U << 20U;  // of an answer; kResourceExhausted beyond it

struct ClientAnswer {
    int status = 0;
    std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
    std::string body;
    std::chrono::steady_clock::time_point finished;  // when its last byte came
};

struct ClientStats {
    std::size_t under_way = 0;
    std::size_t idle_connections = 0;
    std::uint64_t dialed = 0;
    std::uint64_t reused = 0;
};

// Thread-safe. Outlives its calls.
class Client {
public:
    // One request. Dropping it before its answer came closes its connection.
    class Call {
    public:
        virtual ~Call() = default;
        // Blocks. kDeadlineExceeded at the deadline; otherwise the errors of Dialer::dial, and kResourceExhausted.
        virtual Result<ClientAnswer> wait(std::chrono::steady_clock::time_point deadline) = 0;
        // Whether the answer, or why there is none, is known; wait() gives it once.
        [[nodiscard]] virtual bool over() const = 0;
    };

    virtual ~Client() = default;
    static std::unique_ptr<Client> create(int threads);

    // host_header: what the server is told it is asked as. The request's headers must not frame the body.
    [[nodiscard]] virtual std::unique_ptr<Call> start(DialRequest request, std::string host_header,
                                                      std::string body) = 0;
    [[nodiscard]] virtual ClientStats stats() const = 0;
};

}  // namespace sluice::http
