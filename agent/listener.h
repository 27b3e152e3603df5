// An HTTP server of the agent that may have to wait for its address: another process, often the kube-proxy that is
// being replaced, may still have the port.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "agent/health/http_server.h"
#include "api/base/result.h"

namespace sluice::agent {

// As kube-proxy tries again.
inline constexpr std::chrono::milliseconds kListenRetry{5'000};

struct ListenOptions {
    std::string name;     // of the setting, for messages
    std::string address;  // empty: no server
    std::uint16_t default_port = 0;
    bool hard_fail = false;  // an address that cannot be had is an error, not something to wait for
    std::chrono::milliseconds retry = kListenRetry;
};

// start() once. Destroying it ends the server.
class Listener {
public:
    Listener() = default;
    ~Listener();
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;

    // Listens, or keeps trying on a thread of its own and says so in the log. An error only with hard_fail.
    Result<void> start(ListenOptions options, health::HttpHandler handler);
    // 0 while it does not listen. Thread-safe.
    [[nodiscard]] std::uint16_t port() const;

private:
    Result<void> attempt();
    void keep_trying(const std::stop_token& stop, std::string last_failure);

    ListenOptions options_;
    health::HttpHandler handler_;
    mutable std::mutex mutex_;
    std::condition_variable_any wake_;
    std::unique_ptr<health::HttpServer> server_;
    std::jthread retrying_;
};

}  // namespace sluice::agent
