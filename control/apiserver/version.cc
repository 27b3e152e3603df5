#include "control/apiserver/version.h"

#include <fmt/core.h>

namespace sluice::apiserver {
namespace {

constexpr const char* architecture() {
#if defined(__x86_64__)
    return "amd64";
#elif defined(__aarch64__)
    return "arm64";
#elif defined(__riscv)
    return "riscv64";
#else
#error "name this architecture as Go does, for /version"
#endif
}

}  // namespace

std::string git_version() {
    return fmt::format("v{}.{}.0+sluice.{}", kKubernetesMajor, kKubernetesMinor, SLUICE_VERSION);
}

// Clients expect all nine members. There is no build date, so that equal sources build equal programs.
std::string version_json() {
    return fmt::format(
        R"({{"major":"{}","minor":"{}","gitVersion":"{}","gitCommit":"","gitTreeState":"clean",)"
        R"("buildDate":"1970-01-01T00:00:00Z","goVersion":"","compiler":"gcc","platform":"linux/{}"}})",
        kKubernetesMajor, kKubernetesMinor, git_version(), architecture());
}

}  // namespace sluice::apiserver
