// Kinds that are posted and answered, and never stored (bindings, evictions, reviews, requests for tokens). The scheme
// lists them as actions at most; their bodies and errors need a kind all the same.
#pragma once

#include <string>
#include <utility>

#include "api/codec/scheme.h"

namespace sluice::registry {

// Of the message's own name.
template <class T>
[[nodiscard]] codec::KindInfo unstored_kind(std::string group, std::string version, std::string resource,
                                            std::string singular, bool namespaced) {
    return {.gvk = {std::move(group), std::move(version), T::descriptor()->name()},
            .resource = std::move(resource),
            .singular = std::move(singular),
            .short_names = {},
            .categories = {},
            .namespaced = namespaced,
            .has_status = false,
            .subresources = {},
            .prototype = &T::default_instance(),
            .list_prototype = nullptr};
}

}  // namespace sluice::registry
