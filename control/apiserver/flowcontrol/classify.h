// Which FlowSchema a request belongs to, and which of its flows. Pure.
#pragma once

#include <string_view>

#include "control/apiserver/authorization/attributes.h"
#include "control/apiserver/flowcontrol/types.h"

namespace sluice::flowcontrol {

[[nodiscard]] bool matches(const FlowSchema& schema, const authorization::Attributes& request);

// What tells the schema's flows apart; empty if nothing does.
[[nodiscard]] std::string_view distinguisher_of(const FlowSchema& schema,
                                                const authorization::Attributes& request);

// Sorts by precedence, then name; adds the mandatory objects if they are missing; drops schemas whose level does not
// exist and whatever is beyond the limits in types.h.
[[nodiscard]] Configuration complete(Configuration configuration);

}  // namespace sluice::flowcontrol
