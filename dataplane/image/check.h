// What the publisher demands of a desired service before it touches the image.
#pragma once

#include "api/base/result.h"
#include "dataplane/image/desired.h"

namespace sluice::image {

// kInvalidArgument names the service and the field: sets sorted and of the service's family,
// weights of 1 to kMaxWeight, frontends with ports and addresses, source ranges sorted, disjoint
// and of the family, and present where a frontend is restricted to them: a restricted frontend
// without ranges would be open to everybody.
Result<void> check_service(const Service& service);

}  // namespace sluice::image
