#include <vector>

#include "api/kubernetes/flowcontrol/v1/flowcontrol.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/defaults/defaults.h"

namespace sluice::registry {

namespace {

using ::k8s::io::api::flowcontrol::v1::PriorityLevelConfiguration;

constexpr std::size_t kMandatory = 2;  // at the front
constexpr std::int32_t kQueueLength = 50;

PriorityLevelConfiguration level(const char* name, const char* type) {
    PriorityLevelConfiguration object;
    object.mutable_metadata()->set_name(name);
    (*object.mutable_metadata()->mutable_annotations())[kAutoUpdateAnnotation] = "true";
    object.mutable_spec()->set_type(type);
    return object;
}

PriorityLevelConfiguration exempt() {
    PriorityLevelConfiguration object = level("exempt", "Exempt");
    object.mutable_spec()->mutable_exempt()->set_nominalconcurrencyshares(0);
    object.mutable_spec()->mutable_exempt()->set_lendablepercent(0);
    return object;
}

PriorityLevelConfiguration limited(const char* name, std::int32_t shares, std::int32_t lendable) {
    PriorityLevelConfiguration object = level(name, "Limited");
    auto* limits = object.mutable_spec()->mutable_limited();
    limits->set_nominalconcurrencyshares(shares);
    limits->set_lendablepercent(lendable);
    limits->mutable_limitresponse()->set_type("Reject");
    return object;
}

PriorityLevelConfiguration queued(const char* name, std::int32_t shares, std::int32_t lendable,
                                  std::int32_t queues, std::int32_t hand) {
    PriorityLevelConfiguration object = limited(name, shares, lendable);
    auto* response = object.mutable_spec()->mutable_limited()->mutable_limitresponse();
    response->set_type("Queue");
    response->mutable_queuing()->set_queues(queues);
    response->mutable_queuing()->set_handsize(hand);
    response->mutable_queuing()->set_queuelengthlimit(kQueueLength);
    return object;
}

}  // namespace

std::span<const PriorityLevelConfiguration> default_priority_levels() {
    static const std::vector<PriorityLevelConfiguration> all = {
        exempt(),
        limited("catch-all", 5, 0),
        queued("system", 30, 33, 64, 6),
        queued("node-high", 40, 25, 64, 6),
        queued("leader-election", 10, 0, 16, 4),
        queued("workload-high", 40, 50, 128, 6),
        queued("workload-low", 100, 90, 128, 6),
        queued("global-default", 20, 50, 128, 6),
    };
    return all;
}

const PriorityLevelConfiguration* mandatory_priority_level(std::string_view name) {
    for (const auto& object : default_priority_levels().first(kMandatory)) {
        if (object.metadata().name() == name) return &object;
    }
    return nullptr;
}

}  // namespace sluice::registry
