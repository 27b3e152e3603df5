// Which objects of a kind a list or watch is about: namespace, label selector, field selector.
#pragma once

#include <string>
#include <string_view>

#include "api/codec/selector.h"
#include "control/apiserver/registry/rest/options.h"
#include "control/apiserver/registry/rest/request_info.h"
#include "control/apiserver/registry/rest/stored_object.h"
#include "control/apiserver/registry/strategies/strategy.h"

namespace sluice::registry {

struct Conversion;

// Immutable; thread-safe.
class Selection {
public:
    // 400 for a selector that cannot be read or a field that the kind does not offer.
    static Answer<Selection> make(const Strategy& strategy, const RequestInfo& info,
                                  const ListOptions& options);

    // The store's keys to look at: the kind's, the namespace's, or one object's.
    [[nodiscard]] const std::string& prefix() const { return prefix_; }
    // True when the selection is about one object: prefix() is then its key, and longer keys are not meant.
    [[nodiscard]] bool single() const { return single_; }
    [[nodiscard]] bool covers_key(std::string_view key) const { return !single_ || key == prefix_; }
    [[nodiscard]] bool matches(const StoredObject& object) const;
    // Whether matches() is true of everything under the prefix.
    [[nodiscard]] bool everything() const {
        return labels_.selects_everything() && fields_.terms().empty();
    }

private:
    const Strategy* strategy_ = nullptr;
    const Conversion* conversion_ = nullptr;  // of the version whose field names are used
    std::string prefix_;
    bool single_ = false;
    codec::LabelSelector labels_;
    codec::FieldSelector fields_;
};

}  // namespace sluice::registry
