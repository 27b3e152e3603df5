// What the server says it is.
#pragma once

#include <string>

namespace sluice::apiserver {

// The Kubernetes version whose API this is; clients compare it with their own.
inline constexpr const char* kKubernetesMajor = "1";
inline constexpr const char* kKubernetesMinor = "32";

// "v1.32.0+sluice.0.1.0"
[[nodiscard]] std::string git_version();
// The document at /version.
[[nodiscard]] std::string version_json();

}  // namespace sluice::apiserver
