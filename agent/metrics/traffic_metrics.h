// What the dataplane counted, as samples for Prometheus: per service, per endpoint, drops, tables. Read from the pinned
// tables at each scrape, so nothing is counted twice; what is kept is who has a series (series.h).
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/metrics/series.h"
#include "dataplane/ebpf/inspect.h"

namespace sluice::metrics {

// Series are bounded, whatever the cluster's size: so many service ports and endpoints have series of their own. The
// rest is summed under the label "other", and how many those are is a metric too.
struct Limits {
    std::size_t services = 1000;
    std::size_t backends = 4000;
};

// The engine's tables, pinned or in shared memory.
using OpenTables = std::function<Result<std::unique_ptr<dataplane::Inspector>>()>;

// One thread at a time. A new one gives the places to those with the most connections.
class TrafficMetrics {
public:
    explicit TrafficMetrics(const Limits& limits = {}) : services_(limits.services), backends_(limits.backends) {}

    // Appends the samples.
    void render(const dataplane::TrafficReport& report, const std::vector<dataplane::DropView>& drops,
                std::string* out);
    // Appends what the tables hold; before the first publish only sluice_dataplane_readable 0. Opens them anew each
    // time, since the agent replaces them. Some ms, and more with full flow tables.
    void collect(const OpenTables& open, std::string* out);

private:
    void render_services(const std::vector<dataplane::ServiceTraffic>& services, std::string* out);
    void render_backends(const std::vector<dataplane::ServiceTraffic>& services, std::string* out);

    SeriesLedger services_, backends_;
};

}  // namespace sluice::metrics
