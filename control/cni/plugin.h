// One invocation of the plugin, from what the runtime gave to what it is answered.
#pragma once

#include <string>
#include <string_view>

#include "control/cni/types.h"

namespace sluice::cni {

struct Answer {
    std::string output;  // for standard output; empty when the command has no result
    bool failed = false;
};

// config: standard input as it came. Works in the network namespace of the calling thread, which is
// the node's. Several processes may run at once for one network.
[[nodiscard]] Answer run(const Environment& environment, std::string_view config);

}  // namespace sluice::cni
