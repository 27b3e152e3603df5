// Counts the calls of webhooks, by webhook, under kube-apiserver's names.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

namespace sluice::admission {

// Webhooks counted apart; those beyond are counted together, as "other".
inline constexpr std::size_t kMaxCountedWebhooks = 1'000;

// How a call ended. code: of its status; 200 when it allowed the request, 0 when this server is at fault.
struct CallResult {
    enum class Kind { kAllowed, kDenied, kFailed, kInternal };
    Kind kind = Kind::kAllowed;
    int code = 200;
    bool rejected = false;
};

// Thread-safe.
class WebhookMetrics {
public:
    // type: "admit" or "validating".
    void record(const std::string& webhook, std::string_view type, std::string_view operation,
                std::chrono::steady_clock::duration elapsed, const CallResult& result);
    // Of the match conditions of a webhook: how many failed, and whether one was false, so that it is not asked.
    void record_conditions(const std::string& webhook, std::string_view type, std::string_view operation,
                           std::size_t errors, bool excluded);
    void record_fail_open(const std::string& webhook, std::string_view type);
    [[nodiscard]] std::string text() const;

private:
    static constexpr std::array<double, 8> kBounds = {0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10, 25};
    struct Latency {
        std::array<std::uint64_t, kBounds.size() + 1> counts{};
        double sum = 0;
    };
    [[nodiscard]] std::string counted_name(const std::string& webhook);

    mutable std::mutex mutex_;
    std::map<std::string, std::string, std::less<>> names_;  // as a label's value
    // By their labels, as they are written.
    std::map<std::string, Latency> latencies_;
    std::map<std::string, std::uint64_t> requests_;
    std::map<std::string, std::uint64_t> rejections_;
    std::map<std::string, std::uint64_t> fail_opens_;
    std::map<std::string, std::uint64_t> condition_errors_;
    std::map<std::string, std::uint64_t> exclusions_;
};

}  // namespace sluice::admission
