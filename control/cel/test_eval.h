// Evaluating an expression to a text, for tests: "3", "3u", "1.5", "'x'", "[1, 2]", "{'a': 1}", or "error: ...".
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/cel/environment.h"
#include "control/cel/program.h"

namespace sluice::cel {

// Types by their names; optional values as "optional(1)" and "optional.none()".
[[nodiscard]] std::string rendered(const Value& value);

struct Given {
    std::string name;
    Type type;
    Value value;
};

// What the expression gives with these variables; "compile: " and the issues' messages if it does not compile.
[[nodiscard]] std::string result_of(std::string_view expression,
                                    const std::vector<Given>& variables = {});
// The same, with what it cost.
[[nodiscard]] Evaluation evaluation_of(std::string_view expression,
                                       const std::vector<Given>& variables = {});

}  // namespace sluice::cel
