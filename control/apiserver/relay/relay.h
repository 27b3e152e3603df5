// A client's request on its way to another server (an API server, a Pod, a Service, a node), and the answer on its way
// back: streamed both ways, upgrades too.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/http/dialer.h"
#include "control/http/server.h"

namespace sluice::relay {

// Requests under way at once, watches among them; more are refused with 429.
inline constexpr std::size_t kMaxRelayed = 4'000;
inline constexpr int kRelayThreads = 2;
// To the head of an answer, as long as a request may take here; but DialRequest::waits_for_answer.
inline constexpr std::uint32_t kRelayTimeoutMs = 60'000;
// An answer of a known length up to this is collected, so that one that breaks off is an error and no shorter answer.
inline constexpr std::size_t kMaxCollectedBytes = 1U << 20U;

struct Stats {
    std::size_t under_way = 0;
    std::uint64_t relayed = 0;
    std::uint64_t failed = 0;   // without an answer from the other server
    std::uint64_t refused = 0;  // kMaxRelayed
};

// Thread-safe. Outlives the http::Server whose requests it answers.
class Relay {
public:
    Relay() : dialer_(http::Dialer::create(kRelayThreads)) {}

    // Sends the request to the place that the dial names, with its target and what it says beside the client's own
    // headers; answers, now or later.
    void forward(http::DialRequest dial, const std::shared_ptr<const http::Request>& request,
                 std::shared_ptr<http::Responder> responder);
    [[nodiscard]] Stats stats() const;
    // Prometheus text: PREFIX_requests, PREFIX_requests_total, PREFIX_failed_requests_total and
    // PREFIX_refused_requests_total. whom: "other API servers", for their help.
    [[nodiscard]] std::string metrics(std::string_view prefix, std::string_view whom) const;

private:
    // Shared with answers that come late.
    struct Counters {
        std::atomic<std::size_t> under_way{0};
        std::atomic<std::uint64_t> relayed{0};
        std::atomic<std::uint64_t> failed{0};
        std::atomic<std::uint64_t> refused{0};
    };
    const std::shared_ptr<Counters> counters_ = std::make_shared<Counters>();
    const std::unique_ptr<http::Dialer> dialer_;
};

// The client's own headers but for its credentials, what it says of itself, and what is about its connection alone.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> forwarded_headers(const http::Request& request);

}  // namespace sluice::relay
