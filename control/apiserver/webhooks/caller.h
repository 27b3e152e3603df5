// Calls of webhooks: where one is found, who it must prove to be, and what it said. Used by whatever asks servers of
// the cluster's users (admission).
//
//   WebhookClientConfig --url: its host; service: ClusterIP from the store--> TLS --POST, JSON--> answer
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "api/base/result.h"
#include "control/http/client.h"

namespace k8s::io::api::admissionregistration::v1 {
class WebhookClientConfig;
}
namespace k8s::io::api::core::v1 {
class Service;
}

namespace sluice::webhooks {

// Calls under way at once; more are refused with kResourceExhausted.
inline constexpr std::size_t kMaxCalls = 512;
// Authorities that are kept ready; beyond it all are made anew.
inline constexpr std::size_t kMaxAuthorities = 256;
inline constexpr int kCallThreads = 2;

using ClientConfig = ::k8s::io::api::admissionregistration::v1::WebhookClientConfig;
// Null when there is no such Service.
using ServiceReader = std::function<std::shared_ptr<const ::k8s::io::api::core::v1::Service>(
    const std::string& name_space, const std::string& name)>;

struct CallerStats {
    http::ClientStats http;
    std::uint64_t refused = 0;  // kMaxCalls
};

// How a webhook answered: any 2xx. What is no 2xx is `status`, with the body.
struct Answered {
    int status = 0;
    std::string body;
    std::chrono::steady_clock::time_point finished;
};

// Thread-safe. Outlives its calls.
class Caller {
public:
    Caller();
    ~Caller();
    Caller(const Caller&) = delete;
    Caller& operator=(const Caller&) = delete;

    // One call on its way.
    class Call {
    public:
        ~Call();
        // Blocks, to the deadline at most. Errors are worded as Go's client words them, with the URL.
        Result<Answered> wait();

    private:
        friend class Caller;
        Call() = default;
        std::unique_ptr<http::Client::Call> call_;
        std::string url_;
        std::chrono::steady_clock::time_point deadline_;
        Caller* owner_ = nullptr;
    };

    // Sends the body. Fails at once where the server cannot be found or may not be asked.
    Result<std::unique_ptr<Call>> start(const ClientConfig& where, const ServiceReader& services, std::string body,
                                        std::chrono::milliseconds timeout);
    // Calls under way and later ones fail at once, or nearly so. Which says nothing about whom they ask.
    void stop() { stopped_.store(true, std::memory_order_relaxed); }
    [[nodiscard]] bool stopped() const { return stopped_.load(std::memory_order_relaxed); }
    [[nodiscard]] CallerStats stats() const;

private:
    Result<std::shared_ptr<const http::ClientTls>> tls_of(const std::string& ca_bundle);

    std::atomic<std::size_t> under_way_{0};
    std::atomic<std::uint64_t> refused_{0};
    std::atomic<bool> stopped_{false};
    std::mutex mutex_;
    std::map<std::string, std::shared_ptr<const http::ClientTls>> authorities_;  // by caBundle
    const std::unique_ptr<http::Client> client_;
};

// What an answer that is no 2xx is called in errors, as Kubernetes' client has it.
[[nodiscard]] std::string failure_text(int status, std::string_view body);

// https://host[:port][/path] in its parts. kInvalidArgument for anything else.
struct Url {
    std::string host;  // without brackets
    std::uint16_t port = 443;
    std::string path;
    bool has_port = false;
};
Result<Url> parse_url(const std::string& text);

}  // namespace sluice::webhooks
