// differential: random states and packets through the oracle, the native pipeline and the BPF programs.
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "dataplane/image/drop_reasons.h"
#include "tests/differential/compare.h"

namespace {

using sluice::differential::Comparison;
using sluice::differential::Side;

constexpr std::size_t kTries = 4000;
// A scenario takes a tenth of a second. One that takes so long got no processor, and the shortest affinity (50 s) may
// have ended meanwhile in the BPF programs' tables, whose clock is the kernel's.
constexpr double kStarvedSeconds = 10;

volatile std::sig_atomic_t stopped = 0;

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void print_totals(const Comparison& comparison, double seconds) {
    const auto& totals = comparison.totals();
    std::printf("%llu packets in %.1f s, %.0f/s: %llu sent, %llu to the stack, %llu dropped\n",
                static_cast<unsigned long long>(totals.packets), seconds,
                static_cast<double>(totals.packets) / seconds, static_cast<unsigned long long>(totals.sent),
                static_cast<unsigned long long>(totals.stack), static_cast<unsigned long long>(totals.dropped));
    for (std::uint32_t reason = 1; reason < SLUICE_DROP_REASON_COUNT; ++reason) {
        if (totals.reasons[reason] != 0) {
            std::printf("  %s %llu\n", sluice::image::drop_name(reason),
                        static_cast<unsigned long long>(totals.reasons[reason]));
        }
    }
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"Compares engines with the oracle, packet by packet.\n"
                 "Exits 1 at the first difference, with the seed and the fewest steps that show it.\n"
                 "SIGTERM and SIGINT end it after the scenario at hand, with what it has counted."};
    std::uint64_t seed = 1;
    std::uint64_t packets = 1000000;
    std::size_t steps = 2000;
    std::string engines = "native";
    app.add_option("--seed", seed, "of the first scenario; the next ones count on")->capture_default_str();
    app.add_option("--packets", packets, "in all")->capture_default_str();
    app.add_option("--steps", steps, "packets a scenario")->capture_default_str()->check(CLI::Range(1, 5000));
    app.add_option("--engines", engines, "to compare with the oracle, and with each other")
        ->capture_default_str()
        ->check(CLI::IsMember({"native", "ebpf", "both"}));
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    }
    std::vector<std::unique_ptr<Side>> held;
    if (engines != "native") {
        held.push_back(sluice::differential::make_ebpf());
        if (!held.back()) {
            return 1;
        }
    }
    if (engines != "ebpf") {
        held.push_back(sluice::differential::make_native());
    }
    std::vector<Side*> sides;
    for (const auto& side : held) {
        sides.push_back(side.get());
    }
    for (const int signal : {SIGTERM, SIGINT}) {
        std::signal(signal, [](int) { stopped = 1; });
    }
    Comparison comparison(sides);
    const auto start = std::chrono::steady_clock::now();
    double said = 0;
    while (stopped == 0 && comparison.totals().packets < packets) {
        const auto began = std::chrono::steady_clock::now();
        auto mismatch = comparison.run(seed, steps);
        if (mismatch && seconds_since(began) > kStarvedSeconds) {
            std::fprintf(stderr, "seed %llu: took %.0f s, in which time passed in the kernel: run again\n",
                         static_cast<unsigned long long>(seed), seconds_since(began));
            mismatch = comparison.run(seed, steps);
        }
        if (mismatch) {
            const auto fewest = comparison.minimise(seed, comparison.steps(), kTries);
            auto last = comparison.replay(seed, fewest);
            std::printf("%s", report(seed, fewest, last ? *last : *mismatch).c_str());
            std::printf("to repeat: differential --engines %s --seed %llu --steps %zu --packets 1\n", engines.c_str(),
                        static_cast<unsigned long long>(seed), steps);
            return 1;
        }
        ++seed;
        const double now = seconds_since(start);
        if (now - said > 60) {
            said = now;
            std::fprintf(stderr, "%llu packets, %.0f/s, next seed %llu\n",
                         static_cast<unsigned long long>(comparison.totals().packets),
                         static_cast<double>(comparison.totals().packets) / now,
                         static_cast<unsigned long long>(seed));
        }
    }
    std::printf("seeds up to %llu, no difference\n", static_cast<unsigned long long>(seed - 1));
    print_totals(comparison, seconds_since(start));
    return 0;
}
