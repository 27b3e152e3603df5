// See listener.h.
#include "agent/listener.h"

#include "api/base/log.h"

namespace sluice::agent {
namespace {

constexpr char kComponent[] = "agent";

}  // namespace

Listener::~Listener() {
    // The thread ends before what it uses.
    retrying_ = {};
}

Result<void> Listener::attempt() {
    auto server = health::HttpServer::listen(options_.address, options_.default_port, handler_);
    if (!server) return server.error().with_context(options_.name);
    const std::lock_guard lock(mutex_);
    server_ = std::move(*server);
    return {};
}

Result<void> Listener::start(ListenOptions options, health::HttpHandler handler) {
    options_ = std::move(options);
    handler_ = std::move(handler);
    if (options_.address.empty()) return {};
    auto listening = attempt();
    if (listening || options_.hard_fail) return listening;
    log::error(kComponent, "{}; trying again every {} ms", listening.error().to_string(),
               options_.retry.count());
    retrying_ = std::jthread([this, failure = listening.error().message](const std::stop_token& stop) {
        keep_trying(stop, failure);
    });
    return {};
}

void Listener::keep_trying(const std::stop_token& stop, std::string last_failure) {
    for (;;) {
        {
            std::unique_lock lock(mutex_);
            wake_.wait_for(lock, stop, options_.retry, [] { return false; });
        }
        if (stop.stop_requested()) return;
        const auto listening = attempt();
        if (listening) {
            log::info(kComponent, "{}: listening on {} now", options_.name, options_.address);
            return;
        }
        if (listening.error().message != last_failure) {
            last_failure = listening.error().message;
            log::error(kComponent, "{}; still trying", listening.error().to_string());
        }
    }
}

std::uint16_t Listener::port() const {
    const std::lock_guard lock(mutex_);
    return server_ ? server_->port() : std::uint16_t{0};
}

}  // namespace sluice::agent
