// sluice-control: the bundled control plane in one process.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <exception>

#include "api/base/log.h"
#include "control/main/flags.h"
#include "control/main/network.h"
#include "control/main/serve.h"
#include "control/main/token.h"

namespace {

constexpr int kFailure = 1;
constexpr int kWrongUsage = 2;

int fail(int code, const sluice::Error& error) {
    fmt::print(stderr, "sluice-control: {}\n", error.message);
    if (code == kWrongUsage) fmt::print(stderr, "Run with --help for more information.\n");
    return code;
}

// What the subcommands take.
struct CommandFlags {
    std::string user;
    std::vector<std::string> groups;
    std::string server;
    std::string ttl = "24h";
};

int run_kubeconfig(const CommandFlags& flags, const sluice::control::ServeOptions& options) {
    std::string server = flags.server;
    if (server.empty()) server = "https://" + options.listen.to_string();
    const auto text = sluice::control::make_kubeconfig(options.data_dir, server, flags.user,
                                                       flags.groups);
    if (!text) {
        return fail(text.error().code == sluice::Code::kInvalidArgument ? kWrongUsage : kFailure,
                    text.error());
    }
    fmt::print("{}", *text);
    return std::fflush(stdout) == 0 ? 0 : kFailure;
}

int run_token_create(const CommandFlags& flags, const sluice::control::ServeOptions& options) {
    const auto ttl_s = sluice::control::parse_token_ttl(flags.ttl);
    if (!ttl_s) return fail(kWrongUsage, ttl_s.error());
    const auto text = sluice::control::create_token(options.data_dir, *ttl_s, flags.server);
    if (!text) return fail(kFailure, text.error());
    fmt::print("{}", *text);
    return std::fflush(stdout) == 0 ? 0 : kFailure;
}

int run_server(const sluice::control::ServeOptions& options) {
    // Before any thread exists, so that all inherit it and only sigwait takes these signals.
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    std::signal(SIGPIPE, SIG_IGN);
    sluice::control::raise_open_files_limit();
    const auto done = sluice::control::serve(options, signals);
    return done ? 0 : fail(kFailure, done.error());
}

}  // namespace

int main(int argc, char** argv) {
    try {
        sluice::control::Flags flags;
        CommandFlags command;
        CLI::App app("The control plane of Sluice: a Kubernetes API server with its own store and "
                     "certificate authority.",
                     "sluice-control");
        app.set_version_flag("--version", "sluice-control " SLUICE_VERSION);
        sluice::control::add_flags(&app, &flags);
        CLI::App* token = app.add_subcommand("token", "Bootstrap tokens, with which machines join");
        token->require_subcommand(1)->fallthrough();
        CLI::App* token_create = token->add_subcommand(
            "create", "Create one and print the command that joins a machine with it");
        token_create->fallthrough();
        token_create->add_option("--ttl", command.ttl, "How long it is good; 0 for ever")
            ->capture_default_str();
        token_create->add_option("--server", command.server,
                                 "HOST:PORT as machines reach the server; what the cluster publishes "
                                 "by default");
        CLI::App* kubeconfig = app.add_subcommand(
            "kubeconfig", "Print a kubeconfig for a user, signed by the cluster's authority");
        kubeconfig->fallthrough();
        kubeconfig->add_option("--user", command.user, "Name of the user")->required();
        kubeconfig->add_option("--group", command.groups, "Group of the user; may be repeated");
        kubeconfig->add_option("--server", command.server,
                               "URL of the server; https:// and --listen by default");
        try {
            app.parse(argc, argv);
        } catch (const CLI::ParseError& error) {
            return app.exit(error) == 0 ? 0 : kWrongUsage;
        }
        const auto options = sluice::control::read_flags(app, flags);
        if (!options) return fail(kWrongUsage, options.error());
        if (token_create->parsed()) return run_token_create(command, *options);
        return kubeconfig->parsed() ? run_kubeconfig(command, *options) : run_server(*options);
    } catch (const std::exception& exception) {
        fmt::print(stderr, "sluice-control: {}\n", exception.what());
        return kFailure;
    }
}
