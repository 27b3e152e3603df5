// Keeps a Gate as the stored FlowSchemas and PriorityLevelConfigurations have it, and makes those that a cluster starts
// with where they are missing.
#pragma once

#include <memory>

#include "api/base/result.h"
#include "control/apiserver/flowcontrol/types.h"

namespace k8s::io::api::flowcontrol::v1 {
class FlowSchema;
class PriorityLevelConfiguration;
}
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

// Returns once the gate has what is stored; the missing objects follow.
Result<std::unique_ptr<Feed>> start_feed(registry::Api& api, Gate& gate);

// Objects into what the dispatcher uses, and back for the defaults.
[[nodiscard]] FlowSchema from_object(const ::k8s::io::api::flowcontrol::v1::FlowSchema& object);
[[nodiscard]] PriorityLevel from_object(
    const ::k8s::io::api::flowcontrol::v1::PriorityLevelConfiguration& object);
void to_object(const FlowSchema& schema, ::k8s::io::api::flowcontrol::v1::FlowSchema* object);
void to_object(const PriorityLevel& level,
               ::k8s::io::api::flowcontrol::v1::PriorityLevelConfiguration* object);

}  // namespace sluice::flowcontrol
