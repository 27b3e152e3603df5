// Checks of JobSpecs that Jobs and the templates of CronJobs share, in Kubernetes' words. Pure and thread-safe.
#pragma once

#include <string>

#include "control/apiserver/registry/validation/field_errors.h"

namespace k8s::io::api::batch::v1 {
class JobSpec;
}

namespace sluice::registry {

// Counts, completion mode, Pod template and restart policy, and what the Job controller would not act on. `field`: the
// path of the JobSpec. Unset members, which a Job has by default and a template may leave open, are well.
void validate_job_spec(const ::k8s::io::api::batch::v1::JobSpec& spec, const std::string& field,
                       FieldErrors* errors);

}  // namespace sluice::registry
