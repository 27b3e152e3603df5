// A client's request on its way to another API server, and the answer on its way back: streamed both ways, with who
// asks in headers that the other server believes because of this server's certificate.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "control/apiserver/aggregator/remote.h"
#include "control/http/dialer.h"
#include "control/http/server.h"

namespace sluice::aggregator {

// Requests under way at once, watches among them; more are refused with 429.
inline constexpr std::size_t kMaxRelayed = 4'000;
inline constexpr int kRelayThreads = 2;
// To the head of an answer, as long as a request may take here.
inline constexpr std::uint32_t kRelayTimeoutMs = 60'000;
// An answer of a known length up to this is collected, so that one that breaks off is an error and no shorter answer.
inline constexpr std::size_t kMaxCollectedBytes = 1U << 20U;

struct RelayStats {
    std::size_t under_way = 0;
    std::uint64_t relayed = 0;
    std::uint64_t failed = 0;   // without an answer from the other server
    std::uint64_t refused = 0;  // kMaxRelayed
};

// Thread-safe. Outlives the http::Server whose requests it answers.
class Relay {
public:
    Relay() : dialer_(http::Dialer::create(kRelayThreads)) {}

    // Answers, now or later.
    void pass(const Remote& remote, const std::shared_ptr<const http::Request>& request,
              std::shared_ptr<http::Responder> responder);
    // The same to a place that the dial names, with its target and what it says beside the client's own headers, and
    // without who asks.
    void forward(http::DialRequest dial, const std::shared_ptr<const http::Request>& request,
                 std::shared_ptr<http::Responder> responder);
    [[nodiscard]] RelayStats stats() const;

private:
    void go(http::DialRequest dial, const std::shared_ptr<const http::Request>& request,
            std::shared_ptr<http::Responder> responder);

    // Shared with answers that come late.
    struct Counters {
        std::atomic<std::size_t> under_way{0};
        std::atomic<std::uint64_t> relayed{0};
        std::atomic<std::uint64_t> failed{0};
        std::atomic<std::uint64_t> refused{0};
    };
    const std::shared_ptr<Counters> counters_ = std::make_shared<Counters>();
    std::atomic<std::size_t> turn_{0};
    const std::unique_ptr<http::Dialer> dialer_;
};

// The client's own headers but for its credentials, what it says of itself, and what is about its connection alone.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> forwarded_headers(const http::Request& request);
// The headers that go on with a request to another API server: those, and who it is.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> relayed_headers(const http::Request& request);

}  // namespace sluice::aggregator
