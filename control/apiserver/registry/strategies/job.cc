// Job: Pods that run to their end, a number of times.
#include <fmt/format.h>

#include <algorithm>

#include "api/kubernetes/batch/v1/job.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/strategies/kinds.h"
#include "control/apiserver/registry/strategies/pod_defaults.h"
#include "control/apiserver/registry/strategies/workload.h"
#include "control/apiserver/registry/table/cells.h"
#include "control/apiserver/registry/validation/job.h"
#include "control/apiserver/registry/validation/scheduling.h"

namespace sluice::registry {

namespace {

namespace batchv1 = ::k8s::io::api::batch::v1;
namespace corev1 = ::k8s::io::api::core::v1;

constexpr std::int32_t kBackoffLimit = 6;
constexpr std::size_t kMaxLabelBytes = 63;

// Each label has a name with a prefix and, for older clients, one without.
constexpr const char* kUidLabels[] = {"controller-uid", "batch.kubernetes.io/controller-uid"};
constexpr const char* kNameLabels[] = {"job-name", "batch.kubernetes.io/job-name"};
constexpr const char* kSelectorLabel = "batch.kubernetes.io/controller-uid";

constexpr Column kColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Status", "string", "", "How the Job stands."},
    {"Completions", "string", "", "Pods that succeeded, of those wanted."},
    {"Duration", "string", "", "Time from the first start to the end."},
    {"Age", "string", "", "Time since the object was created."},
    {"Containers", "string", "", "Names of the template's containers.", 1},
    {"Images", "string", "", "Images of the template's containers.", 1},
    {"Selector", "string", "", "Which Pods belong to it.", 1},
};
constexpr std::string_view kFields[] = {"status.successful"};

bool has_condition(const batchv1::Job& job, std::string_view type) {
    return std::any_of(job.status().conditions().begin(), job.status().conditions().end(),
                       [type](const batchv1::JobCondition& condition) {
                           return condition.type() == type && condition.status() == "True";
                       });
}

std::string status_cell(const batchv1::Job& job) {
    if (has_condition(job, "Complete")) return "Complete";
    if (has_condition(job, "Failed")) return "Failed";
    if (job.metadata().has_deletiontimestamp()) return "Terminating";
    if (has_condition(job, "Suspended")) return "Suspended";
    if (has_condition(job, "FailureTarget")) return "FailureTarget";
    if (has_condition(job, "SuccessCriteriaMet")) return "SuccessCriteriaMet";
    return "Running";
}

std::string completions_cell(const batchv1::Job& job) {
    const auto& spec = job.spec();
    const std::int32_t done = job.status().succeeded();
    if (spec.has_completions()) return fmt::format("{}/{}", done, spec.completions());
    if (spec.parallelism() > 1) return fmt::format("{}/1 of {}", done, spec.parallelism());
    return fmt::format("{}/1", done);
}

std::string duration_cell(const batchv1::Job& job) {
    const auto& status = job.status();
    if (!status.has_starttime()) return "";
    const std::int64_t end =
        status.has_completiontime() ? status.completiontime().seconds() : unix_now();
    return human_duration(end - status.starttime().seconds());
}

bool manual(const batchv1::Job& job) { return job.spec().manualselector(); }

void generate_selector(batchv1::Job* job) {
    auto* spec = job->mutable_spec();
    auto& labels = *spec->mutable_template_()->mutable_metadata()->mutable_labels();
    // What the user set is kept, and refused by validation when it conflicts.
    for (const char* label : kNameLabels) labels.insert({label, job->metadata().name()});
    for (const char* label : kUidLabels) labels.insert({label, job->metadata().uid()});
    spec->mutable_selector()->mutable_matchlabels()->insert(
        {kSelectorLabel, job->metadata().uid()});
}

void check_generated(const batchv1::Job& job, FieldErrors* errors) {
    const auto& labels = job.spec().template_().metadata().labels();
    const auto check_label = [&](const char* label, const std::string& wanted) {
        const std::string field = field_key("spec.template.metadata.labels", label);
        const auto found = labels.find(label);
        if (found == labels.end()) {
            errors->required(field, fmt::format("must be '{}'", wanted));
        } else if (found->second != wanted) {
            errors->invalid("spec.template.metadata.labels", go_label_map(labels),
                            fmt::format("must contain label {}={}", label, wanted));
        }
    };
    for (const char* label : kUidLabels) check_label(label, job.metadata().uid());
    for (const char* label : kNameLabels) check_label(label, job.metadata().name());
    const auto& selector = job.spec().selector();
    const auto& matched = selector.matchlabels();
    const auto uid = matched.find(kSelectorLabel);
    const auto old_uid = matched.find(kUidLabels[0]);
    const bool ours =
        matched.size() == 1 && selector.matchexpressions_size() == 0 &&
        ((uid != matched.end() && uid->second == job.metadata().uid()) ||
         (old_uid != matched.end() && old_uid->second == job.metadata().uid()));
    if (!ours) errors->invalid("spec.selector", go_selector(selector), "`selector` not auto-generated");
}

// The last index must still fit into the Pods' host names.
void check_last_index(const batchv1::Job& job, FieldErrors* errors) {
    const auto& spec = job.spec();
    if (spec.completionmode() != "Indexed" || spec.completions() <= 0) return;
    const std::string last =
        fmt::format("{}-{}", job.metadata().name(), spec.completions() - 1);
    if (last.size() > kMaxLabelBytes) {
        errors->invalid("metadata.name", job.metadata().name(),
                        fmt::format("will not able to create pod with invalid DNS label: {}",
                                    last));
    }
}

class JobStrategy final : public TypedStrategy<batchv1::Job> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kColumns; }
    [[nodiscard]] std::span<const std::string_view> selectable_fields() const override {
        return kFields;
    }
    // As batch/v1 has always had it.
    [[nodiscard]] bool orphans_by_default() const override { return true; }
    [[nodiscard]] std::string_view deletion_warning() const override {
        return "child pods are preserved by default when jobs are deleted; set "
               "propagationPolicy=Background to remove them or set propagationPolicy=Orphan to "
               "suppress this warning";
    }
    void validate_status_update(const Message& object, const Message& old,
                                FieldErrors* errors) const override {
        Strategy::validate_status_update(object, old, errors);
        const auto& status = static_cast<const batchv1::Job&>(object).status();
        check_not_negative(status.active(), "status.active", errors);
        check_not_negative(status.succeeded(), "status.succeeded", errors);
        check_not_negative(status.failed(), "status.failed", errors);
        if (status.has_ready()) check_not_negative(status.ready(), "status.ready", errors);
        if (status.has_terminating()) {
            check_not_negative(status.terminating(), "status.terminating", errors);
        }
    }

