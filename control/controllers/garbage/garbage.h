// Removes what its owners left behind: dependents of deleted objects, in the background, in the
// foreground, or not at all.
#pragma once

#include <memory>

#include "control/controllers/controller.h"

namespace sluice::controllers {

// Watches all kinds of the scheme but Events, and custom kinds. REQUIRES: made before the informers start.
std::unique_ptr<Controller> make_garbage_collector(Context& context);

}  // namespace sluice::controllers
