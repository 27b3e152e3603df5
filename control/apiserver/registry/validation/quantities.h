// Checks of resource quantities that several kinds share, in Kubernetes' words. Pure and thread-safe.
#pragma once

#include <google/protobuf/map.h>

#include <map>
#include <string>
#include <string_view>

#include "api/codec/quantity.h"
#include "api/kubernetes/resource/quantity.pb.h"
#include "control/apiserver/registry/validation/field_errors.h"

namespace sluice::registry {

using QuantityMap =
    google::protobuf::Map<std::string, ::k8s::io::apimachinery::pkg::api::resource::Quantity>;

// In the order of their names. What cannot be read counts as 0; decoders let no such thing through.
[[nodiscard]] std::map<std::string, codec::Quantity> quantities_of(const QuantityMap& map);
// The canonical text of one entry; "0" when there is none.
[[nodiscard]] std::string quantity_text(const QuantityMap& map, const std::string& name);
// As Go's %#v writes a Quantity, for the errors in which Kubernetes shows it so.
[[nodiscard]] BadValue go_quantity(const codec::Quantity& value);

void check_not_negative_quantity(const codec::Quantity& value, const std::string& field,
                                 FieldErrors* errors);
void check_positive_quantity(const codec::Quantity& value, const std::string& field,
                             FieldErrors* errors);

// A qualified name; without a prefix, one of the resources that Kubernetes knows.
void check_resource_type(const std::string& name, const std::string& field, FieldErrors* errors);
// The same for what containers may ask for.
void check_container_resource(const std::string& name, const std::string& field,
                              FieldErrors* errors);
// The same for what a quota may count.
void check_quota_resource(const std::string& name, const std::string& field, FieldErrors* errors);
[[nodiscard]] bool is_quota_resource(std::string_view name);
// Counts of objects and of extended resources are whole numbers.
[[nodiscard]] bool is_integer_resource(std::string_view name);
// Whether limits may exceed requests.
[[nodiscard]] bool may_overcommit(std::string_view name);

}  // namespace sluice::registry
