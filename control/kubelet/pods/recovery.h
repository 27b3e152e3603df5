// Taking over what a runtime runs: of a pod that is seen first, and after its events were not heard for a while.
#pragma once

#include <vector>

#include "control/kubelet/cri/cri.h"
#include "control/kubelet/pods/machine.h"
#include "control/kubelet/pods/sandbox_config.h"
#include "control/kubelet/pods/types.h"
#include "control/kubelet/probes/probes.h"

namespace sluice::kubelet {

// A listing of the runtime.
struct Snapshot {
    std::vector<criv1::PodSandbox> sandboxes;
    std::vector<criv1::Container> containers;
};

// Fills a new entry with the pod's newest sandbox and the last two lives of each container, and has those that run
// probed. What they came to at the API server (ready, started) goes on to be true until a probe says otherwise.
// REQUIRES: nobody else has the entry yet.
void adopt(PodEntry& entry, const Snapshot& snapshot, Cri& cri, Prober& prober,
           const NodeSettings& node);

// Asks the runtime for each container that is thought to run, and tells the machine of those that ended meanwhile; ends
// the waits that were for the runtime. The caller wakes the pod.
void verify(PodEntry& entry, Cri& cri, Machine& machine);

}  // namespace sluice::kubelet
