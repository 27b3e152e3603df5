// Keeps as many pods as a ReplicaSet or a ReplicationController asks for: one controller class for
// the two kinds.
#pragma once

#include <memory>

#include "control/controllers/controller.h"

namespace sluice::controllers {

std::unique_ptr<Controller> make_replica_set_controller(Context& context);
std::unique_ptr<Controller> make_replication_controller(Context& context);

}  // namespace sluice::controllers
