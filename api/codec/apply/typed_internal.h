// What the walks over objects share: how an element of a list is called, and how a value is seen. Private to this
// folder.
#pragma once

#include <boost/json/value.hpp>

#include "api/base/result.h"
#include "api/codec/apply/field_set.h"
#include "api/codec/apply/schema.h"

namespace sluice::codec {

// Objects and lists are what they are, whatever the schema says of them; of null the schema knows more.
enum class View : unsigned char { kLeaf, kObject, kList };

// `value` may be null (absent). A value that is not of its type's form is a leaf: decoding will complain.
View view_of(const ApplyType& type, const boost::json::value* value);

// REQUIRES: a set or a keyed list.
Result<PathElement> element_of(const ApplyType& list, const boost::json::value& item);

inline bool is_nothing(const boost::json::value* value) { return value == nullptr || value->is_null(); }
// Absent, null, or without members or elements.
bool is_hollow(const boost::json::value* value);

}  // namespace sluice::codec
