// Keeps an Authorizer as the stored objects have it, and the stored objects as the default policy wants them.
//
//   store --registry::Api::observe--> Rbac (roles, bindings) and NodeGraph (Pods, volumes)
//   default_policy() --reconcile--> registry::Api::amend
//   ClusterRoles --aggregate--> registry::Api::amend
//
// A write to a role or binding through this process is acknowledged once the Authorizer has it, so that it is in
// force for the next request. Another API server on the same store has it when its watch delivers it.
#pragma once

#include <memory>

#include "api/base/result.h"
#include "control/apiserver/authorization/authorizer.h"

namespace sluice::registry {
class Api;
}

namespace sluice::authorization {

// Ends with its destructor. The Api and the Authorizer outlive it.
class Feed {
public:
    virtual ~Feed() = default;
};

// Reads what is stored, makes what is missing of the policy, and waits until the Authorizer has all of it. Without
// RBAC among the modes the policy is not written, and without Node no Pods are followed. Blocks for the writes.
Result<std::unique_ptr<Feed>> start_feed(registry::Api& api, Authorizer& authorizer);

}  // namespace sluice::authorization
