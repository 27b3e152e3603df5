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
#include "control/main/storage_commands.h"
#include "control/main/token.h"
#include "control/store/snapshot/snapshot.h"

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
    std::string file;
    std::uint64_t skip = sluice::store::kDefaultSkip;
    std::string from;
    std::string to;
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

int report(const sluice::Result<std::string>& outcome) {
    if (!outcome) {
        return fail(outcome.error().code == sluice::Code::kInvalidArgument ? kWrongUsage : kFailure,
                    outcome.error());
    }
    fmt::print("{}", *outcome);
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
        CLI::App* snapshot =
            app.add_subcommand("snapshot", "Snapshots of the embedded store, also while it runs");
        snapshot->require_subcommand(1)->fallthrough();
        CLI::App* save = snapshot->add_subcommand("save", "Save one into a new file");
        CLI::App* restore = snapshot->add_subcommand(
            "restore", "Make the store of a data directory that has none from one");
        for (CLI::App* part : {save, restore}) {
            part->fallthrough();
            part->add_option("FILE", command.file, "The snapshot")->required();
        }
        restore->add_option("--bump-revision", command.skip,
                            "Versions that are skipped, so that none is given twice")
            ->capture_default_str();
        CLI::App* storing = app.add_subcommand("store", "The store as a whole");
        storing->require_subcommand(1)->fallthrough();
        CLI::App* migrate = storing->add_subcommand(
            "migrate", "Move all objects between the embedded store and etcd; no server may run");
        migrate->fallthrough();
        migrate->add_option("--from", command.from, "embedded or etcd")->required();
        migrate->add_option("--to", command.to, "etcd or embedded")->required();
        try {
            app.parse(argc, argv);
        } catch (const CLI::ParseError& error) {
            return app.exit(error) == 0 ? 0 : kWrongUsage;
        }
        const auto options = sluice::control::read_flags(app, flags);
        if (!options) return fail(kWrongUsage, options.error());
        if (save->parsed()) {
            return report(sluice::control::save_snapshot(options->data_dir, options->storage,
                                                         command.file));
        }
        if (restore->parsed()) {
            return report(sluice::control::restore_snapshot(options->data_dir, options->storage,
                                                            command.file, command.skip));
        }
        if (migrate->parsed()) {
            return report(sluice::control::migrate_store(options->data_dir, options->storage,
                                                         command.from, command.to));
        }
        if (token_create->parsed()) return run_token_create(command, *options);
        return kubeconfig->parsed() ? run_kubeconfig(command, *options) : run_server(*options);
    } catch (const std::exception& exception) {
        fmt::print(stderr, "sluice-control: {}\n", exception.what());
        return kFailure;
    }
}
