// Keeps one pod of a DaemonSet on every node that is meant, moves the pods to a new template, and
// records the templates there were as ControllerRevisions.
#pragma once

#include <memory>

#include "control/controllers/controller.h"

namespace sluice::controllers {

std::unique_ptr<Controller> make_daemon_set_controller(Context& context);

}  // namespace sluice::controllers
