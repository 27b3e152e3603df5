#include "control/apiserver/admission/webhooks/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "api/base/metrics_text.h"

namespace sluice::admission {
namespace {

using metrics_text::head;

// As upstream, so that a webhook cannot make series without end.
constexpr int kMaxCode = 600;

std::string label_value(const std::string& text) {
    std::string out;
    for (const char c : text) {
        if (c == '\\' || c == '"') out += '\\';
        out += c == '\n' ? ' ' : c;
    }
    return out;
}

void counters(std::string* out, std::string_view name, std::string_view help,
              const std::map<std::string, std::uint64_t>& values) {
    head(out, name, "counter", help);
    for (const auto& [labels, value] : values) {
        fmt::format_to(std::back_inserter(*out), "{}{{{}}} {}\n", name, labels, value);
    }
}

const char* error_type(CallResult::Kind kind) {
    switch (kind) {
        case CallResult::Kind::kFailed: return "calling_webhook_error";
        case CallResult::Kind::kInternal: return "apiserver_internal_error";
        default: return "no_error";
    }
}

}  // namespace

std::string WebhookMetrics::counted_name(const std::string& webhook) {
    const auto found = names_.find(webhook);
    if (found != names_.end()) return found->second;
    if (names_.size() >= kMaxCountedWebhooks) return "other";
    return names_.emplace(webhook, label_value(webhook)).first->second;
}

void WebhookMetrics::record(const std::string& webhook, std::string_view type, std::string_view operation,
                            std::chrono::steady_clock::duration elapsed, const CallResult& result) {
    const double seconds = std::chrono::duration<double>(elapsed).count();
    const int code = std::min(result.code, kMaxCode);
    const std::lock_guard lock(mutex_);
    const std::string common =
        fmt::format(R"(name="{}",type="{}",operation="{}")", counted_name(webhook), type, operation);
    Latency& latency = latencies_[fmt::format(R"({},rejected="{}")", common, result.rejected)];
    const auto* bound = std::lower_bound(kBounds.begin(), kBounds.end(), seconds);
    ++latency.counts[static_cast<std::size_t>(bound - kBounds.begin())];
    latency.sum += seconds;
    ++requests_[fmt::format(R"({},code="{}",rejected="{}")", common, code, result.rejected)];
    if (!result.rejected) return;
    ++rejections_[fmt::format(R"({},error_type="{}",rejection_code="{}")", common, error_type(result.kind),
                              result.kind == CallResult::Kind::kInternal ? 0 : code)];
}

void WebhookMetrics::record_conditions(const std::string& webhook, std::string_view type, std::string_view operation,
                                       std::size_t errors, bool excluded) {
    if (errors == 0 && !excluded) return;
    const std::lock_guard lock(mutex_);
    const std::string labels =
        fmt::format(R"(name="{}",kind="webhook",type="{}",operation="{}")", counted_name(webhook), type, operation);
    if (errors > 0) condition_errors_[labels] += errors;
    if (excluded) ++exclusions_[labels];
}

void WebhookMetrics::record_fail_open(const std::string& webhook, std::string_view type) {
    const std::lock_guard lock(mutex_);
    ++fail_opens_[fmt::format(R"(name="{}",type="{}")", counted_name(webhook), type)];
}

std::string WebhookMetrics::text() const {
    constexpr const char* kDuration = "apiserver_admission_webhook_admission_duration_seconds";
    std::string out;
    const std::lock_guard lock(mutex_);
    head(&out, kDuration, "histogram", "How long webhooks took, by webhook, type and operation.");
    for (const auto& [labels, latency] : latencies_) {
        std::uint64_t total = 0;
        for (std::size_t i = 0; i < latency.counts.size(); ++i) {
            total += latency.counts[i];
            const std::string bound = i < kBounds.size() ? fmt::format("{}", kBounds[i]) : "+Inf";
            fmt::format_to(std::back_inserter(out), "{}_bucket{{{},le=\"{}\"}} {}\n", kDuration, labels, bound, total);
        }
        fmt::format_to(std::back_inserter(out), "{0}_sum{{{1}}} {2}\n{0}_count{{{1}}} {3}\n", kDuration, labels,
                       latency.sum, total);
    }
    counters(&out, "apiserver_admission_webhook_request_total", "Calls of webhooks, by how they ended.", requests_);
    counters(&out, "apiserver_admission_webhook_rejection_count", "Requests refused by webhooks or for want of them.",
             rejections_);
    counters(&out, "apiserver_admission_webhook_fail_open_count", "Failed calls that were passed over.", fail_opens_);
    counters(&out, "apiserver_admission_match_condition_evaluation_errors_total", "Match conditions that failed.",
             condition_errors_);
    counters(&out, "apiserver_admission_match_condition_exclusions_total",
             "Requests about which a webhook was not asked, as a match condition was false.", exclusions_);
    return out;
}

}  // namespace sluice::admission
