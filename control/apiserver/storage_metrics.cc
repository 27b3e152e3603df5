#include "control/apiserver/storage_metrics.h"

#include <fmt/format.h>

#include <iterator>
#include <string_view>

#include "api/base/metrics_text.h"
#include "control/apiserver/registry/api.h"
#include "control/store/store.h"

namespace sluice::apiserver {
namespace {

using metrics_text::head;
using metrics_text::single;

// The whole store is one cluster in upstream's count of them.
constexpr std::string_view kClusterId = "etcd-0";

void durations_text(std::string* out, const store::RequestFigures& row) {
    const std::string labels = fmt::format(R"(operation="{}",type="{}")", row.operation, row.type);
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < row.buckets.size(); ++i) {
        total += row.buckets[i];
        const bool last = i == store::kRequestBucketsMs.size();
        fmt::format_to(std::back_inserter(*out), "etcd_request_duration_seconds_bucket{{{},le=\"{}\"}} {}\n",
                       labels, last ? "+Inf" : fmt::format("{}", store::kRequestBucketsMs[i] / 1e3), total);
    }
    fmt::format_to(std::back_inserter(*out),
                   "etcd_request_duration_seconds_sum{{{0}}} {1}\n"
                   "etcd_request_duration_seconds_count{{{0}}} {2}\n",
                   labels, static_cast<double>(row.duration_us) / 1e6, total);
}

// Of a store over a network.
void requests_text(std::string* out, const store::Stats& stats) {
    head(out, "etcd_request_duration_seconds", "histogram",
         "Etcd request latency in seconds for each operation and object type.");
    for (const auto& row : stats.requests) durations_text(out, row);
    head(out, "etcd_requests_total", "counter", "Etcd request counts for each operation and object type.");
    for (const auto& row : stats.requests) {
        fmt::format_to(std::back_inserter(*out), "etcd_requests_total{{operation=\"{}\",type=\"{}\"}} {}\n",
                       row.operation, row.type, row.requests);
    }
    head(out, "etcd_request_errors_total", "counter",
         "Etcd failed request counts for each operation and object type.");
    for (const auto& row : stats.requests) {
        if (row.errors == 0) continue;
        fmt::format_to(std::back_inserter(*out), "etcd_request_errors_total{{operation=\"{}\",type=\"{}\"}} {}\n",
                       row.operation, row.type, row.errors);
    }
    single(out, "sluice_store_fences_total", "counter", "Reads that asked for the newest state.", stats.fences);
    single(out, "sluice_store_fence_rounds_total", "counter", "Round trips that served them.", stats.fence_rounds);
    single(out, "sluice_store_refused_fences_total", "counter",
           "Reads refused, as too many waited or the newest state was not known in time.", stats.refused_fences);
    single(out, "sluice_store_reconnects_total", "counter", "Times the watch of etcd was opened anew.",
           stats.reconnects);
    single(out, "sluice_store_reloads_total", "counter",
           "Times the whole state was read anew, which ends watches.", stats.reloads);
}

void objects_text(std::string* out, const registry::Api* api) {
    if (api == nullptr) return;
    const registry::ApiFigures figures = api->figures();
    head(out, "apiserver_storage_objects", "gauge", "Number of stored objects by kind.");
    for (const auto& [resource, count] : figures.objects) {
        fmt::format_to(std::back_inserter(*out), "apiserver_storage_objects{{resource=\"{}\"}} {}\n", resource,
                       count);
    }
    single(out, "sluice_registry_overflowed_watches_total", "counter",
           "Watches ended with 410 because their clients were too slow.", figures.overflowed_watches);
    single(out, "sluice_registry_custom_kinds", "gauge", "Versions of CustomResourceDefinitions that are served.",
           figures.custom_kinds);
    single(out, "sluice_registry_refused_custom_kinds", "gauge",
           "Versions of CustomResourceDefinitions that are not served, as there are too many.",
           figures.refused_custom_kinds);
    single(out, "sluice_registry_claim_conflicts_total", "counter",
           "Writes of Services made again, as another server had taken the address or node port.",
           figures.claim_conflicts);
    single(out, "sluice_registry_object_cache_bytes", "gauge",
           "What decoded objects weigh that are kept for the next reader.", figures.object_cache_bytes);
    single(out, "sluice_registry_object_cache_misses_total", "counter",
           "Objects decoded because they were not kept.", figures.object_cache_misses);
    single(out, "sluice_registry_repaired_claims_total", "counter",
           "Claims of addresses and node ports brought into line with the Services at start.",
           figures.repaired_claims);
}

}  // namespace

std::string storage_metrics(const store::Store& store, const registry::Api* api) {
    std::string out;
    const store::Stats stats = store.stats();
    objects_text(&out, api);
    head(&out, "apiserver_storage_size_bytes", "gauge",
         "Size of the storage database file physically allocated in bytes.");
    fmt::format_to(std::back_inserter(out), "apiserver_storage_size_bytes{{storage_cluster_id=\"{}\"}} {}\n",
                   kClusterId, stats.size_bytes);
    single(&out, "sluice_store_healthy", "gauge", "1 while writes can be served.", store.healthy() ? 1 : 0);
    single(&out, "sluice_store_writes_total", "counter", "Writes answered, failed conditions included.",
           stats.writes);
    single(&out, "sluice_store_failed_writes_total", "counter", "Writes that failed in the store.",
           stats.failed_writes);
    single(&out, "sluice_store_refused_writes_total", "counter",
           "Writes refused, as the queue was full or they were not valid.", stats.refused_writes);
    single(&out, "sluice_store_history_bytes", "gauge", "What superseded values cost in memory.",
           stats.history_bytes);
    single(&out, "sluice_store_watches", "gauge", "Open watches of the store.", stats.watches);
    if (store.shared()) requests_text(&out, stats);
    return out;
}

}  // namespace sluice::apiserver
