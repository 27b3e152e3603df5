#include "control/apiserver/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <iterator>

#include "api/base/metrics_text.h"

namespace sluice::apiserver {
namespace {

using metrics_text::head;
using metrics_text::single;

// The codes that are answered; any other counts under 0, which is written as "other".
constexpr std::array<int, 24> kCodes = {200, 201, 202, 204, 304, 400, 401, 403, 404, 405, 406, 408,
                                        409, 410, 413, 415, 422, 429, 431, 500, 501, 503, 504, 0};

std::size_t code_index(int code) {
    const auto* found = std::find(kCodes.begin(), kCodes.end() - 1, code);
    return static_cast<std::size_t>(found - kCodes.begin());
}

// row: [kind][verb][scope]
std::string labels(std::size_t row) {
    const auto all = codec::all_kinds();
    const std::size_t index = row / (kVerbs * kScopes);
    const codec::KindInfo* kind = index < all.size() ? &all[index] : nullptr;
    return fmt::format(
        R"(component="apiserver",verb="{}",group="{}",version="{}",resource="{}",scope="{}")",
        verb_name(static_cast<Verb>(row / kScopes % kVerbs)),
        kind == nullptr ? "" : kind->gvk.group, kind == nullptr ? "" : kind->gvk.version,
        kind == nullptr ? "" : kind->resource, scope_name(static_cast<Scope>(row % kScopes)));
}

std::uint64_t load(const std::atomic<std::uint64_t>& counter) {
    return counter.load(std::memory_order_relaxed);
}

void http2_text(std::string* out, const http::ServerStats& h) {
    single(out, "sluice_http2_connections", "gauge", "Open connections of HTTP/2.",
           h.http2_connections);
    single(out, "sluice_http2_requests_total", "counter", "Requests of HTTP/2.", h.http2_requests);
    single(out, "sluice_http2_client_resets_total", "counter",
           "Streams that their clients gave up.", h.client_resets);
    single(out, "sluice_http2_slow_streams_total", "counter",
           "Streams reset because their client was too slow.", h.slow_streams);
    single(out, "sluice_http2_flooded_connections_total", "counter",
           "Connections ended with ENHANCE_YOUR_CALM.", h.flooded_connections);
    single(out, "sluice_http2_broken_connections_total", "counter",
           "Connections ended for breaking the protocol.", h.broken_connections);
    single(out, "sluice_http2_goaways_total", "counter", "Clients told to connect anew.", h.goaways);
}

}  // namespace

// The slot after the last kind is for what is not a resource.
Metrics::Metrics()
    : kinds_(codec::all_kinds().size() + 1),
      requests_(std::make_unique<Counter[]>(kinds_ * kVerbs * kScopes * 2 * kCodes.size())),
      latency_(std::make_unique<Latency[]>(kinds_ * kVerbs * kScopes)),
      streams_(std::make_unique<Counter[]>(kinds_ * kVerbs * kScopes)) {}

// Kinds that are defined while the server runs are not in the scheme's list, and share the last slot.
std::size_t Metrics::kind_index(const codec::KindInfo* kind) {
    const auto all = codec::all_kinds();
    const std::less<const codec::KindInfo*> before;
    const bool listed = kind != nullptr && !before(kind, all.data()) &&
                        before(kind, all.data() + all.size());
    return listed ? static_cast<std::size_t>(kind - all.data()) : all.size();
}

std::size_t Metrics::row_of(const RequestInfo& info) {
    return (kind_index(info.kind) * kVerbs + static_cast<std::size_t>(info.verb)) * kScopes +
           static_cast<std::size_t>(info.scope);
}

void Metrics::begin_stream(const RequestInfo& info) {
    streams_[row_of(info)].fetch_add(1, std::memory_order_relaxed);
}

void Metrics::end_stream(const RequestInfo& info) {
    streams_[row_of(info)].fetch_sub(1, std::memory_order_relaxed);
}

void Metrics::begin(Verb verb) {
    inflight_[is_mutating(verb) ? 1 : 0].fetch_add(1, std::memory_order_relaxed);
}

void Metrics::end(Verb verb) {
    inflight_[is_mutating(verb) ? 1 : 0].fetch_sub(1, std::memory_order_relaxed);
}

void Metrics::record(const RequestInfo& info, int code, std::uint64_t duration_us) {
    const std::size_t row = row_of(info);
    const std::size_t column = (info.is_status ? kCodes.size() : 0) + code_index(code);
    requests_[row * 2 * kCodes.size() + column].fetch_add(1, std::memory_order_relaxed);
    const auto* bucket =
        std::lower_bound(kLatencyBucketsUs.begin(), kLatencyBucketsUs.end(), duration_us);
    Latency& latency = latency_[row];
    latency.buckets[static_cast<std::size_t>(bucket - kLatencyBucketsUs.begin())].fetch_add(
        1, std::memory_order_relaxed);
    latency.sum_us.fetch_add(duration_us, std::memory_order_relaxed);
}

void Metrics::latency_text(std::string* out) const {
    head(out, "apiserver_request_duration_seconds", "histogram",
         "Time until the answer was given, by verb and resource; for a watch, until it began.");
    for (std::size_t row = 0; row < kinds_ * kVerbs * kScopes; ++row) {
        const Latency& latency = latency_[row];
        const std::string row_labels = labels(row);
        std::array<std::uint64_t, kLatencyBucketsUs.size() + 1> counts{};
        std::uint64_t total = 0;
        for (std::size_t i = 0; i < counts.size(); ++i) {
            total += load(latency.buckets[i]);
            counts[i] = total;
        }
        if (total == 0) continue;
        for (std::size_t i = 0; i < counts.size(); ++i) {
            const std::string bound =
                i < kLatencyBucketsUs.size() ? fmt::format("{}", kLatencyBucketsUs[i] / 1e6) : "+Inf";
            fmt::format_to(std::back_inserter(*out),
                           "apiserver_request_duration_seconds_bucket{{{},le=\"{}\"}} {}\n",
                           row_labels, bound, counts[i]);
        }
        fmt::format_to(std::back_inserter(*out),
                       "apiserver_request_duration_seconds_sum{{{0}}} {1}\n"
                       "apiserver_request_duration_seconds_count{{{0}}} {2}\n",
                       row_labels, static_cast<double>(load(latency.sum_us)) / 1e6, total);
    }
}

void Metrics::streams_text(std::string* out) const {
    head(out, "apiserver_longrunning_requests", "gauge", "Watches and other streams that run.");
    for (std::size_t row = 0; row < kinds_ * kVerbs * kScopes; ++row) {
        const std::uint64_t count = load(streams_[row]);
        if (count == 0) continue;
        fmt::format_to(std::back_inserter(*out), "apiserver_longrunning_requests{{{}}} {}\n",
                       labels(row), count);
    }
}

std::string Metrics::text(const Gauges& gauges) const {
    std::string out;
    head(&out, "apiserver_request_total", "counter",
         "Requests by verb, resource, subresource and status code.");
    for (std::size_t row = 0; row < kinds_ * kVerbs * kScopes; ++row) {
        for (std::size_t column = 0; column < 2 * kCodes.size(); ++column) {
            const std::uint64_t count = load(requests_[row * 2 * kCodes.size() + column]);
            if (count == 0) continue;
            const int code = kCodes[column % kCodes.size()];
            fmt::format_to(std::back_inserter(out),
                           "apiserver_request_total{{{},dry_run=\"\",subresource=\"{}\",code=\"{}\"}} {}\n",
                           labels(row),
                           column < kCodes.size() ? "" : "status",
                           code == 0 ? "other" : fmt::to_string(code), count);
        }
    }
    latency_text(&out);
    streams_text(&out);
    head(&out, "apiserver_current_inflight_requests", "gauge", "Requests being answered.");
    fmt::format_to(std::back_inserter(out),
                   "apiserver_current_inflight_requests{{request_kind=\"readOnly\"}} {}\n"
                   "apiserver_current_inflight_requests{{request_kind=\"mutating\"}} {}\n",
                   load(inflight_[0]), load(inflight_[1]));

    const http::ServerStats& h = gauges.http;
    single(&out, "sluice_http_connections", "gauge", "Open connections.", h.connections);
    single(&out, "sluice_http_streams", "gauge", "Open streams, such as watches.", h.streams);
    single(&out, "sluice_http_accepted_connections_total", "counter", "Connections accepted.",
           h.accepted);
    single(&out, "sluice_http_refused_connections_total", "counter",
           "Connections closed at once because too many were open.", h.refused_connections);
    single(&out, "sluice_http_failed_handshakes_total", "counter", "TLS handshakes that failed.",
           h.failed_handshakes);
    single(&out, "sluice_http_timed_out_connections_total", "counter",
           "Connections closed because the client was too slow.", h.timed_out_connections);
    single(&out, "sluice_http_timed_out_requests_total", "counter",
           "Requests answered with 504 because they took too long.", h.timed_out_requests);
    single(&out, "sluice_http_malformed_requests_total", "counter", "Requests answered with 400.",
           h.malformed_requests);
    single(&out, "sluice_http_oversized_requests_total", "counter",
           "Requests answered with 413 or 431.", h.oversized_requests);
    single(&out, "sluice_http_overflowed_streams_total", "counter",
           "Streams closed because their reader was too slow.", h.overflowed_streams);
    http2_text(&out, h);
    single(&out, "sluice_apiserver_unauthenticated_requests_total", "counter",
           "Requests answered with 401 for want of credentials.", gauges.unauthenticated_requests);
    single(&out, "sluice_authorization_allowed_total", "counter",
           "Decisions of the authorizers that permitted.", gauges.allowed_requests);
    single(&out, "sluice_authorization_forbidden_total", "counter",
           "Decisions of the authorizers that did not.", gauges.forbidden_requests);
    single(&out, "sluice_store_revision", "gauge", "Newest revision of the store.",
           gauges.store_revision);
    single(&out, "sluice_store_compacted_revision", "gauge",
           "Oldest revision that can still be read.", gauges.store_compacted_revision);
    return out;
}

}  // namespace sluice::apiserver
