// The objects of configuration that every cluster has, as kube-apiserver 1.32 makes them. Pure and thread-safe; what is
// returned lives as long as the program.
#pragma once

#include <span>
#include <string_view>

namespace k8s::io::api::flowcontrol::v1 {
class FlowSchema;
class PriorityLevelConfiguration;
}  // namespace k8s::io::api::flowcontrol::v1
namespace k8s::io::api::scheduling::v1 {
class PriorityClass;
}

namespace sluice::registry {

// Their specs follow the program as long as they carry this annotation with "true".
inline constexpr const char* kAutoUpdateAnnotation = "apf.kubernetes.io/autoupdate-spec";

std::span<const ::k8s::io::api::scheduling::v1::PriorityClass> system_priorities();
// Null for other names.
const ::k8s::io::api::scheduling::v1::PriorityClass* system_priority(std::string_view name);

// The mandatory ones first.
std::span<const ::k8s::io::api::flowcontrol::v1::FlowSchema> default_flow_schemas();
std::span<const ::k8s::io::api::flowcontrol::v1::PriorityLevelConfiguration>
default_priority_levels();
// Null for names that are not mandatory: only "exempt" and "catch-all" are.
const ::k8s::io::api::flowcontrol::v1::FlowSchema* mandatory_flow_schema(std::string_view name);
const ::k8s::io::api::flowcontrol::v1::PriorityLevelConfiguration* mandatory_priority_level(
    std::string_view name);

}  // namespace sluice::registry
