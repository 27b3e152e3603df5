// What an expression may name: variables and their types; and the compiler.
//
//   text --lexer, parser--> syntax tree --macros--> --checker--> typed tree --planner--> Program
//
// The functions are those of Kubernetes 1.32: CEL's standard ones, strings (version 2), sets, optional types,
// two-variable comprehensions, and Kubernetes' own: lists, regex, URLs, IP addresses and CIDRs, quantities,
// formats, authorizer.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/base/result.h"
#include "control/cel/program.h"
#include "control/cel/type.h"

namespace sluice::cel {

// An expression beyond it is refused, in code points.
inline constexpr std::size_t kMaxExpressionSize = 100'000;
// Nested constructs beyond it are refused.
inline constexpr int kMaxRecursion = 250;

struct Variable {
    // May be qualified: "authorizer.requestResource" is found before a field of "authorizer".
    std::string name;
    Type type;
};

// One thing that is wrong with an expression.
struct Issue {
    // Bytes into the expression's text; line from 1, column from 1, in code points.
    std::size_t offset = 0;
    int line = 0;
    int column = 0;
    std::string message;
};

// Immutable once made; thread-safe. Copies share.
class Environment {
public:
    // types: names of types that expressions may construct, "Object{...}", or compare with type(x).
    explicit Environment(std::vector<Variable> variables, std::vector<Type> types = {});

    // This and more variables; the later of equal names counts.
    [[nodiscard]] Environment extended(std::vector<Variable> variables) const;

    // kInvalidArgument: the message has every issue as cel-go prints it, separated by newlines:
    //   ERROR: <input>:1:1: undeclared reference to 'x' (in container '')
    //    | x.y
    //    | ^
    // issues: if given, the same as data.
    // Cost: linear in the expression but for overload resolution; bounded by the limits above.
    [[nodiscard]] Result<Program> compile(std::string_view expression,
                                          std::vector<Issue>* issues = nullptr) const;

    struct Data;

private:
    std::shared_ptr<const Data> data_;
};

}  // namespace sluice::cel
