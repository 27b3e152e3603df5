// Makes the objects of configuration that every cluster has: PriorityClasses of the system, flow control,
// APIServices of what is served here, the range of ClusterIPs. Run at every start; what is right costs a read.
#pragma once

#include "api/base/result.h"
#include "control/apiserver/registry/api.h"
#include "control/apiserver/registry/rest/core.h"

namespace sluice::registry {

// All writes are under way together, so that they share the store's syncs. Waits for them.
// REQUIRES: not on one of the core's workers.
Result<void> bootstrap_platform(Core& core, const ApiOptions& options);

}  // namespace sluice::registry
