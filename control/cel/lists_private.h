// Lists that are merged. Private to cel/.
#pragma once

#include "api/base/result.h"
#include "control/cel/value.h"

namespace sluice::cel {

// a + b for an a that is a set or a map: elements of b replace those of a with the same identity, the others follow.
// REQUIRES: a has semantics.
[[nodiscard]] Result<Value::ListRef> merge_lists(const Value::ListRef& a, const Value::ListRef& b);

}  // namespace sluice::cel
