// The FlowSchemas and PriorityLevelConfigurations that a Kubernetes 1.32 API server starts with.
#pragma once

#include "control/apiserver/flowcontrol/types.h"

namespace sluice::flowcontrol {

[[nodiscard]] Configuration defaults();

}  // namespace sluice::flowcontrol
