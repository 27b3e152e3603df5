// An audit policy (audit.k8s.io/v1, kind Policy): which requests are noted, and how much of them. Pure once read.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "api/base/result.h"
#include "control/apiserver/authorization/attributes.h"

namespace sluice::audit {

inline constexpr std::size_t kMaxPolicyBytes = 1U << 20U;
inline constexpr std::size_t kMaxRules = 10'000;

enum class Level : std::uint8_t { kNone, kMetadata, kRequest, kRequestResponse };
enum class Stage : std::uint8_t { kRequestReceived, kResponseStarted, kResponseComplete, kPanic };
inline constexpr std::size_t kStages = 4;
[[nodiscard]] std::string_view level_name(Level level);
[[nodiscard]] std::string_view stage_name(Stage stage);

// Indexed by Stage.
using StageSet = std::array<bool, kStages>;

struct GroupResources {
    std::string group;
    std::vector<std::string> resources;  // "pods", "pods/log", "pods/*", "*/scale", "*"; none: all of the group
    std::vector<std::string> names;
};

struct Rule {
    Level level = Level::kNone;
    std::vector<std::string> users;
    std::vector<std::string> groups;
    std::vector<std::string> verbs;
    std::vector<GroupResources> resources;
    std::vector<std::string> namespaces;
    std::vector<std::string> urls;  // "/healthz*" matches what begins so
    StageSet omitted{};
    bool omit_managed_fields = false;
};

// What is to be noted of a request.
struct Verdict {
    Level level = Level::kNone;
    StageSet omitted{};
    bool omit_managed_fields = false;
};

class Policy {
public:
    // YAML or JSON. Errors name the field in Kubernetes' words.
    static Result<Policy> parse(std::string_view text);
    static Result<Policy> load(const std::string& path);

    // The first rule that matches decides; without one nothing is noted. user: who asked, before impersonation.
    [[nodiscard]] Verdict decide(const authorization::Attributes& request,
                                 const http::Identity& user) const;

private:
    std::vector<Rule> rules_;
};

}  // namespace sluice::audit
