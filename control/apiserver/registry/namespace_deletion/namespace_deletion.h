// Empties namespaces that are being deleted, through the same code that serves DELETE, and then finalizes them.
//
//   Namespace with deletionTimestamp --watch--> delete everything in it --empty--> spec.finalizers = []
//
// What lingers (pods with grace, objects with finalizers) is looked at again and again; from the second look on the
// namespace's conditions tell what it is, in Kubernetes' words.
#pragma once

#include <chrono>
#include <memory>

#include "control/apiserver/registry/rest/core.h"

namespace sluice::registry {

// The first wait, and the longest: it doubles while something holds on to the namespace.
inline constexpr std::chrono::milliseconds kNamespaceRetryInterval{100};
inline constexpr std::chrono::milliseconds kMaxNamespaceRetryInterval{5'000};

// Thread-safe. The core outlives it; stop() is called before the core's executor ends.
class NamespaceDeletion {
public:
    virtual ~NamespaceDeletion() = default;
    virtual void stop() = 0;
};

// Starts watching, also picking up namespaces whose deletion an earlier process had begun.
Result<std::unique_ptr<NamespaceDeletion>> start_namespace_deletion(Core& core);

}  // namespace sluice::registry
