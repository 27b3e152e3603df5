// Deployment: replicas of one template, and how they are replaced when it changes.
#include <fmt/format.h>

#include "api/kubernetes/apps/v1/apps.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/strategies/kinds.h"
#include "control/apiserver/registry/strategies/pod_defaults.h"
#include "control/apiserver/registry/strategies/workload.h"
#include "control/apiserver/registry/table/cells.h"

namespace sluice::registry {

namespace {

namespace appsv1 = ::k8s::io::api::apps::v1;

constexpr std::int32_t kHistoryLimit = 10;
constexpr std::int32_t kProgressSeconds = 600;
constexpr const char* kPercent = "25%";

constexpr Column kColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Ready", "string", "", "Pods that are ready, of those wanted."},
    {"Up-to-date", "string", "", "Pods made from the template as it now is."},
    {"Available", "string", "", "Pods that have been ready for long enough."},
    {"Age", "string", "", "Time since the object was created."},
    {"Containers", "string", "", "Names of the template's containers.", 1},
    {"Images", "string", "", "Images of the template's containers.", 1},
    {"Selector", "string", "", "Which Pods belong to it.", 1},
};

bool same_annotations(const appsv1::Deployment& a, const appsv1::Deployment& b) {
    const auto& now = a.metadata().annotations();
    const auto& was = b.metadata().annotations();
    if (now.size() != was.size()) return false;
    for (const auto& [key, value] : now) {
        const auto found = was.find(key);
        if (found == was.end() || found->second != value) return false;
    }
    return true;
}

void check_rolling_update(const appsv1::RollingUpdateDeployment& update, FieldErrors* errors) {
    const std::string field = "spec.strategy.rollingUpdate";
    check_count_or_percent(update.maxunavailable(), field + ".maxUnavailable", errors);
    check_count_or_percent(update.maxsurge(), field + ".maxSurge", errors);
    if (is_none(update.maxunavailable()) && is_none(update.maxsurge())) {
        errors->invalid(field + ".maxUnavailable",
                        BadValue::verbatim(update.maxunavailable().type() == 0
                                               ? std::string("0")
                                               : go_quote(update.maxunavailable().strval())),
                        "may not be 0 when `maxSurge` is 0");
    }
    check_at_most_all(update.maxunavailable(), field + ".maxUnavailable", errors);
}

void check_strategy(const appsv1::DeploymentStrategy& strategy, FieldErrors* errors) {
    if (strategy.type() == "Recreate") {
        if (strategy.has_rollingupdate()) {
            errors->forbidden("spec.strategy.rollingUpdate",
                              "may not be specified when strategy `type` is 'Recreate'");
        }
    } else if (strategy.type() == "RollingUpdate") {
        check_rolling_update(strategy.rollingupdate(), errors);
    } else {
        errors->not_supported("spec.strategy.type", strategy.type(),
                              {"Recreate", "RollingUpdate"});
    }
}

class DeploymentStrategy final : public TypedStrategy<appsv1::Deployment> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kColumns; }
    void prepare_for_status_update(Message* object, const Message& old) const override {
        TypedStrategy::prepare_for_status_update(object, old);
        *codec::object_meta(*object).mutable_labels() = codec::object_meta(old).labels();
    }
    [[nodiscard]] std::optional<ScaleView> scale_of(const Message& object) const override {
        const auto& deployment = static_cast<const appsv1::Deployment&>(object);
        return ScaleView{deployment.spec().replicas(), deployment.status().replicas(),
                         selector_text(deployment.spec().selector())};
    }
    void set_replicas(Message* object, std::int32_t replicas) const override {
        static_cast<appsv1::Deployment*>(object)->mutable_spec()->set_replicas(replicas);
    }

protected:
    void defaults(appsv1::Deployment* object) const override {
        auto* spec = object->mutable_spec();
        if (!spec->has_replicas()) spec->set_replicas(1);
        auto* strategy = spec->mutable_strategy();
        if (strategy->type().empty()) strategy->set_type("RollingUpdate");
        if (strategy->type() == "RollingUpdate") {
            auto* update = strategy->mutable_rollingupdate();
            if (!update->has_maxunavailable()) {
                set_percent(update->mutable_maxunavailable(), kPercent);
            }
            if (!update->has_maxsurge()) set_percent(update->mutable_maxsurge(), kPercent);
        }
        if (!spec->has_revisionhistorylimit()) spec->set_revisionhistorylimit(kHistoryLimit);
        if (!spec->has_progressdeadlineseconds()) {
            spec->set_progressdeadlineseconds(kProgressSeconds);
        }
        default_pod_template(spec->mutable_template_());
    }
    void prepare_create(appsv1::Deployment* object) const override {
        TypedStrategy::prepare_create(object);
        start_generation(object);
    }
    // Annotations are copied to the ReplicaSet in use, so that their change is the controller's business too.
    void prepare_update(appsv1::Deployment* object, const appsv1::Deployment& old) const override {
        TypedStrategy::prepare_update(object, old);
        count_generation(object, old);
        if (!same_annotations(*object, old)) {
            object->mutable_metadata()->set_generation(old.metadata().generation() + 1);
        }
    }
    void check(const appsv1::Deployment& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        const auto& spec = object.spec();
        check_not_negative(spec.replicas(), "spec.replicas", errors);
        check_selector(spec.selector(), errors);
        check_replica_template(spec.template_(), spec.selector(), errors);
        check_strategy(spec.strategy(), errors);
        check_not_negative(spec.minreadyseconds(), "spec.minReadySeconds", errors);
        check_not_negative(spec.revisionhistorylimit(), "spec.revisionHistoryLimit", errors);
        check_not_negative(spec.progressdeadlineseconds(), "spec.progressDeadlineSeconds", errors);
        if (spec.progressdeadlineseconds() <= spec.minreadyseconds()) {
            errors->invalid("spec.progressDeadlineSeconds", spec.progressdeadlineseconds(),
                            "must be greater than minReadySeconds");
        }
    }
    void check_update(const appsv1::Deployment& object, const appsv1::Deployment& old,
                      FieldErrors* errors) const override {
        check(object, errors);
        check_selector_unchanged(object.spec().selector(), old.spec().selector(), errors);
    }
    [[nodiscard]] std::vector<Cell> cells(const appsv1::Deployment& object) const override {
        const auto& spec = object.spec();
        const auto& status = object.status();
        return {object.metadata().name(),
                fmt::format("{}/{}", status.readyreplicas(), spec.replicas()),
                std::int64_t{status.updatedreplicas()},
                std::int64_t{status.availablereplicas()},
                age_cell(object.metadata()),
                container_names(spec.template_()),
                container_images(spec.template_()),
                selector_cell(spec.selector())};
    }
};

}  // namespace

std::unique_ptr<Strategy> make_deployment_strategy(const codec::KindInfo& kind) {
    return std::make_unique<DeploymentStrategy>(kind);
}

}  // namespace sluice::registry
