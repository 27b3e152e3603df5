// Errors of evaluation that several functions give, in cel-go's words. Private to cel/.
#pragma once

#include <fmt/core.h>

#include <utility>

#include "api/base/result.h"

namespace sluice::cel {

[[nodiscard]] inline Error no_such_overload() {
    return Error{Code::kInvalidArgument, "no such overload", 0};
}

// Of values beyond kMaxValueDepth.
[[nodiscard]] inline Error nested_too_deeply() {
    return Error{Code::kInvalidArgument, "values are nested too deeply", 0};
}

// An error of evaluation.
template <class... Args>
[[nodiscard]] Error failed(fmt::format_string<Args...> format, Args&&... args) {
    return Error{Code::kInvalidArgument, fmt::format(format, std::forward<Args>(args)...), 0};
}

}  // namespace sluice::cel
