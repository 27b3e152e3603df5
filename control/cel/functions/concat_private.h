// Lists that are two lists one after the other. Private to cel/.
#pragma once

#include "control/cel/value.h"

namespace sluice::cel {

// Without copying: "+" of lists costs 1 whatever their sizes are, and so must take no longer.
[[nodiscard]] Value::ListRef concat_lists(Value::ListRef a, Value::ListRef b);

}  // namespace sluice::cel
