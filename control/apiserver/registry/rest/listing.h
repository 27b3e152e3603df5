// Objects that the server itself decides by, read from the store's memory.
#pragma once

#include <string_view>
#include <vector>

#include "control/apiserver/registry/rest/core.h"

namespace sluice::registry {

// Objects of one kind that are looked at for one decision; the rest is left out, and said so in the log.
inline constexpr std::size_t kMaxObjectsRead = 100'000;

// REQUIRES: a kind of the scheme.
[[nodiscard]] const codec::KindInfo& kind_named(std::string_view group, std::string_view version,
                                                std::string_view resource);
// All objects of the kind, of one namespace if it is not empty, by name; what cannot be read is left out.
// Cost: a walk over their keys; decoded objects come from the cache.
[[nodiscard]] std::vector<ObjectPtr> list_stored(Core& core, const Strategy& strategy,
                                                           std::string_view name_space);
[[nodiscard]] std::vector<ObjectPtr> list_stored(Core& core, const codec::KindInfo& kind,
                                                           std::string_view name_space);
// Null when there is none.
[[nodiscard]] ObjectPtr read_stored(Core& core, const codec::KindInfo& kind,
                                              std::string_view name_space, std::string_view name);

// All items as ObjectCache::get_converted has them.
[[nodiscard]] Answer<std::vector<ObjectPtr>> read_converted(Core& core, const codec::KindInfo& kind,
                                                            const std::vector<store::KeyValue>& items);

}  // namespace sluice::registry
