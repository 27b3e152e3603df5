// Counters of the API server and their Prometheus text form (exposition format 0.0.4).
//
// One flat array of atomics, indexed by kind, verb, subresource and status code: recording takes no lock and makes
// no allocation, and the number of series is bounded by construction.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "control/apiserver/request_info.h"

namespace sluice::apiserver {

// Upper bounds in microseconds; the last bucket is +Inf.
inline constexpr std::array<std::uint32_t, 18> kLatencyBucketsUs = {
    250,     500,     1'000,   2'500,     5'000,     10'000,    25'000,     50'000,     100'000,
    200'000, 400'000, 800'000, 1'500'000, 3'000'000, 6'000'000, 15'000'000, 30'000'000, 60'000'000};

// What other parts report when the metrics are read.
struct Gauges {
    http::ServerStats http;
    std::uint64_t store_revision = 0;
    std::uint64_t store_compacted_revision = 0;
    std::uint64_t unauthenticated_requests = 0;
    std::uint64_t allowed_requests = 0;    // decisions of the authorizer
    std::uint64_t forbidden_requests = 0;
};

class Metrics {
public:
    Metrics();

    void begin(Verb verb);
    // The answer's status is known, duration_us after begin().
    void record(const RequestInfo& info, int code, std::uint64_t duration_us);
    void end(Verb verb);
    // A stream of this request runs, or is over.
    void begin_stream(const RequestInfo& info);
    void end_stream(const RequestInfo& info);

    [[nodiscard]] std::string text(const Gauges& gauges) const;

private:
    using Counter = std::atomic<std::uint64_t>;
    struct Latency {
        std::array<Counter, kLatencyBucketsUs.size() + 1> buckets{};
        Counter sum_us{0};
    };

    [[nodiscard]] static std::size_t kind_index(const codec::KindInfo* kind);

    std::size_t kinds_;
    [[nodiscard]] static std::size_t row_of(const RequestInfo& info);
    void streams_text(std::string* out) const;
    void latency_text(std::string* out) const;

    std::unique_ptr<Counter[]> requests_;  // [kind][verb][scope][is_status][code]
    std::unique_ptr<Latency[]> latency_;   // [kind][verb][scope]
    std::unique_ptr<Counter[]> streams_;   // the same; those that run now
    std::array<Counter, 2> inflight_{};    // read-only, mutating
};

}  // namespace sluice::apiserver