protected:
    void defaults(batchv1::Job* object) const override {
        auto* spec = object->mutable_spec();
        if (!spec->has_completions() && !spec->has_parallelism()) {
            spec->set_completions(1);
            spec->set_parallelism(1);
        }
        if (!spec->has_parallelism()) spec->set_parallelism(1);
        if (!spec->has_backofflimit()) spec->set_backofflimit(kBackoffLimit);
        if (object->metadata().labels().empty()) {
            *object->mutable_metadata()->mutable_labels() = spec->template_().metadata().labels();
        }
        if (!spec->has_completionmode()) spec->set_completionmode("NonIndexed");
        if (!spec->has_suspend()) spec->set_suspend(false);
        if (!spec->has_podreplacementpolicy()) {
            spec->set_podreplacementpolicy(spec->has_podfailurepolicy() ? "Failed"
                                                                        : "TerminatingOrFailed");
        }
        if (!spec->has_manualselector()) spec->set_manualselector(false);
        default_pod_template(spec->mutable_template_());
    }
    void prepare_create(batchv1::Job* object) const override {
        if (!manual(*object)) generate_selector(object);
        TypedStrategy::prepare_create(object);
        start_generation(object);
    }
    void prepare_update(batchv1::Job* object, const batchv1::Job& old) const override {
        TypedStrategy::prepare_update(object, old);
        count_generation(object, old);
    }
    void check(const batchv1::Job& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        const auto& spec = object.spec();
        if (manual(object)) {
            check_selector(spec.selector(), errors);
        } else {
            check_generated(object, errors);
        }
        validate_job_spec(spec, "spec", errors);
        check_last_index(object, errors);
        check_selector_matches(spec, errors);
    }
    void check_update(const batchv1::Job& object, const batchv1::Job& old,
                      FieldErrors* errors) const override {
        check(object, errors);
        const auto& now = object.spec();
        const auto& was = old.spec();
        check_completions_update(now, was, errors);
        check_selector_unchanged(now.selector(), was.selector(), errors);
        if (!same_template(object, old)) {
            errors->invalid("spec.template", BadValue::verbatim("core.PodTemplateSpec{...}"),
                            "field is immutable");
        }
        if (now.completionmode() != was.completionmode()) {
            errors->invalid("spec.completionMode", now.completionmode(), "field is immutable");
        }
    }
    [[nodiscard]] std::vector<Cell> cells(const batchv1::Job& object) const override {
        const auto& spec = object.spec();
        return {object.metadata().name(),
                status_cell(object),
                completions_cell(object),
                duration_cell(object),
                age_cell(object.metadata()),
                container_names(spec.template_()),
                container_images(spec.template_()),
                selector_cell(spec.selector())};
    }
    [[nodiscard]] std::string field_of(const batchv1::Job& object,
                                       std::string_view field) const override {
        return field == "status.successful" ? std::to_string(object.status().succeeded()) : "";
    }

