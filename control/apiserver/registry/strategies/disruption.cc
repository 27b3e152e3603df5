// PodDisruptionBudget: how many of some Pods may be missing at a time by somebody's will. The
// eviction subresource of Pods (rest/eviction) spends from it.
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/policy/v1/policy.pb.h"
#include "api/kubernetes/util/intstr/intstr.pb.h"
#include "control/apiserver/registry/strategies/kinds.h"
#include "control/apiserver/registry/strategies/workload.h"
#include "control/apiserver/registry/table/cells.h"
#include "control/apiserver/registry/validation/scheduling.h"

namespace sluice::registry {

namespace {

namespace policyv1 = ::k8s::io::api::policy::v1;
using IntOrString = ::k8s::io::apimachinery::pkg::util::intstr::IntOrString;

constexpr std::int64_t kStringType = 1;
constexpr Column kColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Min Available", "string", "", "Pods that must be there."},
    {"Max Unavailable", "string", "", "Pods that may be missing."},
    {"Allowed Disruptions", "integer", "", "Pods that may be evicted at present."},
    {"Age", "string", "", "Time since the object was created."},
};

std::string count_cell(bool present, const IntOrString& value) {
    if (!present) return "N/A";
    return value.type() == kStringType ? value.strval() : std::to_string(value.intval());
}

class DisruptionBudgetStrategy final : public TypedStrategy<policyv1::PodDisruptionBudget> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kColumns; }
    [[nodiscard]] bool allow_unconditional_update() const override { return false; }
    void validate_status_update(const Message& object, const Message& old,
                                FieldErrors* errors) const override {
        Strategy::validate_status_update(object, old, errors);
        const auto& status = static_cast<const policyv1::PodDisruptionBudget&>(object).status();
        check_not_negative(status.disruptionsallowed(), "status.disruptionsAllowed", errors);
        check_not_negative(status.currenthealthy(), "status.currentHealthy", errors);
        check_not_negative(status.desiredhealthy(), "status.desiredHealthy", errors);
        check_not_negative(status.expectedpods(), "status.expectedPods", errors);
    }

protected:
    void prepare_create(policyv1::PodDisruptionBudget* object) const override {
        TypedStrategy::prepare_create(object);
        start_generation(object);
    }
    void prepare_update(policyv1::PodDisruptionBudget* object,
                        const policyv1::PodDisruptionBudget& old) const override {
        TypedStrategy::prepare_update(object, old);
        count_generation(object, old);
    }
    void check(const policyv1::PodDisruptionBudget& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        const auto& spec = object.spec();
        if (spec.has_minavailable() && spec.has_maxunavailable()) {
            errors->invalid("spec", BadValue::verbatim("policy.PodDisruptionBudgetSpec{...}"),
                            "minAvailable and maxUnavailable cannot be both set");
        }
        const auto check_count = [&](bool present, const IntOrString& value, const char* field) {
            if (!present) return;
            check_count_or_percent(value, field, errors);
            check_at_most_all(value, field, errors);
        };
        check_count(spec.has_minavailable(), spec.minavailable(), "spec.minAvailable");
        check_count(spec.has_maxunavailable(), spec.maxunavailable(), "spec.maxUnavailable");
        validate_label_selector(spec.selector(), "spec.selector", errors);
        const std::string& policy = spec.unhealthypodevictionpolicy();
        if (spec.has_unhealthypodevictionpolicy() && policy != "AlwaysAllow" &&
            policy != "IfHealthyBudget") {
            errors->not_supported("spec.unhealthyPodEvictionPolicy", policy,
                                  {"AlwaysAllow", "IfHealthyBudget"});
        }
    }
    [[nodiscard]] std::vector<Cell> cells(
        const policyv1::PodDisruptionBudget& object) const override {
        const auto& spec = object.spec();
        return {object.metadata().name(),
                count_cell(spec.has_minavailable(), spec.minavailable()),
                count_cell(spec.has_maxunavailable(), spec.maxunavailable()),
                std::int64_t{object.status().disruptionsallowed()}, age_cell(object.metadata())};
    }
};

}  // namespace

std::unique_ptr<Strategy> make_disruptionbudget_strategy(const codec::KindInfo& kind) {
    return std::make_unique<DisruptionBudgetStrategy>(kind);
}

}  // namespace sluice::registry
