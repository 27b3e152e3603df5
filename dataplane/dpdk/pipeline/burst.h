// The stages of a burst. Internal to this folder.
#pragma once

#include <cstdint>
#include <span>

#include "dataplane/dpdk/pipeline/frame.h"

namespace sluice::dpdk {

struct Work;

struct Burst {};

// REQUIRES: an image and routes; frames.size() <= kMaxBurst.
void process_burst(Work& work, Burst& burst, std::span<Frame> frames);

}  // namespace sluice::dpdk
