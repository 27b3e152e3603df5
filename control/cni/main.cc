// sluice-cni: the CNI plugin that connects pods to their node. A container runtime runs it with
// CNI_* in the environment and the network configuration on standard input.
#include <fmt/core.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "api/base/log.h"
#include "control/cni/plugin.h"

namespace {

constexpr int kFailure = 1;
constexpr int kWrongUsage = 2;

std::string variable(const char* name) {
    const char* const value = std::getenv(name);
    return value != nullptr ? value : "";
}

// One byte more than is allowed, so that a longer text is seen to be longer.
std::string read_input() {
    std::string text(sluice::cni::kMaxConfigBytes + 1, '\0');
    std::size_t size = 0;
    while (size < text.size()) {
        const ssize_t got = ::read(STDIN_FILENO, text.data() + size, text.size() - size);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        size += static_cast<std::size_t>(got);
    }
    text.resize(size);
    return text;
}

int run() {
    const sluice::cni::Environment environment{variable("CNI_COMMAND"), variable("CNI_CONTAINERID"),
                                               variable("CNI_NETNS"), variable("CNI_IFNAME")};
    // A person at a terminal is told what is wrong at once and not waited for.
    const bool nothing_to_read = environment.command.empty() && ::isatty(STDIN_FILENO) == 1;
    const auto answer = sluice::cni::run(environment, nothing_to_read ? "" : read_input());
    fmt::print("{}", answer.output);
    if (std::fflush(stdout) != 0) return kFailure;
    return answer.failed ? kFailure : 0;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        std::string log_level = "warn";
        CLI::App app(
            "Connects pods to their node: a CNI plugin (ADD, DEL, CHECK, VERSION, STATUS, GC), "
            "run by a container runtime with CNI_COMMAND, CNI_CONTAINERID, CNI_NETNS and "
            "CNI_IFNAME in the environment and the network configuration on standard input: "
            R"({"cniVersion": "1.0.0", "name": NAME, "type": "sluice-cni", "podCIDRs": [V4, V6], )"
            R"("mtu": BYTES, "dataDir": FOLDER}; mtu and dataDir may be left out.)",
            "sluice-cni");
        app.set_version_flag("--version", "sluice-cni " SLUICE_VERSION);
        app.add_option("--log-level", log_level, "trace, debug, info, warn, error or off")
            ->capture_default_str();
        try {
            app.parse(argc, argv);
        } catch (const CLI::ParseError& error) {
            return app.exit(error) == 0 ? 0 : kWrongUsage;
        }
        const auto level = sluice::log::parse_level(log_level);
        if (!level) {
            fmt::print(stderr, "sluice-cni: {}\n", level.error().message);
            return kWrongUsage;
        }
        sluice::log::set_level(*level);
        return run();
    } catch (const std::exception& exception) {
        fmt::print(stderr, "sluice-cni: {}\n", exception.what());
        return kFailure;
    }
}
