// Counts what policies decided, under kube-apiserver's names.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "control/apiserver/admission/policy/evaluation.h"

namespace sluice::admission {

// Pairs of a policy and a binding that are counted apart; those beyond are counted together, as "other".
inline constexpr std::size_t kMaxCountedBindings = 1'000;

// Thread-safe.
class PolicyMetrics {
public:
    // action: "allow", "deny", "audit" or "warn".
    void record(const std::string& policy, const std::string& binding, const PolicyDecision& decision,
                std::string_view action);
    // Prometheus text.
    [[nodiscard]] std::string text() const;

private:
    static constexpr std::array<double, 5> kBounds = {0.0000005, 0.001, 0.01, 0.1, 1.0};
    struct Checks {
        std::array<std::uint64_t, kBounds.size() + 1> counts{};
        double sum = 0;
    };
    mutable std::mutex mutex_;
    std::map<std::pair<std::string, std::string>, std::string> names_;  // as labels
    std::map<std::string, Checks> checks_;                              // by labels
};

}  // namespace sluice::admission
