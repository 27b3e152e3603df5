// One policy about one request, with one set of params: what its expressions say. No state; bounded by the budgets of
// Kubernetes (control/cel/program.h).
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "control/apiserver/admission/matching/variables.h"
#include "control/apiserver/admission/policy/policy.h"

namespace sluice::admission {

// Variables that mention variables that mention variables ...; deeper ones fail.
inline constexpr int kMaxVariableDepth = 100;

// Of one validation, or of the policy as a whole.
struct PolicyDecision {
    bool deny = false;
    bool failed = false;  // an error; deny then is the failurePolicy's
    std::string message;
    std::string reason;
    std::chrono::steady_clock::duration elapsed{};
};

struct AnnotationOutcome {
    std::string key;
    std::string value;  // published, if it is not empty
    std::string error;  // of an expression that failed, and denies the request
    std::chrono::steady_clock::duration elapsed{};
};

struct PolicyOutcome {
    // By the index of the validation, unless one decision stands for all; none: the match conditions do not hold.
    std::vector<PolicyDecision> decisions;
    std::vector<AnnotationOutcome> annotations;
};

// params: nullopt where the policy has no paramKind; null where the binding refers to none.
[[nodiscard]] PolicyOutcome evaluate_policy(const Policy& policy, RequestVariables& variables,
                                            const codec::KindInfo& seen, const std::optional<cel::Value>& params);

}  // namespace sluice::admission
