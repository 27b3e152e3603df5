#include "control/apiserver/registry/rest/listing.h"

#include <fmt/format.h>

#include "api/base/log.h"
#include "control/apiserver/registry/custom/custom_kind.h"

namespace sluice::registry {

const codec::KindInfo& kind_named(std::string_view group, std::string_view version, std::string_view resource) {
    const auto* kind = codec::find_resource(group, version, resource);
    SLUICE_ASSERT(kind != nullptr);
    return *kind;
}

std::vector<ObjectPtr> list_stored(Core& core, const Strategy& strategy,
                                             std::string_view name_space) {
    std::vector<ObjectPtr> out;
    std::string prefix = strategy.storage_prefix() + "/";
    if (strategy.kind().namespaced && !name_space.empty()) prefix += fmt::format("{}/", name_space);
    const auto found = core.store.range(prefix, "", kMaxObjectsRead);
    if (!found) return out;
    if (found->more) {
        log::warn("registry", "more than {} {}: the rest is not looked at", kMaxObjectsRead, strategy.kind().resource);
    }
    out.reserve(found->items.size());
    for (const auto& item : found->items) {
        auto object = core.cache.get(strategy.kind(), item.mod_revision, *item.value);
        if (object) out.push_back(std::move(*object));
    }
    return out;
}

std::vector<ObjectPtr> list_stored(Core& core, const codec::KindInfo& kind,
                                             std::string_view name_space) {
    return list_stored(core, core.strategies.of(kind), name_space);
}

Answer<std::vector<ObjectPtr>> read_converted(Core& core, const codec::KindInfo& kind,
                                              const std::vector<store::KeyValue>& items) {
    if (converter_of(kind) == nullptr) return std::vector<ObjectPtr>();
    std::vector<ObjectCache::Stored> all;
    for (const store::KeyValue& item : items) all.push_back({item.mod_revision, *item.value});
    return core.cache.get_converted(kind, all);
}

ObjectPtr read_stored(Core& core, const codec::KindInfo& kind, std::string_view name_space,
                                std::string_view name) {
    auto found = read_object(core, core.strategies.of(kind), name_space, name);
    return found ? *found : nullptr;
}

}  // namespace sluice::registry
