// Keeps a Gate as the stored FlowSchemas and PriorityLevelConfigurations have it. Those that a cluster starts with are
// made by the registry (registry/defaults).
#pragma once

#include <memory>

#include "api/base/result.h"

namespace sluice::registry {
class Api;
}

namespace sluice::flowcontrol {

class Gate;

// Ends with its destructor. The Api and the Gate outlive it.
class Feed {
public:
    virtual ~Feed() = default;
};

// Returns once the gate has what is stored.
Result<std::unique_ptr<Feed>> start_feed(registry::Api& api, Gate& gate);

}  // namespace sluice::flowcontrol
