// Objects as server-side apply sees them: merged, compared, and cut down to sets of fields. After the structured merge
// of Kubernetes (KEP 555). All functions take JSON trees of one message type; an absent object is null here.
//
// What an object's text cannot say: an absent member and a null one differ, as a client that sends null means it.
#pragma once

#include "api/base/result.h"
#include "api/codec/apply/field_set.h"

namespace boost::json {
class value;
}
namespace google::protobuf {
class Descriptor;
}

namespace sluice::codec {

class ApplySchema;

// Every field that the object has: scalars, what is owned as a whole, elements of lists and entries of maps.
// kInvalidArgument names the list whose element has no keys, or two of one.
Result<FieldSet> fields_of(const boost::json::value& object, const google::protobuf::Descriptor& type,
                           ApplySchema& schema);

// `base` with everything that `over` says; elements of keyed lists and sets meet by their keys, and come in over's
// order where both have them. Errors as above.
Result<boost::json::value> merged(const boost::json::value& base, const boost::json::value& over,
                                  const google::protobuf::Descriptor& type, ApplySchema& schema);

// Whether a configuration fits its type: kInvalidArgument lists what does not, in Kubernetes' words (fields that are
// not declared, values of another type, two elements of one key).
Result<void> check_typed(const boost::json::value& config, const google::protobuf::Descriptor& type);

struct Comparison {
    FieldSet added, modified, removed;
};
// From one object to another. Lists with elements of one key several times are compared as they are.
Result<Comparison> compared(const boost::json::value& from, const boost::json::value& to,
                            const google::protobuf::Descriptor& type, ApplySchema& schema);

// The object without the fields of the set.
boost::json::value without(const boost::json::value& object, const FieldSet& fields,
                           const google::protobuf::Descriptor& type, ApplySchema& schema);

// The set, and each member of a message that it has something below: to take away a part is to take what holds it,
// if nothing else is left in that.
FieldSet with_named_parents(const FieldSet& fields, const google::protobuf::Descriptor& type, ApplySchema& schema);

}  // namespace sluice::codec
