#include "control/apiserver/registry/rest/selection.h"

#include <google/protobuf/message.h>

#include <algorithm>

#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/rest/core.h"

namespace sluice::registry {

Answer<Selection> Selection::make(const Strategy& strategy, const RequestInfo& info,
                                  const ListOptions& options) {
    Selection out;
    out.strategy_ = &strategy;
    auto labels = codec::LabelSelector::parse(options.label_selector);
    if (!labels) return refuse(bad_request(labels.error().message));
    out.labels_ = std::move(*labels);
    auto fields = codec::FieldSelector::parse(options.field_selector);
    if (!fields) return refuse(bad_request(fields.error().message));
    out.fields_ = std::move(*fields);
    const auto offered = strategy.selectable_fields();
    for (const auto& term : out.fields_.terms()) {
        if (term.field == "metadata.name") continue;
        if (term.field == "metadata.namespace" && info.kind->namespaced) continue;
        if (std::find(offered.begin(), offered.end(), term.field) == offered.end()) {
            return refuse(bad_request(strategy.unknown_field_message(term.field)));
        }
    }
    std::string name = info.name;
    if (name.empty()) {
        const auto required = out.fields_.required_value("metadata.name");
        if (required && !required->empty()) name = *required;
    }
    out.prefix_ = strategy.storage_prefix() + "/";
    const bool placed = !info.kind->namespaced || !info.name_space.empty();
    if (!info.name_space.empty()) out.prefix_ += info.name_space + "/";
    if (placed && !name.empty()) {
        out.prefix_ += name;
        out.single_ = true;
    }
    return out;
}

bool Selection::matches(const StoredObject& object) const {
    if (everything()) return true;
    const auto& labels = object.meta().labels();
    if (!labels_.matches([&labels](std::string_view key) -> std::optional<std::string_view> {
            const auto found = labels.find(std::string(key));
            if (found == labels.end()) return std::nullopt;
            return found->second;
        })) {
        return false;
    }
    return fields_.matches([this, &object](std::string_view field) {
        return strategy_->field_value(object.message(), field);
    });
}

}  // namespace sluice::registry
