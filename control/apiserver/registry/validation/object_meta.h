// Checks of metadata that hold for every kind, at creation and at update.
#pragma once

#include <google/protobuf/map.h>

#include <string>

#include "api/codec/scheme.h"
#include "control/apiserver/registry/validation/field_errors.h"
#include "control/apiserver/registry/validation/names.h"

namespace sluice::registry {

namespace metav1 = ::sluice::codec::metav1;

void validate_object_meta(const metav1::ObjectMeta& meta, bool namespaced, NameCheck name_check,
                          FieldErrors* errors);
// Immutable metadata, and finalizers while the object is being deleted.
void validate_object_meta_update(const metav1::ObjectMeta& meta, const metav1::ObjectMeta& old,
                                 FieldErrors* errors);
// Label keys and values at `field`, such as spec.selector.
void validate_labels(const google::protobuf::Map<std::string, std::string>& labels,
                     const std::string& field, FieldErrors* errors);
// Keys, and the size of all annotations together.
void validate_annotations(const metav1::ObjectMeta& meta, const std::string& field,
                          FieldErrors* errors);

}  // namespace sluice::registry
