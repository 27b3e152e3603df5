// Nanoseconds per packet of the pipeline alone: bursts of 32 frames in memory, stamped anew from templates each time.
// What the stamping costs is measured in the same way and subtracted; the control is the same frames with their MAC
// addresses swapped. Not a test: nothing is asserted, but that what is measured was forwarded.
#include <fmt/format.h>
#include <sys/mman.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <ctime>
#include <fstream>
#include <iostream>
#include <vector>

#include "dataplane/dpdk/pipeline/bench_traffic.h"

namespace sluice::dpdk::bench {
namespace {

constexpr std::size_t kBurst = 32;
constexpr std::size_t kBuffers = 512;  // as many as a pool of a quiet port has in use
constexpr std::size_t kBufferBytes = 512;
constexpr std::size_t kHeadroom = 128;

// Of this thread alone: a machine that is shared counts for less.
double thread_ns() {
    timespec at{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
    return static_cast<double>(at.tv_sec) * 1e9 + static_cast<double>(at.tv_nsec);
}

struct Figure {
    std::string name;
    double median = 0;
    double least = 0;
    double most = 0;
};

Figure figure_of(std::string name, std::vector<double> runs) {
    std::sort(runs.begin(), runs.end());
    return {std::move(name), runs[runs.size() / 2], runs.front(), runs.back()};
}

class Bench {
public:
    Bench() : memory_(kBuffers * kBufferBytes + 64) {
        const auto at = reinterpret_cast<std::uintptr_t>(memory_.data());
        buffers_ = memory_.data() + (64 - at % 64) % 64;
    }

    // Nanoseconds per packet of `packets` packets that `each` is given in bursts.
    template <class Each>
    double time(const Templates& templates, std::uint16_t interface, std::size_t packets, Each each) {
        std::array<Frame, kBurst> frames;
        std::size_t flow = 0;
        std::size_t buffer = 0;
        const double begin = thread_ns();
        for (std::size_t done = 0; done < packets; done += kBurst) {
            for (Frame& frame : frames) {
                std::uint8_t* data = buffers_ + buffer * kBufferBytes + kHeadroom;
                std::memcpy(data, templates.at(flow), templates.length);
                frame.data = data;
                frame.length = templates.length;
                frame.headroom = kHeadroom;
                frame.tailroom = 128;
                frame.interface = interface;
                frame.verdict = Verdict::kDrop;
                buffer = (buffer + 1) % kBuffers;
                if (++flow == templates.count()) flow = 0;
            }
            each(std::span<Frame>(frames));
        }
        const double took = thread_ns() - begin;
        return took / static_cast<double>(packets);
    }

private:
    std::vector<std::uint8_t> memory_;
    std::uint8_t* buffers_ = nullptr;
};

void touch(std::span<Frame> frames) {
    asm volatile("" : : "r"(frames.data()) : "memory");
}

void swap_macs(std::span<Frame> frames) {
    for (Frame& frame : frames) {
        std::array<std::uint8_t, 12> macs;
        std::memcpy(macs.data(), frame.data, 12);
        std::memcpy(frame.data, macs.data() + 6, 6);
        std::memcpy(frame.data + 6, macs.data(), 6);
        frame.verdict = Verdict::kForward;
    }
    touch(frames);
}

// What the backend answers a packet with, as far as the pipeline looks: it is no judge of TCP's checksum.
void turn_round(Frame& frame, bool v6) {
    std::uint8_t* ip = frame.data + 14;
    const std::size_t size = v6 ? 16 : 4;
    std::swap_ranges(ip + (v6 ? 8 : 12), ip + (v6 ? 8 : 12) + size, ip + (v6 ? 24 : 16));
    std::uint8_t* tcp = ip + (v6 ? 40 : 20);
    std::swap_ranges(tcp, tcp + 2, tcp + 2);
    tcp[13] = 0x12;
    frame.interface = kUplink;
}

struct Settings {
    std::size_t runs = 5;
    std::size_t packets = 1U << 20U;
    std::string only;
    std::string json;
    bool quick = false;
};

class Report {
public:
    explicit Report(const Settings& settings) : settings_(settings) {}
    void add(const Figure& figure, double control) {
        fmt::print("{:<44} {:7.1f} ns  {:6.1f} - {:6.1f}   {:5.1f} x control {:.1f}\n", figure.name, figure.median,
                   figure.least, figure.most, figure.median / control, control);
        std::fflush(stdout);
        rows_.push_back(
            fmt::format(R"({{"name":"{}","unit":"ns","median":{:.2f},"min":{:.2f},"max":{:.2f},"control":{:.2f}}})",
                        figure.name, figure.median, figure.least, figure.most, control));
    }
    void write() const {
        if (settings_.json.empty()) return;
        std::ofstream out(settings_.json);
        out << "[" << fmt::format("{}", fmt::join(rows_, ",\n")) << "]\n";
    }

private:
    const Settings& settings_;
    std::vector<std::string> rows_;
};

// In huge pages, as the engine's tables are where the kernel can make them (MADV_COLLAPSE, Linux 6.1). Best effort.
void collapse(void* begin, std::size_t bytes) {
    constexpr std::uintptr_t kHugePage = 2U << 20U;
    constexpr int kCollapse = 25;
    const auto at = reinterpret_cast<std::uintptr_t>(begin);
    const std::uintptr_t first = (at + kHugePage - 1) / kHugePage * kHugePage;
    const std::uintptr_t last = (at + bytes) / kHugePage * kHugePage;
    if (first < last) madvise(reinterpret_cast<void*>(first), last - first, kCollapse);
}
void collapse(const FlowTable& flows) {
    collapse(flows.buckets4, flows.config->bucket_count4 * sizeof(sluice_flow_bucket4));
    collapse(flows.buckets6, flows.config->bucket_count6 * sizeof(sluice_flow_bucket6));
}

// The figures of one shape: with flows that are there, or each packet a new one.
void measure(const Shape& shape, bool fresh, const Settings& settings, Report& report) {
    const std::string name =
        fmt::format("{} {} {} flows {} services {}", fresh ? "new" : "established", name_of(shape.mode),
                    shape.v6 ? "v6" : "v4", fresh ? 0 : shape.flows, shape.services);
    if (name.find(settings.only) == std::string::npos) return;
    auto world = make_world(shape);
    collapse(world->memory(0));
    Bench bench;
    const std::uint16_t interface = interface_of(shape);
    const Now now{1000, 5000};
    std::size_t lost = 0;
    const auto forward = [&](std::span<Frame> frames) {
        world->pipeline().process(frames, now);
        for (const Frame& frame : frames) lost += frame.verdict == Verdict::kForward ? 0 : 1;
    };
    std::vector<double> control, runs;
    if (fresh) {
        // Each run has clients of its own, and the table begins empty.
        const std::size_t packets = std::min<std::size_t>(settings.packets, shape.flows);
        for (std::size_t run = 0; run < settings.runs; ++run) {
            const Templates syns = make_templates(shape, 0, packets, 0x02);
            const FlowMemory flows = world->memory(0);
            std::fill_n(flows.buckets4, flows.config->bucket_count4, sluice_flow_bucket4{});
            std::fill_n(flows.buckets6, flows.config->bucket_count6, sluice_flow_bucket6{});
            const double stamp = bench.time(syns, interface, packets, touch);
            control.push_back(bench.time(syns, interface, packets, swap_macs) - stamp);
            runs.push_back(bench.time(syns, interface, packets, forward) - stamp);
        }
    } else {
        const Templates syns = make_templates(shape, 0, shape.flows, 0x02);
        bench.time(syns, interface, std::max<std::size_t>(shape.flows, kBurst), [&](std::span<Frame> frames) {
            world->pipeline().process(frames, now);
            if (shape.mode == Mode::kTunnel) return;
            for (Frame& frame : frames) turn_round(frame, shape.v6);
            world->pipeline().process(frames, now);
        });
        const Templates acks = make_templates(shape, 0, shape.flows, 0x10);
        const std::size_t packets = std::max<std::size_t>(settings.packets, shape.flows);
        bench.time(acks, interface, shape.flows, forward);
        for (std::size_t run = 0; run < settings.runs; ++run) {
            const double stamp = bench.time(acks, interface, packets, touch);
            control.push_back(bench.time(acks, interface, packets, swap_macs) - stamp);
            runs.push_back(bench.time(acks, interface, packets, forward) - stamp);
        }
    }
    report.add(figure_of(name, runs), figure_of("", control).median);
    if (lost != 0) fmt::print("  {} packets were not forwarded\n", lost);
}

int run(const Settings& settings) {
    Report report(settings);
    const std::vector<Mode> modes = {Mode::kNat, Mode::kSnat, Mode::kTunnel};
    for (const Mode mode : modes) {
        for (const bool v6 : {false, true}) {
            for (const std::uint32_t flows : {1U, 1U << 16U, 1U << 20U}) {
                if (settings.quick && flows > (1U << 16U)) continue;
                measure({mode, v6, flows, 1}, false, settings, report);
            }
            // How packets leave makes no difference to how services are found.
            const bool one_service = settings.quick || mode != Mode::kSnat;
            for (const std::uint32_t services : {10000U, 50000U}) {
                if (!one_service) measure({mode, v6, 1U << 16U, services}, false, settings, report);
            }
            for (const std::uint32_t services : {1U, 10000U, 50000U}) {
                if (one_service && services > 1) continue;
                measure({mode, v6, 1U << 18U, services}, true, settings, report);
            }
        }
    }
    report.write();
    return 0;
}

}  // namespace
}  // namespace sluice::dpdk::bench

int main(int argc, char** argv) {
    sluice::dpdk::bench::Settings settings;
    CLI::App app("Nanoseconds per packet of the DPDK engine's pipeline, without ports");
    app.add_option("--runs", settings.runs, "Runs of each measurement; the median counts")->check(CLI::Range(1, 101));
    app.add_option("--packets", settings.packets, "Packets of a run");
    app.add_option("--only", settings.only, "Measurements whose name contains this");
    app.add_option("--json", settings.json, "Write the figures to this file");
    app.add_flag("--quick", settings.quick, "Few flows, one service");
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    }
    return sluice::dpdk::bench::run(settings);
}
