// DaemonSet and ControllerRevision: one Pod on each node, and the history of its template.
#include <fmt/format.h>

#include <algorithm>

#include "api/kubernetes/apps/v1/apps.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/strategies/kinds.h"
#include "control/apiserver/registry/strategies/pod_defaults.h"
#include "control/apiserver/registry/strategies/workload.h"
#include "control/apiserver/registry/table/cells.h"

namespace sluice::registry {

namespace {

namespace appsv1 = ::k8s::io::api::apps::v1;

constexpr std::int32_t kHistoryLimit = 10;

constexpr Column kColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Desired", "integer", "", "Nodes that should run a Pod of it."},
    {"Current", "integer", "", "Nodes that run one."},
    {"Ready", "integer", "", "Nodes whose Pod is ready."},
    {"Up-to-date", "integer", "", "Nodes whose Pod is made from the template as it now is."},
    {"Available", "integer", "", "Nodes whose Pod has been ready for long enough."},
    {"Node Selector", "string", "", "Labels of the nodes that are meant."},
    {"Age", "string", "", "Time since the object was created."},
    {"Containers", "string", "", "Names of the template's containers.", 1},
    {"Images", "string", "", "Images of the template's containers.", 1},
    {"Selector", "string", "", "Which Pods belong to it.", 1},
};

void check_rolling_update(const appsv1::RollingUpdateDaemonSet& update, FieldErrors* errors) {
    const std::string field = "spec.updateStrategy.rollingUpdate";
    check_count_or_percent(update.maxunavailable(), field + ".maxUnavailable", errors);
    check_at_most_all(update.maxunavailable(), field + ".maxUnavailable", errors);
    check_count_or_percent(update.maxsurge(), field + ".maxSurge", errors);
    check_at_most_all(update.maxsurge(), field + ".maxSurge", errors);
    const bool unavailable = !is_none(update.maxunavailable());
    const bool surge = !is_none(update.maxsurge());
    if (unavailable && surge) {
        errors->invalid(field + ".maxSurge", BadValue::verbatim("&intstr.IntOrString{...}"),
                        "may not be set when maxUnavailable is non-zero");
    } else if (!unavailable && !surge) {
        errors->required(field + ".maxUnavailable", "cannot be 0 when maxSurge is 0");
    }
}

class DaemonSetStrategy final : public TypedStrategy<appsv1::DaemonSet> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kColumns; }

protected:
    void defaults(appsv1::DaemonSet* object) const override {
        auto* spec = object->mutable_spec();
        auto* strategy = spec->mutable_updatestrategy();
        if (strategy->type().empty()) strategy->set_type("RollingUpdate");
        if (strategy->type() == "RollingUpdate") {
            auto* update = strategy->mutable_rollingupdate();
            if (!update->has_maxunavailable()) set_count(update->mutable_maxunavailable(), 1);
            if (!update->has_maxsurge()) set_count(update->mutable_maxsurge(), 0);
        }
        if (!spec->has_revisionhistorylimit()) spec->set_revisionhistorylimit(kHistoryLimit);
        default_pod_template(spec->mutable_template_());
    }
    void prepare_create(appsv1::DaemonSet* object) const override {
        TypedStrategy::prepare_create(object);
        start_generation(object);
    }
    void prepare_update(appsv1::DaemonSet* object, const appsv1::DaemonSet& old) const override {
        TypedStrategy::prepare_update(object, old);
        count_generation(object, old);
    }
    void check(const appsv1::DaemonSet& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        const auto& spec = object.spec();
        check_selector(spec.selector(), errors);
        check_replica_template(spec.template_(), spec.selector(), errors);
        check_not_negative(spec.minreadyseconds(), "spec.minReadySeconds", errors);
        if (spec.updatestrategy().type() == "RollingUpdate") {
            check_rolling_update(spec.updatestrategy().rollingupdate(), errors);
        } else if (spec.updatestrategy().type() != "OnDelete") {
            errors->not_supported("spec.updateStrategy.type", spec.updatestrategy().type(),
                                  {"RollingUpdate", "OnDelete"});
        }
        check_not_negative(spec.revisionhistorylimit(), "spec.revisionHistoryLimit", errors);
    }
    void check_update(const appsv1::DaemonSet& object, const appsv1::DaemonSet& old,
                      FieldErrors* errors) const override {
        check(object, errors);
        check_selector_unchanged(object.spec().selector(), old.spec().selector(), errors);
    }
    [[nodiscard]] std::vector<Cell> cells(const appsv1::DaemonSet& object) const override {
        const auto& spec = object.spec();
        const auto& status = object.status();
        const auto& nodes = spec.template_().spec().nodeselector();
        return {object.metadata().name(),
                std::int64_t{status.desirednumberscheduled()},
                std::int64_t{status.currentnumberscheduled()},
                std::int64_t{status.numberready()},
                std::int64_t{status.updatednumberscheduled()},
                std::int64_t{status.numberavailable()},
                format_labels({nodes.begin(), nodes.end()}),
                age_cell(object.metadata()),
                container_names(spec.template_()),
                container_images(spec.template_()),
                selector_cell(spec.selector())};
    }
};

constexpr Column kRevisionColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Controller", "string", "", "What the revision belongs to."},
    {"Revision", "string", "", "Its number."},
    {"Age", "string", "", "Time since the object was created."},
};

class ControllerRevisionStrategy final : public TypedStrategy<appsv1::ControllerRevision> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kRevisionColumns; }

protected:
    void check(const appsv1::ControllerRevision& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        if (object.data().raw().empty()) errors->required("data", "data is mandatory");
        check_not_negative(object.revision(), "revision", errors);
    }
    void check_update(const appsv1::ControllerRevision& object,
                      const appsv1::ControllerRevision& old, FieldErrors* errors) const override {
        check(object, errors);
        if (object.data().raw() != old.data().raw()) {
            errors->invalid("data", BadValue::verbatim("runtime.RawExtension{...}"),
                            "field is immutable");
        }
    }
    [[nodiscard]] std::vector<Cell> cells(const appsv1::ControllerRevision& object) const override {
        std::string controller = "<none>";
        for (const auto& owner : object.metadata().ownerreferences()) {
            if (!owner.controller()) continue;
            std::string kind = owner.kind();
            std::transform(kind.begin(), kind.end(), kind.begin(), [](char c) {
                return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
            });
            const std::size_t slash = owner.apiversion().find('/');
            if (slash != std::string::npos) kind += "." + owner.apiversion().substr(0, slash);
            controller = kind + "/" + owner.name();
        }
        return {object.metadata().name(), controller, std::int64_t{object.revision()},
                age_cell(object.metadata())};
    }
};

}  // namespace

std::unique_ptr<Strategy> make_daemonset_strategy(const codec::KindInfo& kind) {
    return std::make_unique<DaemonSetStrategy>(kind);
}

std::unique_ptr<Strategy> make_controllerrevision_strategy(const codec::KindInfo& kind) {
    return std::make_unique<ControllerRevisionStrategy>(kind);
}

}  // namespace sluice::registry
