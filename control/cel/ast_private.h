// Expressions as a tree: made by the parser, annotated by the checker, evaluated as it is. Private to cel/.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/cel/type.h"
#include "control/cel/value.h"

namespace sluice::cel {

struct Overload;

enum class Node : std::uint8_t {
    kLiteral,
    kIdent,
    kSelect,         // args[0].name; test_only: has(args[0].name)
    kCall,           // name(args...); member: args[0] is the receiver
    kList,           // args are elements
    kMap,            // args are key, value, key, value, ...
    kStruct,         // name{fields[i]: args[i]}
    kComprehension,  // loop
};

// How a call is evaluated.
enum class Operation : std::uint8_t {
    kFunction,  // its arguments, then one of its overloads
    kAnd,
    kOr,
    kConditional,
    kNotStrictlyFalse,
    kOptionalOr,  // or, orValue
    kIndex,
    kOptIndex,
    kOptSelect,
};

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

// accumulator = init; for each element of range: stop unless condition; accumulator = step; the result.
struct Comprehension {
    ExprPtr range;
    std::string variable;
    std::string variable2;  // empty: one variable
    std::string accumulator;
    ExprPtr init;
    ExprPtr condition;
    ExprPtr step;
    ExprPtr result;
    // Where the checker put them; see Expr::slot.
    int variable_slot = -1;
    int variable2_slot = -1;
    int accumulator_slot = -1;
};

struct Expr {
    explicit Expr(Node kind, std::uint32_t at) : node(kind), offset(at) {}

    Node node;
    // A byte of the text that errors point at.
    std::uint32_t offset;
    // Levels of constructs below it, as written.
    int depth = 0;
    bool test_only = false;
    bool member = false;
    // The step of a macro that appends to its accumulator: args[0] is the accumulator, which nobody else can see.
    bool accumulates = false;
    Value literal;
    std::string name;
    std::vector<ExprPtr> args;
    std::vector<std::string> fields;
    // By element, entry or field: it is "?x". Empty: none is.
    std::vector<bool> optionals;
    std::unique_ptr<Comprehension> loop;

    // The checker's findings.
    Type type;
    std::vector<const Overload*> overloads;
    Operation operation = Operation::kFunction;
    // Of an identifier: a local of the evaluation, or else an index of the environment's variables; a constant
    // (a type's name) is neither, and is in literal.
    int slot = -1;
    int variable = -1;
    // Of a constant regular expression argument: see RegexCache.
    int regex = -1;
};

// Names of operators as functions.
inline constexpr const char* kConditional = "_?_:_";
inline constexpr const char* kLogicalAnd = "_&&_";
inline constexpr const char* kLogicalOr = "_||_";
inline constexpr const char* kLogicalNot = "!_";
inline constexpr const char* kNegate = "-_";
inline constexpr const char* kIndex = "_[_]";
inline constexpr const char* kOptIndex = "_[?_]";
inline constexpr const char* kOptSelect = "_?._";
inline constexpr const char* kNotStrictlyFalse = "@not_strictly_false";
inline constexpr const char* kMapInsert = "cel.@mapInsert";
// What macros accumulate in, and what optMap() binds: no expression can name it.
inline constexpr const char* kAccumulator = "@result";

}  // namespace sluice::cel
