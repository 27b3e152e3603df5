#include "control/apiserver/registry/custom/versions/hooks.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <span>

#include "api/base/metrics_text.h"
#include "api/kubernetes/core/v1/service.pb.h"
#include "control/apiserver/registry/rest/listing.h"

namespace sluice::registry {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;

template <class Series>
void observe(Series* series, std::size_t bucket, double seconds) {
    ++series->counts[bucket];
    series->sum += seconds;
}

template <class Map>
void histogram(std::string* out, std::string_view name, std::string_view help, std::span<const double> bounds,
               const Map& all) {
    metrics_text::head(out, name, "histogram", help);
    for (const auto& [labels, series] : all) {
        std::uint64_t total = 0;
        for (std::size_t i = 0; i < series.counts.size(); ++i) {
            total += series.counts[i];
            const std::string bound = i < bounds.size() ? fmt::format("{}", bounds[i]) : "+Inf";
            fmt::format_to(std::back_inserter(*out), "{}_bucket{{{},le=\"{}\"}} {}\n", name, labels, bound, total);
        }
        fmt::format_to(std::back_inserter(*out), "{0}_sum{{{1}}} {2}\n{0}_count{{{1}}} {3}\n", name, labels,
                       series.sum, total);
    }
}

std::vector<double> doubled(double first, std::size_t count) {
    std::vector<double> out;
    for (double bound = first; out.size() < count; bound *= 2) out.push_back(bound);
    return out;
}

std::size_t bucket_of(std::span<const double> bounds, double seconds) {
    return static_cast<std::size_t>(std::ranges::lower_bound(bounds, seconds) - bounds.begin());
}

}  // namespace

Result<std::string> ConversionHooks::ask(const webhooks::ClientConfig& where, std::string body) {
    SLUICE_TRY_ASSIGN(const auto call, caller_.start(where, services_, std::move(body), kConversionTimeout));
    SLUICE_TRY_ASSIGN(auto answer, call->wait());
    constexpr int kOk = 200;
    constexpr int kMultipleChoices = 300;
    if (answer.status < kOk || answer.status >= kMultipleChoices) {
        return make_error(Code::kUnavailable, "{}", webhooks::failure_text(answer.status, answer.body));
    }
    return std::move(answer.body);
}

void ConversionHooks::count(const std::string& definition, const std::string& from, const std::string& to,
                            std::size_t objects, std::chrono::steady_clock::duration elapsed, const char* failure) {
    static const std::vector<double> kBounds = doubled(0.001, kDefinitionBounds);
    const double seconds = std::chrono::duration<double>(elapsed).count();
    const bool failed = failure != nullptr;
    const auto labels = [failed](std::string_view name, std::string_view from_version, std::string_view to_version) {
        return fmt::format(R"(crd_name="{}",from_version="{}",to_version="{}",succeeded="{}")", name, from_version,
                           to_version, !failed);
    };
    std::string one = labels(definition, from, to);
    const std::lock_guard lock(mutex_);
    if (!by_definition_.contains(one) && by_definition_.size() >= kMaxCountedConversions) {
        one = labels("other", "other", "other");
    }
    observe(&by_definition_[one], bucket_of(kBounds, seconds), seconds);
    observe(&by_result_[fmt::format(R"(result="{}",failure_type="{}")", failed ? "failure" : "success",
                                    failed ? failure : "")],
            bucket_of(kCallBounds, seconds), seconds);
    objects_ += objects;
}

std::string ConversionHooks::metrics() const {
    const webhooks::CallerStats calls = caller_.stats();
    std::string out;
    const std::lock_guard lock(mutex_);
    histogram(&out, "apiserver_crd_conversion_webhook_duration_seconds",
              "How long conversion webhooks took, by definition and versions.", doubled(0.001, kDefinitionBounds),
              by_definition_);
    histogram(&out, "apiserver_conversion_webhook_duration_seconds", "How long conversion webhooks took, by result.",
              kCallBounds, by_result_);
    metrics_text::head(&out, "apiserver_conversion_webhook_request_total", "counter",
                    "Calls of conversion webhooks, by how they ended.");
    for (const auto& [labels, series] : by_result_) {
        std::uint64_t total = 0;
        for (const std::uint64_t in_bucket : series.counts) total += in_bucket;
        fmt::format_to(std::back_inserter(out), "apiserver_conversion_webhook_request_total{{{}}} {}\n", labels, total);
    }
    metrics_text::single(&out, "sluice_conversion_objects_total", "counter",
                      "Objects sent to conversion webhooks, several in one call.", objects_);
    metrics_text::single(&out, "sluice_conversion_refused_calls_total", "counter",
                      "Calls of conversion webhooks not made, as too many were under way.", calls.refused);
    metrics_text::single(&out, "sluice_conversion_queued_requests", "gauge",
                      "Requests and watches that wait for a thread to convert objects on.", room_.queued());
    metrics_text::single(&out, "sluice_conversion_refused_requests_total", "counter",
                      "Requests refused or put off, as too many waited for conversion.", room_.refused());
    return out;
}

webhooks::ServiceReader services_of(Core& core) {
    return [&core](const std::string& name_space, const std::string& name) {
        const auto found = read_stored(core, kind_named("", "v1", "services"), name_space, name);
        if (found == nullptr) return std::shared_ptr<const corev1::Service>();
        return std::shared_ptr<const corev1::Service>(found, static_cast<const corev1::Service*>(&found->message()));
    };
}

}  // namespace sluice::registry
