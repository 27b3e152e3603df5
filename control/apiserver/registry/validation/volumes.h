// Validation of volumes, in Kubernetes' words. Pure and thread-safe.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "control/apiserver/registry/validation/field_errors.h"

namespace google::protobuf {
class FieldDescriptor;
class Message;
}
namespace k8s::io::api::core::v1 {
class PodSpec;
}

namespace sluice::registry {

// Returns the volumes' names. `field`: the path of the PodSpec.
std::set<std::string> validate_volumes(const ::k8s::io::api::core::v1::PodSpec& spec,
                                       const std::string& field, FieldErrors* errors);

// The one type of volume that is set in a volume's or a PersistentVolume's source; the first when there are several,
// which is an error, and null when there is none, which is one too.
const google::protobuf::FieldDescriptor* sole_volume_type(const google::protobuf::Message& source,
                                                          const std::string& field,
                                                          FieldErrors* errors);

// Whether one of the path's segments is "..".
[[nodiscard]] bool has_backsteps(std::string_view path);

// A relative path that does not climb out of where it begins.
void validate_descending_path(const std::string& path, const std::string& field,
                              FieldErrors* errors);

}  // namespace sluice::registry
