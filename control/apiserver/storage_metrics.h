// What the metrics tell of the store and of the objects in it, under the names that kube-apiserver 1.32 has for them
// where it has any.
#pragma once

#include <string>

namespace sluice::registry {
class Api;
}
namespace sluice::store {
class Store;
}

namespace sluice::apiserver {

// Prometheus text. api: null until resources are served. Counts the objects of each kind: some milliseconds for
// 100,000 of them. Thread-safe.
[[nodiscard]] std::string storage_metrics(const store::Store& store, const registry::Api* api);

}  // namespace sluice::apiserver
