// JSON as values of the language, looked into only as far as an expression does.
#pragma once

#include <memory>

#include "api/base/result.h"
#include "control/cel/type.h"
#include "control/cel/value.h"

namespace boost::json {
class value;
}  // namespace boost::json

namespace sluice::cel {

// A view of the JSON, seen as the type says:
// - dyn: JSON as it is; integers are int (uint beyond int64), members of objects are keys of a map, null is null.
// - object: the type's fields only, by names as expressions escape them (escape.h); a member that is null is absent.
// - map, list: elements as the element's type says; lists have their type's semantics.
// - timestamp (RFC 3339, or a date), duration (Go's "1h30m", or "3 days" as Kubernetes' format has it), bytes
// (base64):
//   texts that are read when they are looked at; an error then if they cannot be.
// - double: an integer is one, too.
// A value that is not of its type is seen as dyn: validation by the schema has refused it before.
// The view shares the JSON's ownership. A caller that keeps the JSON alive longer than every value passes a pointer
// without an owner: std::shared_ptr<const boost::json::value>(std::shared_ptr<void>(), &json).
[[nodiscard]] Value json_view(std::shared_ptr<const boost::json::value> json,
                              const Type& type = Type::dyn());

// The value as JSON, as a message or an audit annotation needs it: timestamps, durations and bytes become texts.
// kInvalidArgument: a value that JSON cannot hold (a type, an opaque value, a map with other keys than strings).
[[nodiscard]] Result<boost::json::value> to_json(const Value& value);

}  // namespace sluice::cel
