// FlowSchemas and PriorityLevelConfigurations of the API into what the dispatcher uses. Pure.
#pragma once

#include "control/apiserver/flowcontrol/types.h"

namespace k8s::io::api::flowcontrol::v1 {
class FlowSchema;
class PriorityLevelConfiguration;
}  // namespace k8s::io::api::flowcontrol::v1

namespace sluice::flowcontrol {

[[nodiscard]] FlowSchema from_object(const ::k8s::io::api::flowcontrol::v1::FlowSchema& object);
[[nodiscard]] PriorityLevel from_object(
    const ::k8s::io::api::flowcontrol::v1::PriorityLevelConfiguration& object);

}  // namespace sluice::flowcontrol
