#include "control/apiserver/registry/validation/job.h"

#include <fmt/format.h>

#include "api/kubernetes/batch/v1/job.pb.h"
#include "control/apiserver/registry/validation/pod.h"

namespace sluice::registry {

namespace {

namespace batchv1 = ::k8s::io::api::batch::v1;

// An Indexed Job keeps one record for each index.
constexpr std::int32_t kMaxIndexedParallelism = 100'000;

void check_numbers(const batchv1::JobSpec& spec, const std::string& field, FieldErrors* errors) {
    const auto check = [&](std::int64_t value, const char* member) {
        if (value >= 0) return;
        errors->invalid(field_child(field, member), value,
                        "must be greater than or equal to 0");
    };
    check(spec.parallelism(), "parallelism");
    check(spec.completions(), "completions");
    check(spec.activedeadlineseconds(), "activeDeadlineSeconds");
    check(spec.backofflimit(), "backoffLimit");
    check(spec.ttlsecondsafterfinished(), "ttlSecondsAfterFinished");
}

void check_mode(const batchv1::JobSpec& spec, const std::string& field, FieldErrors* errors) {
    if (spec.has_completionmode() && spec.completionmode() != "NonIndexed" &&
        spec.completionmode() != "Indexed") {
        errors->not_supported(field_child(field, "completionMode"), spec.completionmode(),
                              {"Indexed", "NonIndexed"});
    }
    if (spec.completionmode() != "Indexed") return;
    if (!spec.has_completions()) {
        errors->required(field_child(field, "completions"), "when completion mode is Indexed");
        return;
    }
    if (spec.parallelism() > kMaxIndexedParallelism) {
        errors->invalid(field_child(field, "parallelism"), spec.parallelism(),
                        fmt::format("must be less than or equal to {} when completion mode is "
                                    "Indexed",
                                    kMaxIndexedParallelism));
    }
}

// What the Job controller would not act on is refused rather than stored and forgotten.
void check_supported(const batchv1::JobSpec& spec, const std::string& field, FieldErrors* errors) {
    const auto refuse_member = [&](bool present, const char* member) {
        if (!present) return;
        errors->forbidden(field_child(field, member),
                          "not supported by this cluster's Job controller");
    };
    refuse_member(spec.has_podfailurepolicy(), "podFailurePolicy");
    refuse_member(spec.has_successpolicy(), "successPolicy");
    refuse_member(spec.has_backofflimitperindex(), "backoffLimitPerIndex");
    refuse_member(spec.has_maxfailedindexes(), "maxFailedIndexes");
    if (spec.has_managedby() && spec.managedby() != "kubernetes.io/job-controller") {
        errors->not_supported(field_child(field, "managedBy"), spec.managedby(),
                              {"kubernetes.io/job-controller"});
    }
    const std::string& replacement = spec.podreplacementpolicy();
    if (spec.has_podreplacementpolicy() && replacement != "TerminatingOrFailed" &&
        replacement != "Failed") {
        errors->not_supported(field_child(field, "podReplacementPolicy"), replacement,
                              {"Failed", "TerminatingOrFailed"});
    }
}

}  // namespace

void validate_job_spec(const batchv1::JobSpec& spec, const std::string& field,
                       FieldErrors* errors) {
    check_numbers(spec, field, errors);
    check_mode(spec, field, errors);
    check_supported(spec, field, errors);
    validate_pod_template(spec.template_(), field_child(field, "template"), errors);
    const std::string& policy = spec.template_().spec().restartpolicy();
    if (policy == "Always") {
        errors->required(field_child(field, "template.spec.restartPolicy"),
                         "valid values: \"OnFailure\", \"Never\"");
    }
}

}  // namespace sluice::registry
