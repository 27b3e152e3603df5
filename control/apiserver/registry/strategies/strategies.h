// All strategies, one for each kind that is stored.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "control/apiserver/registry/strategies/strategy.h"

namespace sluice::registry {

class ServiceAllocator;
struct ApiOptions;

// Immutable after construction. The allocator outlives it.
class StrategySet {
public:
    StrategySet(ServiceAllocator& allocator, const ApiOptions& options);
    // That of the version in which `kind` is stored (conversion/). REQUIRES: a kind of the scheme.
    [[nodiscard]] const Strategy& of(const codec::KindInfo& kind) const;
    [[nodiscard]] std::span<const std::unique_ptr<Strategy>> all() const { return strategies_; }

private:
    std::vector<std::unique_ptr<Strategy>> strategies_;
    std::vector<const Strategy*> by_kind_;  // in the order of codec::all_kinds()
};

}  // namespace sluice::registry
