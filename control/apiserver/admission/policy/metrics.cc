#include "control/apiserver/admission/policy/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "api/base/metrics_text.h"

namespace sluice::admission {
namespace {

const char* error_type(const PolicyDecision& decision) {
    const std::string_view message = decision.message;
    if (message.starts_with("compilation")) return "compile_error";
    if (message.starts_with("validation failed due to running out of cost budget")) return "out_of_budget";
    // Also of what was denied without an error, as upstream has it.
    return "invalid_error";
}

}  // namespace

void PolicyMetrics::record(const std::string& policy, const std::string& binding, const PolicyDecision& decision,
                           std::string_view action) {
    const double seconds = std::chrono::duration<double>(decision.elapsed).count();
    const std::lock_guard lock(mutex_);
    std::string labels;
    if (const auto found = names_.find({policy, binding}); found != names_.end()) {
        labels = found->second;
    } else if (names_.size() >= kMaxCountedBindings) {
        labels = R"(policy="other",policy_binding="other")";
    } else {
        labels = fmt::format(R"(policy="{}",policy_binding="{}")", metrics_text::escaped(policy),
                             metrics_text::escaped(binding));
        names_.emplace(std::pair(policy, binding), labels);
    }
    Checks& checks =
        checks_[fmt::format(R"({},error_type="{}",enforcement_action="{}")", labels, error_type(decision), action)];
    const auto* bound = std::lower_bound(kBounds.begin(), kBounds.end(), seconds);
    ++checks.counts[static_cast<std::size_t>(bound - kBounds.begin())];
    checks.sum += seconds;
}

std::string PolicyMetrics::text() const {
    constexpr const char* kTotal = "apiserver_validating_admission_policy_check_total";
    constexpr const char* kDuration = "apiserver_validating_admission_policy_check_duration_seconds";
    std::string totals;
    std::string durations;
    metrics_text::head(&totals, kTotal, "counter", "Checks by policies that had consequences, by policy and binding.");
    metrics_text::head(&durations, kDuration, "histogram", "How long the expression took that had consequences.");
    const std::lock_guard lock(mutex_);
    for (const auto& [labels, checks] : checks_) {
        std::uint64_t total = 0;
        for (std::size_t i = 0; i < checks.counts.size(); ++i) {
            total += checks.counts[i];
            const std::string bound = i < kBounds.size() ? fmt::format("{}", kBounds[i]) : "+Inf";
            fmt::format_to(std::back_inserter(durations), "{}_bucket{{{},le=\"{}\"}} {}\n", kDuration, labels, bound,
                           total);
        }
        fmt::format_to(std::back_inserter(durations), "{0}_sum{{{1}}} {2}\n{0}_count{{{1}}} {3}\n", kDuration, labels,
                       checks.sum, total);
        fmt::format_to(std::back_inserter(totals), "{}{{{}}} {}\n", kTotal, labels, total);
    }
    return totals + durations;
}

}  // namespace sluice::admission
