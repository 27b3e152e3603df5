// Types of expressions. Private to cel/.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "control/cel/ast_private.h"
#include "control/cel/environment.h"
#include "control/cel/issues_private.h"

namespace sluice::cel {

struct Environment::Data {
    std::vector<Variable> variables;
    std::unordered_map<std::string, int> variable_index;
    std::unordered_map<std::string, Type> types;
};

// Annotates the tree: types, overloads, variables. Issues are reported; the tree cannot be evaluated then.
// Returns how many locals an evaluation needs.
int check(Expr* expr, const Environment::Data& environment, Issues* issues);

// Arguments that are constants and wrong: duration('x'), timestamp('x'), matches('['), '%d'.format(['x']). Lists and
// maps of parts of different types, but within calls of format. REQUIRES: check() found no issue.
void check_literals(const Expr& expr, Issues* issues);

}  // namespace sluice::cel
