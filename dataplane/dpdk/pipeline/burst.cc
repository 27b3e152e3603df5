#include "dataplane/dpdk/pipeline/burst.h"

#include "dataplane/dpdk/pipeline/work.h"

namespace sluice::dpdk {

void process_burst(Work& work, Burst& /*burst*/, std::span<Frame> frames) {
    for (Frame& frame : frames) process_frame(work, frame);
}

}  // namespace sluice::dpdk
