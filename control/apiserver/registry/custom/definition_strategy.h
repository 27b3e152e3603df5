// The strategy of CustomResourceDefinitions themselves.
#pragma once

#include <memory>

#include "control/apiserver/registry/strategies/strategy.h"

namespace sluice::registry {

std::unique_ptr<Strategy> make_definition_strategy(const codec::KindInfo& kind);

}  // namespace sluice::registry
