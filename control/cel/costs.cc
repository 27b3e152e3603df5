// What calls cost at run time: cel-go 0.22 (interpreter/runtimecost.go) and Kubernetes 1.32 (cel/library/cost.go).
#include <algorithm>
#include <cmath>

#include "control/cel/functions/net_private.h"
#include "control/cel/functions/format_private.h"
#include "control/cel/functions_private.h"
#include "control/cel/utf8_private.h"

namespace sluice::cel {

namespace {

constexpr double kTraversalFactor = 0.1;
constexpr double kRegexFactor = 0.25;
constexpr std::uint64_t kAuthorizationCost = 350'000;
// Of a selector: a list, and a list and a struct for each of its at most size / 2 requirements.
constexpr std::uint64_t kListCost = 10;
constexpr double kRequirementCost = 50;

std::uint64_t scaled(std::uint64_t size, double factor) {
    const double out = std::ceil(static_cast<double>(size) * factor);
    return out >= 18446744073709551615.0 ? UINT64_MAX : static_cast<std::uint64_t>(out);
}

std::uint64_t product(std::uint64_t a, std::uint64_t b) {
    return b != 0 && a > UINT64_MAX / b ? UINT64_MAX : a * b;
}

// The list's elements, their texts by length.
std::uint64_t traversal(const Value& value, Meter* meter) {
    switch (value.kind()) {
        case Kind::kString:
            return static_cast<std::uint64_t>(
                static_cast<double>(value.as_string()->view().size()) * kTraversalFactor);
        case Kind::kBytes:
            return static_cast<std::uint64_t>(
                static_cast<double>(value.as_bytes()->view().size()) * kTraversalFactor);
        case Kind::kList: {
            const ListValue& list = **value.as_list();
            std::uint64_t cost = 0;
            if (!meter->elements(list.size())) return cost;
            for (std::size_t i = 0; i < list.size(); ++i) {
                if (const auto element = list.at(i)) cost += traversal(*element, meter);
            }
            return cost;
        }
        case Kind::kMap: {
            const MapValue& map = **value.as_map();
            std::uint64_t cost = 0;
            if (!meter->elements(map.size())) return cost;
            for (const Value& key : map.keys()) {
                cost += traversal(key, meter);
                const auto found = map.find(key);
                if (found && *found) cost += traversal(**found, meter);
            }
            return cost;
        }
        default: return 1;
    }
}

std::uint64_t regex_cost(std::uint64_t text, std::uint64_t pattern) {
    return product(scaled(text + 1, kTraversalFactor), scaled(pattern, kRegexFactor));
}

bool costs_one_to_compare(const Value& value) {
    return value.as_opaque() != nullptr && !(*value.as_opaque())->type().is_optional();
}

}  // namespace

std::uint64_t size_of(const Value& value, Meter* meter) {
    switch (value.kind()) {
        case Kind::kString: {
            const std::string_view text = value.as_string()->view();
            // Counting is fast: sixteen bytes are one.
            (void)meter->work(text.size() / 16);
            return count_code_points(text);
        }
        case Kind::kBytes: return value.as_bytes()->view().size();
        case Kind::kList: return (*value.as_list())->size();
        case Kind::kMap: return (*value.as_map())->size();
        case Kind::kOpaque: return opaque_size(value);
        default: return 1;
    }
}

std::uint64_t call_cost(CostRule rule, std::span<const Value> args, const Value* result,
                        Meter* meter) {
    const auto size = [&](std::size_t i) { return size_of(args[i], meter); };
    switch (rule) {
        case CostRule::kOne:
        case CostRule::kConcatList: return 1;
        case CostRule::kPrefix:
        case CostRule::kToBytes:
        case CostRule::kToString:
        case CostRule::kQuote:
        case CostRule::kFormatString:
        case CostRule::kResize:
        case CostRule::kParse: return scaled(size(0), kTraversalFactor);
        case CostRule::kParseTwice:
        case CostRule::kReplace:
        case CostRule::kSplit: return scaled(size(0), 2 * kTraversalFactor);
        case CostRule::kEquals:
            if (costs_one_to_compare(args[0])) return 1;
            [[fallthrough]];
        case CostRule::kCompare: return scaled(std::min(size(0), size(1)), kTraversalFactor);
        case CostRule::kConcatText: return scaled(size(0) + size(1), kTraversalFactor);
        case CostRule::kContains:
            return product(scaled(size(0), kTraversalFactor), scaled(size(1), kTraversalFactor));
        case CostRule::kMatches:
        case CostRule::kFind: return regex_cost(size(0), size(1));
        case CostRule::kInList: return size(1);
        case CostRule::kListTraversal:
        case CostRule::kTextTraversal: return traversal(args[0], meter);
        case CostRule::kJoin:
            return result == nullptr ? 0 : scaled(size_of(*result, meter), 2 * kTraversalFactor);
        case CostRule::kSets: return 1 + product(size(0), size(1));
        case CostRule::kSetsTwice: return 1 + 2 * product(size(0), size(1));
        case CostRule::kContainsIp: return scaled(2 * size(0), kTraversalFactor);
        case CostRule::kContainsIpText:
            return scaled(2 * size(0), kTraversalFactor) + scaled(size(1), kTraversalFactor);
        case CostRule::kContainsCidr:
            return scaled(2 * size(0), kTraversalFactor) + scaled(size(0), kTraversalFactor) + 1;
        case CostRule::kContainsCidrText:
            return scaled(2 * size(0), kTraversalFactor) + scaled(size(0), kTraversalFactor) + 1 +
                   scaled(size(1), kTraversalFactor);
        case CostRule::kValidate: return regex_cost(size(1), format_regex_size(args[0]));
        case CostRule::kAuthorize: return kAuthorizationCost;
        case CostRule::kSelector:
            return kListCost + scaled(size(1), kTraversalFactor) +
                   scaled(scaled(size(1), 0.5), kRequirementCost);
    }
    return 1;
}

}  // namespace sluice::cel
