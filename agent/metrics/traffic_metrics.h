// What the dataplane counted, as samples for Prometheus: per service, per endpoint, drops, tables. Read from the pinned
// tables at each scrape, so nothing is counted twice and nothing is kept here.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "dataplane/ebpf/inspect.h"

namespace sluice::metrics {

// Series are bounded, whatever the cluster's size: so many service ports and endpoints have series of their own, the
// busiest by connections. The rest is summed under the label "other", and how many those are is a metric too.
struct Limits {
    std::size_t services = 1000;
    std::size_t backends = 4000;
};

// Appends the samples. Pure.
void render_traffic(const dataplane::TrafficReport& report,
                    const std::vector<dataplane::DropView>& drops, const Limits& limits,
                    std::string* out);

// Appends what is pinned under bpffs; before the first publish only sluice_dataplane_readable 0. Any thread, one at a
// time; opens the tables anew each time, since the agent replaces them. Some ms, and more with full flow tables.
void collect_traffic(const std::string& bpffs, std::string* out);

}  // namespace sluice::metrics
