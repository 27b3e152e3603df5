#include "control/controllers/endpointslice/hints.h"

#include <algorithm>
#include <string>
#include <utility>

#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::controllers::endpoints {
namespace {

bool wants_proportion(const corev1::Service& service) {
    const auto& annotations = service.metadata().annotations();
    auto mode = annotations.find(kTopologyAwareHints);
    if (mode == annotations.end()) mode = annotations.find(kTopologyMode);
    return mode != annotations.end() && (mode->second == "Auto" || mode->second == "auto");
}

template <class List>
bool names_only(const List& list, const std::string* name) {
    if (name == nullptr) return list.empty();
    return list.size() == 1 && list[0].name() == *name;
}

// Null when no node is to be named.
const std::string* hinted_node(HintRule rule, const discoveryv1::Endpoint& endpoint) {
    return rule == HintRule::kSameNode && endpoint.has_nodename() ? &endpoint.nodename() : nullptr;
}

bool is_hinted_as(HintRule rule, const discoveryv1::Endpoint& endpoint) {
    return names_only(endpoint.hints().forzones(), &endpoint.zone()) &&
           names_only(endpoint.hints().fornodes(), hinted_node(rule, endpoint));
}

// Edits all slices; of those unchanged the ones that need it.
template <class Needs, class Edit>
void rewrite(Changes* changes, const Needs& needs, const Edit& edit) {
    std::vector<SlicePtr> unchanged;
    for (auto& slice : changes->unchanged) {
        if (needs(*slice)) {
            changes->update.push_back(*slice);
        } else {
            unchanged.push_back(std::move(slice));
        }
    }
    changes->unchanged = std::move(unchanged);
    for (auto* slices : {&changes->create, &changes->update}) {
        for (auto& slice : *slices) {
            for (auto& endpoint : *slice.mutable_endpoints()) edit(&endpoint);
        }
    }
}

}  // namespace

HintRule hint_rule(const corev1::Service& service) {
    if (wants_proportion(service)) return HintRule::kProportional;
    const std::string& distribution = service.spec().trafficdistribution();
    if (distribution == "PreferClose" || distribution == "PreferSameZone") {
        return HintRule::kSameZone;
    }
    return distribution == "PreferSameNode" ? HintRule::kSameNode : HintRule::kNone;
}

bool is_ready_endpoint(const discoveryv1::Endpoint& endpoint) {
    return endpoint.conditions().ready();
}

void hint_own_place(HintRule rule, Changes* changes) {
    const auto needs = [&](const Slice& slice) {
        return std::any_of(slice.endpoints().begin(), slice.endpoints().end(), [&](const auto& e) {
            return is_ready_endpoint(e) && !is_hinted_as(rule, e);
        });
    };
    rewrite(changes, needs, [&](discoveryv1::Endpoint* endpoint) {
        endpoint->clear_hints();
        if (!is_ready_endpoint(*endpoint)) return;
        endpoint->mutable_hints()->add_forzones()->set_name(endpoint->zone());
        if (const std::string* node = hinted_node(rule, *endpoint)) {
            endpoint->mutable_hints()->add_fornodes()->set_name(*node);
        }
    });
}

void remove_hints(Changes* changes) {
    const auto needs = [](const Slice& slice) {
        return std::any_of(slice.endpoints().begin(), slice.endpoints().end(),
                           [](const auto& endpoint) { return endpoint.has_hints(); });
    };
    rewrite(changes, needs, [](discoveryv1::Endpoint* endpoint) { endpoint->clear_hints(); });
}

}  // namespace sluice::controllers::endpoints
