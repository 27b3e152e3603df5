// Evaluation of a checked tree. Private to cel/.
#pragma once

#include <optional>
#include <vector>

#include "control/cel/functions_private.h"
#include "control/cel/meter_private.h"
#include "control/cel/program_private.h"

namespace sluice::cel {

class Evaluator {
public:
    Evaluator(const Program::Data& program, const Activation& activation, Meter* meter);
    Result<Value> run() { return eval(*program_.root); }

private:
    Result<Value> eval(const Expr& expr);
    // What may put values into others.
    Result<Value> make(const Expr& expr);
    Result<Value> ident(const Expr& expr);
    Result<Value> select(const Expr& expr);
    Result<Value> list(const Expr& expr);
    Result<Value> map(const Expr& expr);
    Result<Value> structure(const Expr& expr);

    Result<Value> call(const Expr& expr);
    Result<Value> logical(const Expr& expr, bool decisive);
    Result<Value> conditional(const Expr& expr);
    Result<Value> not_strictly_false(const Expr& expr);
    Result<Value> optional_or(const Expr& expr);
    Result<Value> function(const Expr& expr);
    Error no_overload(const Expr& expr, std::span<const Value> args) const;

    Result<Value> comprehension(const Expr& expr);
    class Range;
    Result<Value> collect(const Comprehension& loop, Range* range, const Expr& step,
                          const Expr* filter);
    Result<Value> fold(const Comprehension& loop, Range* range);
    // Sets the variables of the loop to the range's next.
    Result<void> advance(const Comprehension& loop, Range* range);

    Result<Value>& local(int slot) { return locals_[static_cast<std::size_t>(slot)]; }

    const Program::Data& program_;
    const Activation& activation_;
    Meter* meter_;
    int* const depth_;  // of the thread that evaluates
    RegexCache regexes_;
    // An accumulator may be an error that a later element absorbs.
    std::vector<Result<Value>> locals_;
    std::vector<std::optional<Result<Value>>> variables_;
};

}  // namespace sluice::cel
