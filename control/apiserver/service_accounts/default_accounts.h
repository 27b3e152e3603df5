// The ServiceAccount "default" of every namespace, made with the namespace: Pods cannot be made without one, and who
// has just made a namespace should not have to wait for a controller. (The controller makes it again when it is
// deleted.)
#pragma once

#include <memory>

#include "api/base/result.h"

namespace sluice::registry {
class Api;
class Observation;
}  // namespace sluice::registry

namespace sluice::service_accounts {

// Ends when destroyed, before the Api.
Result<std::unique_ptr<registry::Observation>> keep_default_accounts(registry::Api& api);

}  // namespace sluice::service_accounts
