// What a program consists of. Private to cel/.
#pragma once

#include <string>
#include <vector>

#include "control/cel/ast_private.h"
#include "control/cel/program.h"
#include "control/cel/regex_private.h"

namespace sluice::cel {

struct Program::Data {
    std::string text;
    ExprPtr root;
    // Of the environment, by the index that identifiers have.
    std::vector<std::string> variables;
    std::vector<Type> variable_types;
    int locals = 0;
    std::vector<Regex> regexes;
    CostEstimate estimate;
};

// estimate.cc. variables: as Data has them.
[[nodiscard]] CostEstimate estimate_cost(const Program::Data& program);

}  // namespace sluice::cel
