// Runs the pods of a Job to their end, as often as it asks, and counts each of them once.
#pragma once

#include <memory>

#include "control/controllers/controller.h"

namespace sluice::controllers {

std::unique_ptr<Controller> make_job_controller(Context& context);

}  // namespace sluice::controllers
