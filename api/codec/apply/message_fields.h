// What a write owns and changes, taken from messages without JSON between: the record that every create and update
// leaves is on the way of each write, so it costs about what encoding the object costs.
//
// An object that is made is compared with Go's zero value of its type, as Kubernetes does: what a zero value shows of
// itself (structs, fields without omitempty) is not the writer's. Thread-safe.
#pragma once

#include <string>

#include "api/codec/apply/typed.h"

namespace google::protobuf {
class Message;
}

namespace sluice::codec {

// fieldsV1 of a write that made the object; "{}": it owns nothing. `ignored`: fields that are left out with all below
// them. REQUIRES: the object is in its normal form.
[[nodiscard]] std::string created_fields(const google::protobuf::Message& object, const FieldSet& ignored);
// The same with skipped_at_creation(ignored) made before: to make it costs as much as all the rest.
[[nodiscard]] FieldSet skipped_at_creation(const FieldSet& ignored);
[[nodiscard]] std::string created_fields(const google::protobuf::Message& object, const FieldSet& ignored,
                                         const FieldSet& skipped);

// From one object to another of its type. Nothing differs: the sets are empty, and nothing was allocated for them.
// REQUIRES: both are in their normal form.
[[nodiscard]] Comparison compared(const google::protobuf::Message& from, const google::protobuf::Message& to);

}  // namespace sluice::codec
