// sluice-dpdk: forwards Service traffic on DPDK ports by the table image of an agent.
#include <pthread.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

#include "api/base/log.h"
#include "dataplane/dpdk/runtime/engine.h"
#include "dataplane/dpdk/service/server.h"

namespace {

namespace log = sluice::log;

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;
constexpr char kComponent[] = "dpdk";

int fail(const sluice::Error& error) {
    log::error(kComponent, "{}", error.to_string());
    return error.code == sluice::Code::kInvalidArgument ? kExitUsage : kExitFailure;
}

int serve(const sluice::dpdk::Options& options) {
    // Blocked before any thread starts, so that the control thread alone takes them.
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    std::signal(SIGPIPE, SIG_IGN);
    auto engine = sluice::dpdk::Engine::make(options);
    if (!engine) return fail(engine.error());
    std::atomic<sluice::dpdk::ControlServer*> running{nullptr};
    (*engine)->on_change([&running] {
        if (auto* server = running.load()) server->changed();
    });
    auto server = sluice::dpdk::ControlServer::start(options.socket, **engine);
    if (!server) return fail(server.error());
    running.store(server->get());
    const auto ran = (*engine)->run();
    running.store(nullptr);
    server->reset();
    log::info(kComponent, "stopped; tables and flows stay in {}", options.state_directory);
    return ran ? 0 : fail(ran.error());
}

}  // namespace

int main(int argc, char** argv) {
    try {
        auto command = sluice::dpdk::parse_command_line({argv + 1, argv + argc});
        if (!command) {
            std::fprintf(stderr, "sluice-dpdk: %s\n", command.error().message.c_str());
            return kExitUsage;
        }
        if (command->show) {
            std::fputs(command->text.c_str(), stdout);
            return 0;
        }
        log::set_level(command->options.log_level);
        return serve(command->options);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "sluice-dpdk: %s\n", error.what());
        return kExitFailure;
    }
}
