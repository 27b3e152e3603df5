// Conversion webhooks: calls of servers outside that bring custom objects from one version to another, where calls are
// waited for, and how they are counted.
//
//   Core, watches --run--> WaitingRoom: ObjectCache, change_object --> Converter (converter.h) --ask--> Caller
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "control/apiserver/webhooks/caller.h"
#include "control/apiserver/webhooks/waiting_room.h"

namespace sluice::registry {

struct Core;

// As long as kube-apiserver waits for one answer.
inline constexpr std::chrono::seconds kConversionTimeout{30};
// Definitions and pairs of versions counted apart; those beyond are counted together, as "other".
inline constexpr std::size_t kMaxCountedConversions = 1'000;

// How a call failed, in the words of kube-apiserver's metrics; null: it did not.
inline constexpr const char* kConversionCallFailure = "conversion_webhook_call_failure";
inline constexpr const char* kConversionMalformedResponse = "conversion_webhook_malformed_response_failure";
inline constexpr const char* kConversionPartialResponse = "conversion_webhook_partial_response_failure";
inline constexpr const char* kConversionInvalidObject = "conversion_webhook_invalid_converted_object_failure";

// Thread-safe. Outlives whoever converts.
class ConversionHooks {
public:
    explicit ConversionHooks(webhooks::ServiceReader services) : services_(std::move(services)) {}

    // Runs the task on a thread that may wait; false, and it is dropped, when too many wait.
    bool run(std::function<void()> task) { return room_.run(std::move(task)); }
    // Calls under way and later ones fail at once, or nearly so.
    void stop() { caller_.stop(); }
    // The body of the webhook's answer. Waits.
    Result<std::string> ask(const webhooks::ClientConfig& where, std::string body);
    // failure: one of the words above, or null. objects: how many were sent.
    void count(const std::string& definition, const std::string& from, const std::string& to, std::size_t objects,
               std::chrono::steady_clock::duration elapsed, const char* failure);
    // Prometheus text.
    [[nodiscard]] std::string metrics() const;

private:
    template <std::size_t N>
    struct Histogram {
        std::array<std::uint64_t, N + 1> counts{};
        double sum = 0;
    };
    // 1 ms, doubled each time.
    static constexpr std::size_t kDefinitionBounds = 15;
    static constexpr std::array<double, 15> kCallBounds = {0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1,
                                                           2,     5,    10,   20,   30,  45,  60};

    const webhooks::ServiceReader services_;
    mutable std::mutex mutex_;
    // By their labels, as they are written.
    std::map<std::string, Histogram<kDefinitionBounds>, std::less<>> by_definition_;
    std::map<std::string, Histogram<kCallBounds.size()>, std::less<>> by_result_;
    std::uint64_t objects_ = 0;
    webhooks::Caller caller_;
    // Last, so that its threads end first.
    webhooks::WaitingRoom room_;
};

// Services as the core has them now.
[[nodiscard]] webhooks::ServiceReader services_of(Core& core);

}  // namespace sluice::registry
