// Says what the tables would make of a packet, and why. Decided by bpf/lib/decide.h itself, on Tables and a view of the
// flow tables alone, so that it is tested without a kernel. Nothing is written.
#pragma once

#include "dataplane/ebpf/inspect.h"
#include "dataplane/image/layout.h"

struct sluice_flow_view;

namespace sluice::dataplane {

struct AffinityView;

// flows, affinity: null where no such tables are; only read.
Explanation explain_packet(const image::Tables& tables, const Question& question,
                           const sluice_flow_view* flows, const AffinityView* affinity = nullptr);

}  // namespace sluice::dataplane
