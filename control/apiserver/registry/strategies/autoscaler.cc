// HorizontalPodAutoscaler: keeps a workload's replicas in proportion to its load. autoscaling/v2 is what is stored;
// conversion/ shows it as autoscaling/v1.
#include <fmt/format.h>

#include "api/kubernetes/autoscaling/v2/horizontalpodautoscaler.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/strategies/kinds.h"
#include "control/apiserver/registry/strategies/workload.h"
#include "control/apiserver/registry/table/cells.h"
#include "control/apiserver/registry/table/metrics.h"
#include "control/apiserver/registry/validation/autoscaler.h"

namespace sluice::registry {

namespace {

namespace v2 = ::k8s::io::api::autoscaling::v2;

constexpr std::int32_t kDefaultCpuUtilization = 80;
constexpr std::int32_t kPeriodSeconds = 15;
constexpr std::int32_t kMaxUpPods = 4;
constexpr std::int32_t kWholePercent = 100;

constexpr Column kColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Reference", "string", "", "The workload that is scaled."},
    {"Targets", "string", "", "Each metric as it is, and as it should be."},
    {"MinPods", "string", "", "The least number of Pods."},
    {"MaxPods", "string", "", "The greatest number of Pods."},
    {"Replicas", "integer", "", "Pods that exist."},
    {"Age", "string", "", "Time since the object was created."},
};

void add_policy(v2::HPAScalingRules* rules, const char* type, std::int32_t value) {
    auto* policy = rules->add_policies();
    policy->set_type(type);
    policy->set_value(value);
    policy->set_periodseconds(kPeriodSeconds);
}

// Who says anything about the behaviour gets the rest of it filled in.
void default_behavior(v2::HorizontalPodAutoscalerBehavior* behavior) {
    auto* up = behavior->mutable_scaleup();
    if (!up->has_selectpolicy()) up->set_selectpolicy("Max");
    if (!up->has_stabilizationwindowseconds()) up->set_stabilizationwindowseconds(0);
    if (up->policies_size() == 0) {
        add_policy(up, "Pods", kMaxUpPods);
        add_policy(up, "Percent", kWholePercent);
    }
    // How long to wait before scaling down is the controller's to decide.
    auto* down = behavior->mutable_scaledown();
    if (!down->has_selectpolicy()) down->set_selectpolicy("Max");
    if (down->policies_size() == 0) add_policy(down, "Percent", kWholePercent);
}

class AutoscalerStrategy final : public TypedStrategy<v2::HorizontalPodAutoscaler> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kColumns; }
    void validate_status_update(const Message& object, const Message& old,
                                FieldErrors* errors) const override {
        Strategy::validate_status_update(object, old, errors);
        const auto& status = static_cast<const v2::HorizontalPodAutoscaler&>(object).status();
        check_not_negative(status.currentreplicas(), "status.currentReplicas", errors);
        check_not_negative(status.desiredreplicas(), "status.desiredReplicas", errors);
    }

protected:
    void defaults(v2::HorizontalPodAutoscaler* object) const override {
        auto* spec = object->mutable_spec();
        if (!spec->has_minreplicas()) spec->set_minreplicas(1);
        if (spec->metrics_size() == 0) {
            auto* metric = spec->add_metrics();
            metric->set_type("Resource");
            metric->mutable_resource()->set_name("cpu");
            auto* target = metric->mutable_resource()->mutable_target();
            target->set_type("Utilization");
            target->set_averageutilization(kDefaultCpuUtilization);
        }
        if (spec->has_behavior()) default_behavior(spec->mutable_behavior());
    }
    void check(const v2::HorizontalPodAutoscaler& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        validate_autoscaler_spec(object.spec(), errors);
    }
    [[nodiscard]] std::vector<Cell> cells(const v2::HorizontalPodAutoscaler& object) const override {
        const auto& spec = object.spec();
        const auto& target = spec.scaletargetref();
        return {object.metadata().name(),
                fmt::format("{}/{}", target.kind(), target.name()),
                metrics_cell(object),
                spec.has_minreplicas() ? std::to_string(spec.minreplicas()) : "<unset>",
                std::int64_t{spec.maxreplicas()},
                std::int64_t{object.status().currentreplicas()},
                age_cell(object.metadata())};
    }
};

}  // namespace

std::unique_ptr<Strategy> make_autoscaler_strategy(const codec::KindInfo& kind) {
    return std::make_unique<AutoscalerStrategy>(kind);
}

}  // namespace sluice::registry
