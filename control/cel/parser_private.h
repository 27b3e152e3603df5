// Text to syntax tree, macros expanded. Private to cel/.
#pragma once

#include <string_view>

#include "control/cel/ast_private.h"
#include "control/cel/issues_private.h"

namespace sluice::cel {

// Null, or a tree that may have holes, if there were issues. REQUIRES: text is UTF-8.
[[nodiscard]] ExprPtr parse(std::string_view text, Issues* issues);

// The expansion of a macro; null: it is no macro, and the call is left as it was. target: of a receiver call,
// else null. Errors are reported, and what is returned then is not null.
[[nodiscard]] ExprPtr expand_macro(std::uint32_t offset, const std::string& function,
                                   ExprPtr* target, std::vector<ExprPtr>* args, Issues* issues);

}  // namespace sluice::cel
