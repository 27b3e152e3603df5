// sluice-pktgen: the wiring of command line, ports, runs, display and reports.
#include <fmt/format.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "api/base/log.h"
#include "dataplane/pktgen/command.h"
#include "dataplane/pktgen/display.h"
#include "dataplane/pktgen/list_ports.h"
#include "dataplane/pktgen/report.h"
#include "dataplane/pktgen/runner.h"
#include "dataplane/pktgen/units.h"

namespace {

using sluice::Result;
namespace pktgen = sluice::pktgen;

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;
constexpr int kExitLoss = 3;
constexpr char kProgram[] = "sluice-pktgen";

volatile std::sig_atomic_t stop_asked = 0;

void ask_to_stop(int) {
    stop_asked = 1;
}

// The first one ends the run, whose results are still written; a second one ends the process.
void watch_signals() {
    struct sigaction action{};
    action.sa_handler = ask_to_stop;
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
    // Nobody reads the display any more: results go to their files all the same.
    std::signal(SIGPIPE, SIG_IGN);
}

bool wait_unless_stopped(double seconds) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    while (stop_asked == 0 && std::chrono::steady_clock::now() < end) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return stop_asked == 0;
}

std::string now_text() {
    const std::time_t now = std::time(nullptr);
    std::tm utc{};
    gmtime_r(&now, &utc);
    char text[32];
    return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc)};
}

int fail(const sluice::Error& error, int status = kExitFailure) {
    fmt::print(stderr, "{}: {}\n", kProgram,
               status == kExitUsage ? error.message : error.to_string());
    return status;
}

// As a shell would take it again.
std::string command_text(const std::vector<std::string>& arguments) {
    std::string out = kProgram;
    for (const std::string& argument : arguments) {
        const bool safe = !argument.empty() &&
                          argument.find_first_not_of(
                              "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                              "-_=+.,:/@%") == std::string::npos;
        out += ' ';
        if (safe) {
            out += argument;
            continue;
        }
        out += '\'';
        for (const char c : argument) {
            out += c == '\'' ? std::string("'\\''") : std::string(1, c);
        }
        out += '\'';
    }
    return out;
}

std::string trial_text(const pktgen::Trial& trial, bool connections) {
    const char* unit = connections ? "/s" : "pps";
    return fmt::format(
        "  trial at {}: {} sent, {} {}, {}",
        trial.offered_per_second == 0 ? "full rate"
                                      : pktgen::with_prefix(trial.offered_per_second, unit),
        pktgen::with_prefix(trial.reached_per_second, unit), pktgen::grouped(trial.failed),
        connections ? "failed" : "lost", trial.passed ? "passed" : "not passed");
}

Result<pktgen::Report> measure(pktgen::Runner& runner, const pktgen::Command& command,
                               pktgen::Display& display) {
    pktgen::Report report;
    report.tool_version = SLUICE_VERSION;
    report.started_at = now_text();
    const pktgen::Observer observer = [&](const pktgen::Sample& sample) {
        if (!command.quiet) {
            display.show(sample);
        }
        return stop_asked == 0;
    };
    if (command.action == pktgen::Action::kRun) {
        display.start(command.profile.name,
                      command.profile.count == 0 ? command.profile.duration_s : 0);
        SLUICE_TRY_ASSIGN(report.what, runner.run(command.profile, observer));
        return report;
    }
    const bool connections = command.action == pktgen::Action::kConnections;
    pktgen::SearchOptions options = command.search;
    options.wait = wait_unless_stopped;
    const auto begin_trial = [&] { display.start(command.profile.name, options.trial_s); };
    const pktgen::Progress progress = [&](const pktgen::Trial& trial) {
        if (!command.quiet) {
            const std::string size =
                connections
                    ? ""
                    : fmt::format("{} bytes", trial.result.profile.sizes.front().frame_bytes);
            display.say(size + trial_text(trial, connections));
            begin_trial();
        }
        return stop_asked == 0;
    };
    begin_trial();
    if (connections) {
        pktgen::ConnectionReport out{command.profile, options, {}};
        SLUICE_TRY_ASSIGN(out.found, pktgen::search_connection_rate(runner, command.profile,
                                                                    options, progress, observer));
        report.what = std::move(out);
    } else {
        pktgen::ThroughputReport out{command.profile, options, {}};
        SLUICE_TRY_ASSIGN(out.sizes, pktgen::search_throughput(runner, command.profile, options,
                                                               progress, observer));
        report.what = std::move(out);
    }
    return report;
}

// All that can be written are; the first error is returned.
Result<void> write_reports(const pktgen::Report& report, const pktgen::Command& command) {
    Result<void> out;
    const auto write = [&](const std::string& file, auto render) {
        if (file.empty()) {
            return;
        }
        if (auto written = pktgen::write_file(file, render(report)); !written && out) {
            out = std::move(written);
        }
    };
    write(command.json, pktgen::report_json);
    write(command.csv, pktgen::report_csv);
    write(command.markdown, pktgen::report_markdown);
    write(command.svg, pktgen::report_svg);
    return out;
}

int judge(const pktgen::Report& report, const pktgen::Command& command) {
    const auto* run = std::get_if<pktgen::RunResult>(&report.what);
    if (run == nullptr || !command.max_loss) {
        return 0;
    }
    // Nothing sent is nothing shown.
    if (run->sent == 0 || pktgen::loss_share(*run) > *command.max_loss) {
        fmt::print(stderr, "{}: lost {} of the packets, more than {}\n", kProgram,
                   run->sent == 0 ? "all" : pktgen::percent_text(pktgen::loss_share(*run)),
                   pktgen::percent_text(*command.max_loss));
        return kExitLoss;
    }
    return 0;
}

int work(const pktgen::Command& command, const std::string& typed) {
    auto runner = pktgen::make_runner(command.runner);
    if (!runner) {
        return fail(runner.error(), runner.error().code == sluice::Code::kInvalidArgument
                                        ? kExitUsage
                                        : kExitFailure);
    }
    pktgen::Display display(fileno(stderr), pktgen::display_options(fileno(stderr)));
    auto report = measure(**runner, command, display);
    display.finish();
    if (!report) {
        return fail(report.error());
    }
    report->command = typed;
    const bool to_stdout =
        command.json == "-" || command.csv == "-" || command.markdown == "-" || command.svg == "-";
    if (!to_stdout) {
        fmt::print("{}", pktgen::report_text(*report));
        std::fflush(stdout);
    }
    if (auto written = write_reports(*report, command); !written) {
        return fail(written.error());
    }
    return judge(*report, command);
}

}  // namespace

int main(int argc, char** argv) {
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    auto command = pktgen::parse_command(arguments);
    if (!command) {
        const bool usage = command.error().code == sluice::Code::kInvalidArgument;
        return fail(command.error(), usage ? kExitUsage : kExitFailure);
    }
    if (command->action == pktgen::Action::kPrint) {
        fmt::print("{}", command->text);
        return 0;
    }
    sluice::log::set_level(command->log_level);
    if (auto started = pktgen::start_eal(kProgram, command->eal_arguments); !started) {
        return fail(started.error());
    }
    watch_signals();
    int status = 0;
    if (command->action == pktgen::Action::kPorts) {
        fmt::print("{}", pktgen::ports_text(pktgen::list_ports()));
    } else {
        status = work(*command, command_text(arguments));
    }
    pktgen::stop_eal();
    return status;
}
