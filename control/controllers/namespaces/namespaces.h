// What every namespace starts with: the ServiceAccount default and the certificate authority of the
// API server.
#pragma once

#include <memory>
#include <string>

#include "control/controllers/controller.h"

namespace sluice::controllers {

// The ServiceAccount "default" in every namespace, made again when it is deleted.
std::unique_ptr<Controller> make_service_account_controller(Context& context);

// The ConfigMap kube-root-ca.crt in every namespace, restored when it is changed or deleted.
std::unique_ptr<Controller> make_root_ca_publisher(Context& context, std::string root_ca_pem);

}  // namespace sluice::controllers
