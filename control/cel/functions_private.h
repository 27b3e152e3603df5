// The functions of the language: their declarations, implementations and costs. Private to cel/.
//
//   functions/<library>.cc --add_<library>--> FunctionTable --> checker (overloads), evaluator (implementations)
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "api/base/result.h"
#include "control/cel/meter_private.h"
#include "control/cel/regex_private.h"
#include "control/cel/type.h"
#include "control/cel/value.h"

namespace sluice::cel {

// What a call costs beside its arguments, by its arguments' sizes; costs.cc and estimate.cc know the formulas.
enum class CostRule : std::uint8_t {
    kOne,
    kPrefix,            // startsWith, endsWith: at run time the receiver, as an estimate the argument
    kToBytes,
    kToString,          // of bytes
    kQuote,
    kFormatString,
    kCompare,           // the smaller of two
    kEquals,            // the same, but for Kubernetes' own types
    kConcatText,
    kConcatList,
    kContains,          // receiver times argument
    kMatches,
    kFind,              // the same, and a result
    kInList,
    kListTraversal,     // isSorted, sum, indexOf: the list with its texts
    kTextTraversal,     // indexOf of a text
    kResize,            // the receiver once: lowerAscii, substring, trim: a text of at most the same size
    kReplace,
    kSplit,
    kJoin,
    kSets,
    kSetsTwice,
    kContainsIp,
    kContainsIpText,
    kContainsCidr,
    kContainsCidrText,
    kParse,             // cidr(), quantity(): the estimate is of receiver calls only, as in Kubernetes
    kParseTwice,
    kValidate,
    kAuthorize,
    kSelector,
};

struct CallContext {
    Meter& meter;
    RegexCache& regexes;
    // Of the constant pattern of this call; -1: it is none.
    int regex = -1;
};

// REQUIRES: the arguments are of the overload's types, as far as those are known without their parameters.
using Implementation = Result<Value> (*)(CallContext& context, std::span<const Value> args);

// Counts the work of looking for a part in a text, which may take the product of their sizes.
[[nodiscard]] inline bool count_search(Meter* meter, std::size_t text, std::size_t part) {
    return meter->work(text / 16 * (part + 1) + part);
}

struct Overload {
    std::string id;
    bool member = false;
    std::vector<Type> args;
    Type result;
    // Null: the evaluator does it, for it does not evaluate all arguments first.
    Implementation implementation = nullptr;
    CostRule cost = CostRule::kOne;
    // It has type parameters.
    bool generic = false;
};

struct Function {
    std::string name;
    std::vector<std::unique_ptr<const Overload>> overloads;
};

class FunctionTable {
public:
    void global(const std::string& name, std::string id, std::vector<Type> args, Type result,
                Implementation implementation, CostRule cost = CostRule::kOne);
    void member(const std::string& name, std::string id, std::vector<Type> args, Type result,
                Implementation implementation, CostRule cost = CostRule::kOne);
    // Null: there is none.
    [[nodiscard]] const Function* find(std::string_view name) const;

private:
    void add(const std::string& name, Overload overload);
    std::unordered_map<std::string, Function> functions_;
};

// All of them; made once.
[[nodiscard]] const FunctionTable& all_functions();

void add_operators(FunctionTable* table);
void add_conversions(FunctionTable* table);
void add_times(FunctionTable* table);
void add_texts(FunctionTable* table);
void add_strings(FunctionTable* table);
void add_optionals(FunctionTable* table);
void add_lists(FunctionTable* table);
void add_sets(FunctionTable* table);
void add_regexes(FunctionTable* table);
void add_urls(FunctionTable* table);
void add_addresses(FunctionTable* table);
void add_quantities(FunctionTable* table);
void add_formats(FunctionTable* table);
void add_authorizer(FunctionTable* table);

// Names of types that expressions may use, such as "int" and "net.IP"; nullopt: it is none.
[[nodiscard]] std::optional<Type> type_named(std::string_view name);

// What costs count: code points, bytes, elements, entries; 1 of what has no size.
[[nodiscard]] std::uint64_t size_of(const Value& value, Meter* meter);
// What the call costs, knowing its result (null: an error).
[[nodiscard]] std::uint64_t call_cost(CostRule rule, std::span<const Value> args,
                                      const Value* result, Meter* meter);

// Whether the value can be an argument of that type: parameters of types are not looked at.
[[nodiscard]] bool fits_type(const Value& value, const Type& type);

}  // namespace sluice::cel
