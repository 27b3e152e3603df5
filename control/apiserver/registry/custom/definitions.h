// Keeps the custom kinds in step with the CustomResourceDefinitions in the store, and the definitions' status in step
// with what is served.
//
//   definitions' prefix --watch--> resync: names, kinds, snapshot --> then conditions, written like any status
//   deletionTimestamp --> delete every object of the kind --none left--> finalizer removed
//
// A kind is served before its definition says Established, so that who waits for the condition finds the kind.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "control/apiserver/registry/custom/custom_kind.h"
#include "control/apiserver/registry/rest/core.h"

namespace sluice::registry {

// Between two looks at what is left of a kind that is going: the first wait, and the longest.
inline constexpr std::chrono::milliseconds kCleanupRetryInterval{50};
inline constexpr std::chrono::milliseconds kMaxCleanupRetryInterval{2'000};

// Thread-safe. The core and the kinds outlive it; stop() is called before the core's executor ends.
class Definitions {
public:
    virtual ~Definitions() = default;
    virtual void stop() = 0;
};

// Returns when everything that is established in the store is served.
Result<std::unique_ptr<Definitions>> start_definitions(Core& core, CustomKinds& kinds);

}  // namespace sluice::registry
