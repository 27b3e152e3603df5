// PriorityClass and RuntimeClass: names that pods use for a priority and for a way to run.
#include <fmt/format.h>

#include "api/codec/quantity.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/node/v1/runtimeclass.pb.h"
#include "api/kubernetes/resource/quantity.pb.h"
#include "api/kubernetes/scheduling/v1/priorityclass.pb.h"
#include "control/apiserver/registry/defaults/defaults.h"
#include "control/apiserver/registry/strategies/platform.h"
#include "control/apiserver/registry/table/cells.h"
#include "control/apiserver/registry/validation/object_meta.h"
#include "control/apiserver/registry/validation/scheduling.h"

namespace sluice::registry {

namespace {

namespace schedulingv1 = ::k8s::io::api::scheduling::v1;
namespace nodev1 = ::k8s::io::api::node::v1;
namespace corev1 = ::k8s::io::api::core::v1;

constexpr std::string_view kSystemPrefix = "system-";
constexpr std::int32_t kHighestUserPriority = 1'000'000'000;

constexpr Column kPriorityColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Value", "integer", "", "The priority."},
    {"Global-Default", "boolean", "", "Whether pods that name no class get this one."},
    {"Age", "string", "", "Time since the object was created."},
    {"PreemptionPolicy", "string", "", "Whether its pods may push others aside."},
};

class PriorityClassStrategy final : public TypedStrategy<schedulingv1::PriorityClass> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kPriorityColumns; }
    Answer<void> check_deletion(const Message& object) const override {
        const auto& name = codec::object_meta(object).name();
        if (system_priority(name) == nullptr) return {};
        return refuse(
            forbidden(kind(), name, "this is a system priority class and cannot be deleted"));
    }

protected:
    void defaults(schedulingv1::PriorityClass* object) const override {
        if (!object->has_preemptionpolicy()) object->set_preemptionpolicy("PreemptLowerPriority");
    }
    void prepare_create(schedulingv1::PriorityClass* object) const override {
        start_generation(object);
    }
    void check(const schedulingv1::PriorityClass& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        if (object.metadata().name().starts_with(kSystemPrefix)) {
            check_system_class(object, errors);
        } else if (object.value() > kHighestUserPriority) {
            errors->forbidden("value",
                              fmt::format("maximum allowed value of a user defined priority is {}",
                                          kHighestUserPriority));
        }
        const std::string& policy = object.preemptionpolicy();
        if (policy.empty()) {
            errors->required("preemptionPolicy");
        } else if (policy != "PreemptLowerPriority" && policy != "Never") {
            errors->not_supported("preemptionPolicy", policy, {"PreemptLowerPriority", "Never"});
        }
    }
    void check_update(const schedulingv1::PriorityClass& object,
                      const schedulingv1::PriorityClass& old, FieldErrors* errors) const override {
        if (object.value() != old.value()) {
            errors->forbidden("value", "may not be changed in an update.");
        }
        if (object.preemptionpolicy() != old.preemptionpolicy()) {
            errors->invalid("preemptionPolicy", object.preemptionpolicy(), "field is immutable");
        }
    }
    [[nodiscard]] std::vector<Cell> cells(
        const schedulingv1::PriorityClass& object) const override {
        return {object.metadata().name(), std::int64_t{object.value()}, object.globaldefault(),
                age_cell(object.metadata()), object.preemptionpolicy()};
    }

private:
    static void check_system_class(const schedulingv1::PriorityClass& object,
                                   FieldErrors* errors) {
        const std::string& name = object.metadata().name();
        const auto* known = system_priority(name);
        std::string why;
        if (known == nullptr) {
            why = fmt::format("{} is not a known system priority class", name);
        } else if (object.value() != known->value()) {
            why = fmt::format("value of {} PriorityClass must be {}", name, known->value());
        } else if (object.globaldefault()) {
            why = fmt::format("globalDefault of {} PriorityClass must be false", name);
        } else {
            return;
        }
        errors->forbidden("metadata.name",
                          fmt::format("priority class names with '{}' prefix are reserved for "
                                      "system use only. error: {}",
                                      kSystemPrefix, why));
    }
};

constexpr Column kRuntimeColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Handler", "string", "", "The name by which the container runtime knows it."},
    {"Age", "string", "", "Time since the object was created."},
};

class RuntimeClassStrategy final : public TypedStrategy<nodev1::RuntimeClass> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kRuntimeColumns; }
    [[nodiscard]] bool allow_unconditional_update() const override { return false; }

protected:
    void check(const nodev1::RuntimeClass& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        errors->invalid_all("handler", object.handler(), check_dns1123_label(object.handler()));
        for (const auto& [name, quantity] : object.overhead().podfixed()) {
            const std::string field = field_key("overhead.limits", name);
            errors->invalid_all(field, name, check_qualified_name(name));
            const auto parsed = codec::Quantity::parse(quantity.string());
            if (parsed && parsed->is_negative()) {
                errors->invalid(field, quantity.string(), "must be greater than or equal to 0");
            }
        }
        validate_labels(object.scheduling().nodeselector(), "scheduling.nodeSelector", errors);
        corev1::PodSpec tolerant;
        *tolerant.mutable_tolerations() = object.scheduling().tolerations();
        validate_scheduling(tolerant, "scheduling", errors);
    }
    void check_update(const nodev1::RuntimeClass& object, const nodev1::RuntimeClass& old,
                      FieldErrors* errors) const override {
        if (object.handler() != old.handler()) {
            errors->invalid("handler", object.handler(), "field is immutable");
        }
        check(object, errors);
    }
    [[nodiscard]] std::vector<Cell> cells(const nodev1::RuntimeClass& object) const override {
        return {object.metadata().name(), object.handler(), age_cell(object.metadata())};
    }
};

}  // namespace

std::unique_ptr<Strategy> make_priorityclass_strategy(const codec::KindInfo& kind) {
    return std::make_unique<PriorityClassStrategy>(kind);
}

std::unique_ptr<Strategy> make_runtimeclass_strategy(const codec::KindInfo& kind) {
    return std::make_unique<RuntimeClassStrategy>(kind);
}

}  // namespace sluice::registry
