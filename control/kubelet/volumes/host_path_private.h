// hostPath volumes: what must be at the path, and what is made there.
#pragma once

#include <string>

#include "api/base/result.h"

namespace sluice::kubelet {

// type: one of Kubernetes' seven, or empty for no check. Errors are Kubernetes': `hostPath type
// check failed: /x is not a directory`.
Result<void> prepare_host_path(const std::string& path, const std::string& type);

}  // namespace sluice::kubelet