private:
    static void check_selector_matches(const batchv1::JobSpec& spec, FieldErrors* errors) {
        const auto& labels = spec.template_().metadata().labels();
        for (const auto& [key, value] : spec.selector().matchlabels()) {
            const auto found = labels.find(key);
            if (found != labels.end() && found->second == value) continue;
            errors->invalid("spec.template.metadata.labels", go_label_map(labels),
                            "`selector` does not match template `labels`");
            return;
        }
    }

    // An Indexed Job may grow and shrink when its parallelism does the same.
    static void check_completions_update(const batchv1::JobSpec& now, const batchv1::JobSpec& was,
                                         FieldErrors* errors) {
        if (now.has_completions() == was.has_completions() &&
            now.completions() == was.completions()) {
            return;
        }
        const BadValue shown = now.has_completions() ? BadValue(now.completions())
                                                     : BadValue::verbatim("null");
        if (was.completionmode() != "Indexed") {
            errors->invalid("spec.completions", shown, "field is immutable");
        } else if (now.completions() != now.parallelism()) {
            errors->invalid("spec.completions", shown,
                            "can only be modified in tandem with spec.parallelism");
        }
    }

    // A Job that is suspended and has not started may be sent elsewhere: its scheduling directives are free.
    static bool same_template(const batchv1::Job& now, const batchv1::Job& was) {
        batchv1::JobSpec changed;
        *changed.mutable_template_() = now.spec().template_();
        batchv1::JobSpec stored;
        *stored.mutable_template_() = was.spec().template_();
        if (was.spec().suspend() && !was.status().has_starttime()) {
            auto* to = changed.mutable_template_();
            const auto& from = was.spec().template_();
            *to->mutable_metadata()->mutable_labels() = from.metadata().labels();
            *to->mutable_metadata()->mutable_annotations() = from.metadata().annotations();
            *to->mutable_spec()->mutable_nodeselector() = from.spec().nodeselector();
            *to->mutable_spec()->mutable_tolerations() = from.spec().tolerations();
            *to->mutable_spec()->mutable_schedulinggates() = from.spec().schedulinggates();
            to->mutable_spec()->clear_affinity();
            stored.mutable_template_()->mutable_spec()->clear_affinity();
        }
        return same_stored_field(changed, stored, "template");
    }
};

}  // namespace

std::unique_ptr<Strategy> make_job_strategy(const codec::KindInfo& kind) {
    return std::make_unique<JobStrategy>(kind);
}

}  // namespace sluice::registry
