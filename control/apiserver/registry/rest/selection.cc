#include "control/apiserver/registry/rest/selection.h"

#include <google/protobuf/message.h>

#include <algorithm>

#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/conversion/conversion.h"
#include "control/apiserver/registry/rest/core.h"

namespace sluice::registry {

namespace {

// The name under which the strategy knows a field.
std::string_view stored_name(const Conversion* conversion, std::string_view field) {
    if (conversion == nullptr || conversion->stored_field == nullptr) return field;
    if (field == "metadata.name" || field == "metadata.namespace") return field;
    return conversion->stored_field(field);
}

}  // namespace

Answer<Selection> Selection::make(const Strategy& strategy, const RequestInfo& info,
                                  const ListOptions& options) {
    Selection out;
    out.strategy_ = &strategy;
    out.conversion_ = conversion_of(*info.kind);
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
        if (std::find(offered.begin(), offered.end(), stored_name(out.conversion_, term.field)) ==
            offered.end()) {
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
        return strategy_->field_value(object.message(), stored_name(conversion_, field));
    });
}

}  // namespace sluice::registry
