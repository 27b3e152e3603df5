// The arithmetic of a rolling update: how large each ReplicaSet may be next. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sluice::controllers {

struct Bounds {
    int surge = 0;        // pods above the wanted number
    int unavailable = 0;  // pods below it; not 0 together with surge, or nothing could move
};

// One ReplicaSet as the arithmetic sees it.
struct SetSize {
    std::string name;
    int replicas = 0;   // asked for
    int available = 0;
    // Annotation: the Deployment's size and surge when it was last scaled; 0: unknown.
    int max_replicas = 0;
    std::int64_t created = 0;
};

// Sizes come from users and may be anything an int32 holds; sums are taken in 64 bits.
//
// The new set's next size: as many as surge leaves room for.
[[nodiscard]] int next_new_size(int wanted, const Bounds& bounds, const SetSize& fresh,
                                const std::vector<SetSize>& old);

// The old sets' next sizes, in their order: pods that are not available go first, then as many as
// the available ones allow. Never takes the number of available pods below wanted -
// bounds.unavailable.
[[nodiscard]] std::vector<int> next_old_sizes(int wanted, const Bounds& bounds,
                                              const SetSize& fresh,
                                              const std::vector<SetSize>& old);

// A change of the Deployment's size in the middle of a rollout, spread over its sets in proportion;
// what rounding leaves goes to the largest. status_replicas stands in for unknown max_replicas.
[[nodiscard]] std::vector<int> proportional_sizes(int wanted, const Bounds& bounds,
                                                  int status_replicas,
                                                  const std::vector<SetSize>& sets);

}  // namespace sluice::controllers
