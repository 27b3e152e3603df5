// Whether this process may do what the engine does.
#pragma once

#include "api/base/result.h"

namespace sluice::dataplane {

// kPermissionDenied says which rights the calling thread lacks. Namespaces can withhold more than this sees.
Result<void> check_privileges();

}  // namespace sluice::dataplane
