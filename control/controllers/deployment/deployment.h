// Moves Deployments from one pod template to another through ReplicaSets.
#pragma once

#include <memory>

#include "control/controllers/controller.h"

namespace sluice::controllers {

std::unique_ptr<Controller> make_deployment_controller(Context& context);

}  // namespace sluice::controllers
