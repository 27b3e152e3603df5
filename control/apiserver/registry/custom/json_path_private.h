// The JSONPath of printer columns, scales and selectable fields: members, indexes, slices, wildcards and filters, as
// kubectl writes them (https://kubernetes.io/docs/reference/kubectl/jsonpath/). Private to custom/.
#pragma once

#include <boost/json/value.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "api/base/result.h"

namespace sluice::registry {

// Steps of one path, and values that one evaluation may have in hand; beyond it the rest is left out.
inline constexpr std::size_t kMaxPathSteps = 64;
inline constexpr std::size_t kMaxPathValues = 10'000;

// Immutable; thread-safe.
class JsonPath {
public:
    // ".spec.names[0]", ".status.conditions[?(@.type==\"Ready\")].status". kInvalidArgument says what is wrong.
    static Result<JsonPath> parse(std::string_view text);

    // What the path leads to; empty when there is nothing. Pointers into `root`.
    [[nodiscard]] std::vector<const boost::json::value*> find(const boost::json::value& root) const;
    // Only members, such as .spec.replicas.
    [[nodiscard]] bool is_simple() const;
    // The members' names. REQUIRES: is_simple().
    [[nodiscard]] std::vector<std::string> names() const;

private:
    enum class StepKind : unsigned char { kMember, kIndex, kSlice, kAll, kFilter, kDescend };
    enum class Compare : unsigned char { kExists, kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual };
    struct Step {
        StepKind kind = StepKind::kMember;
        std::string name;
        long from = 0, to = 0;
        bool has_from = false, has_to = false;
        std::vector<std::string> operand;  // of a filter: members below @
        Compare compare = Compare::kExists;
        boost::json::value literal;
    };
    class Parser;

    static bool passes(const Step& step, const boost::json::value& item);
    static void follow(const Step& step, const boost::json::value& value,
                       std::vector<const boost::json::value*>* out);

    std::vector<Step> steps_;
};

// A value as a column of the type string shows it.
[[nodiscard]] std::string path_text(const boost::json::value& value);

}  // namespace sluice::registry
