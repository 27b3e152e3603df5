// What a cluster starts with: its namespaces, and the Service through which pods reach the API.
#pragma once

#include "api/base/result.h"
#include "control/apiserver/registry/api.h"
#include "control/apiserver/registry/rest/core.h"

namespace sluice::registry {

// Makes what is missing and corrects the API's own endpoints; waits for the writes.
// REQUIRES: not on one of the core's workers.
Result<void> bootstrap(Core& core, const ApiOptions& options);

}  // namespace sluice::registry
