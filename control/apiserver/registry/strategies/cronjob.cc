// CronJob: a Job made again and again, on a schedule.
#include <algorithm>
#include <string>

#include "api/kubernetes/batch/v1/cronjob.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/strategies/kinds.h"
#include "control/apiserver/registry/strategies/pod_defaults.h"
#include "control/apiserver/registry/strategies/workload.h"
#include "control/apiserver/registry/table/cells.h"
#include "control/apiserver/registry/validation/cron.h"
#include "control/apiserver/registry/validation/job.h"

namespace sluice::registry {

namespace {

namespace batchv1 = ::k8s::io::api::batch::v1;

constexpr std::int32_t kSuccessfulJobs = 3;
constexpr std::int32_t kFailedJobs = 1;
// A Job's name is this one's and eleven characters that tell when it was due.
constexpr std::size_t kMaxNameBytes = 52;

constexpr Column kColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Schedule", "string", "", "When Jobs are made, as cron writes it."},
    {"Timezone", "string", "", "The time zone of the schedule."},
    {"Suspend", "string", "", "Whether no Jobs are made at present."},
    {"Active", "integer", "", "Jobs that run."},
    {"Last Schedule", "string", "", "Time since a Job was made last."},
    {"Age", "string", "", "Time since the object was created."},
    {"Containers", "string", "", "Names of the template's containers.", 1},
    {"Images", "string", "", "Images of the template's containers.", 1},
    {"Selector", "string", "", "Which Pods belong to its Jobs.", 1},
};

bool has_zone(const batchv1::CronJobSpec& spec) {
    return spec.schedule().find("TZ") != std::string::npos;
}

// `zone_in_schedule`: an older object has its time zone in the schedule, where new ones may not.
void check_when(const batchv1::CronJobSpec& spec, bool zone_in_schedule, FieldErrors* errors) {
    if (spec.schedule().empty()) {
        errors->required("spec.schedule");
        return;
    }
    if (const std::string why = check_schedule(spec.schedule()); !why.empty()) {
        errors->invalid("spec.schedule", spec.schedule(), why);
    }
    if (!has_zone(spec)) return;
    if (!zone_in_schedule) {
        errors->invalid("spec.schedule", spec.schedule(),
                        "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
    } else if (spec.has_timezone()) {
        errors->invalid("spec.schedule", spec.schedule(),
                        "cannot use both timeZone field and TZ or CRON_TZ in schedule");
    }
}

void check_zone(const batchv1::CronJobSpec& spec, FieldErrors* errors) {
    if (!spec.has_timezone()) return;
    const std::string& zone = spec.timezone();
    if (zone.empty()) {
        errors->invalid("spec.timeZone", zone, "must be nil or non-empty string");
        return;
    }
    std::string lower = zone;
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    if (lower == "local") {
        errors->invalid("spec.timeZone", zone,
                        "timeZone must be an explicit time zone as defined in "
                        "https://www.iana.org/time-zones");
    }
    if (const std::string why = check_time_zone(zone); !why.empty()) {
        errors->invalid("spec.timeZone", zone, why);
    }
}

void check_rest(const batchv1::CronJobSpec& spec, FieldErrors* errors) {
    check_not_negative(spec.startingdeadlineseconds(), "spec.startingDeadlineSeconds", errors);
    const std::string& policy = spec.concurrencypolicy();
    if (policy.empty()) {
        errors->required("spec.concurrencyPolicy");
    } else if (policy != "Allow" && policy != "Forbid" && policy != "Replace") {
        errors->not_supported("spec.concurrencyPolicy", policy, {"Allow", "Forbid", "Replace"});
    }
    const auto& job = spec.jobtemplate().spec();
    validate_job_spec(job, "spec.jobTemplate.spec", errors);
    if (job.has_selector()) {
        errors->invalid("spec.jobTemplate.spec.selector", go_selector(job.selector()),
                        "`selector` will be auto-generated");
    }
    if (job.manualselector()) {
        errors->not_supported("spec.jobTemplate.spec.manualSelector", "true", {"nil", "false"});
    }
    check_not_negative(spec.successfuljobshistorylimit(), "spec.successfulJobsHistoryLimit",
                       errors);
    check_not_negative(spec.failedjobshistorylimit(), "spec.failedJobsHistoryLimit", errors);
}

class CronJobStrategy final : public TypedStrategy<batchv1::CronJob> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kColumns; }

protected:
    void defaults(batchv1::CronJob* object) const override {
        auto* spec = object->mutable_spec();
        if (spec->concurrencypolicy().empty()) spec->set_concurrencypolicy("Allow");
        if (!spec->has_suspend()) spec->set_suspend(false);
        if (!spec->has_successfuljobshistorylimit()) {
            spec->set_successfuljobshistorylimit(kSuccessfulJobs);
        }
        if (!spec->has_failedjobshistorylimit()) spec->set_failedjobshistorylimit(kFailedJobs);
        // Only the Pods: what a Job has by default is left to the Jobs that are made.
        default_pod_template(spec->mutable_jobtemplate()->mutable_spec()->mutable_template_());
    }
    void prepare_create(batchv1::CronJob* object) const override {
        TypedStrategy::prepare_create(object);
        start_generation(object);
    }
    void prepare_update(batchv1::CronJob* object, const batchv1::CronJob& old) const override {
        TypedStrategy::prepare_update(object, old);
        count_generation(object, old);
    }
    void check(const batchv1::CronJob& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        check_when(object.spec(), false, errors);
        check_zone(object.spec(), errors);
        check_rest(object.spec(), errors);
        if (object.metadata().name().size() > kMaxNameBytes) {
            errors->invalid("metadata.name", object.metadata().name(),
                            "must be no more than 52 characters");
        }
    }
    // A name that is too long, or a zone that is known no more, does not keep an object from being changed.
    void check_update(const batchv1::CronJob& object, const batchv1::CronJob& old,
                      FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        const auto& now = object.spec();
        const auto& was = old.spec();
        check_when(now, has_zone(was), errors);
        if (now.has_timezone() != was.has_timezone() || now.timezone() != was.timezone()) {
            check_zone(now, errors);
        }
        check_rest(now, errors);
    }
    [[nodiscard]] std::vector<Cell> cells(const batchv1::CronJob& object) const override {
        const auto& spec = object.spec();
        const auto& status = object.status();
        const auto& job = spec.jobtemplate().spec();
        const char* suspended = spec.suspend() ? "True" : "False";
        return {object.metadata().name(),
                spec.schedule(),
                spec.has_timezone() ? spec.timezone() : "<none>",
                spec.has_suspend() ? suspended : "<unset>",
                std::int64_t{status.active_size()},
                status.has_lastscheduletime() ? age_since(status.lastscheduletime().seconds())
                                              : "<none>",
                age_cell(object.metadata()),
                container_names(job.template_()),
                container_images(job.template_()),
                selector_cell(job.selector())};
    }
};

}  // namespace

std::unique_ptr<Strategy> make_cronjob_strategy(const codec::KindInfo& kind) {
    return std::make_unique<CronJobStrategy>(kind);
}

}  // namespace sluice::registry
