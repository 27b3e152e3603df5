// A compiled expression.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/base/result.h"
#include "control/cel/type.h"
#include "control/cel/value.h"

namespace sluice::cel {

// Kubernetes' limits of costs: of one evaluation; of all evaluations for one object (or one binding of a
// policy); of all match conditions of one webhook or policy; of one rule's and of all rules' estimates in a
// CustomResourceDefinition.
inline constexpr std::uint64_t kPerCallCostLimit = 1'000'000;
inline constexpr std::uint64_t kRuntimeCostBudget = 10'000'000;
inline constexpr std::uint64_t kMatchConditionsCostBudget = 2'500'000;
inline constexpr std::uint64_t kStaticCostLimit = 10'000'000;
inline constexpr std::uint64_t kStaticTotalCostLimit = 100'000'000;
// The largest request, from which Kubernetes derives how much a value without a declared maximum can hold.
inline constexpr std::uint64_t kMaxRequestSizeBytes = 3U * 1024U * 1024U;

// Expressions that are evaluated for each other on one thread's stack, each within the former: a program's parts (a
// macro is some of them), and those of programs that an activation evaluates meanwhile. More is an error. They take a
// quarter of a thread's stack at most.
inline constexpr int kMaxEvaluationDepth = 1'000;

// The values of an environment's variables. Called by the thread that evaluates, at most once a mention.
class Activation {
public:
    virtual ~Activation() = default;
    // By the declared name, qualified names included. Nullopt: it has no value, which is an error of the expression
    // ("no such attribute").
    [[nodiscard]] virtual Result<std::optional<Value>> find(std::string_view variable) const = 0;
};

// A few values by name; or functions, called when first asked for.
class SimpleActivation : public Activation {
public:
    using Lazy = std::function<Result<Value>()>;

    SimpleActivation() = default;
    explicit SimpleActivation(std::vector<std::pair<std::string, Value>> values);
    // Replaces what has the name.
    void set(std::string name, Value value);
    void set_lazy(std::string name, Lazy make);
    [[nodiscard]] Result<std::optional<Value>> find(std::string_view variable) const override;

private:
    struct Entry {
        std::string name;
        mutable std::optional<Result<Value>> value;
        Lazy make;
    };
    Entry* entry(std::string_view name);
    std::vector<Entry> entries_;
};

// What one evaluation gave.
struct Evaluation {
    // An error has cel-go's text: "no such key: x", "division by zero", "no such overload".
    // kResourceExhausted: "operation cancelled: actual cost limit exceeded".
    Result<Value> value;
    // What it cost, as cel-go counts; more than the limit if that was exceeded.
    std::uint64_t cost = 0;
    bool cost_exceeded = false;
};

// The bounds of what an evaluation may cost, from the maxima that the variables' types have.
struct CostEstimate {
    std::uint64_t min = 0;
    std::uint64_t max = 0;
};

// Immutable; thread-safe. Copies share.
class Program {
public:
    [[nodiscard]] const Type& output_type() const;
    [[nodiscard]] const std::string& expression() const;
    // Whether it names the variable, or a field of it: "oldSelf" makes a rule a transition rule.
    [[nodiscard]] bool mentions(std::string_view variable) const;
    [[nodiscard]] CostEstimate estimate() const;

    // Never longer than its cost allows: work and memory are bounded by the limit, whatever the expression and its
    // variables are.
    [[nodiscard]] Evaluation evaluate(const Activation& activation,
                                      std::uint64_t cost_limit = kPerCallCostLimit) const;

    struct Data;
    explicit Program(std::shared_ptr<const Data> data);

private:
    std::shared_ptr<const Data> data_;
};

}  // namespace sluice::cel
