// The FlowSchemas and PriorityLevelConfigurations of registry/defaults, for as long as they are not stored: the UIDs
// are made of the names.
#pragma once

#include "control/apiserver/flowcontrol/types.h"

namespace sluice::flowcontrol {

[[nodiscard]] Configuration defaults();

}  // namespace sluice::flowcontrol
