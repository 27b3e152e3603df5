// What a connect through the hook costs, and how fast state gets into force. Prints one line a
// figure. Needs root.
//
// usage: ebpf_engine_bench [--connects ROUNDS]
// With --connects only the connects are measured, and printed as JSON: of each round the microseconds of each kind, by
// the number of services.
//
// The kinds of connect are interleaved in one run, for absolute figures drift with the machine.
// connect() of a fresh UDP socket is the measure of the hook: it sends nothing, so little else is
// in it.
#include <bpf/bpf.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <fmt/ranges.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "dataplane/ebpf/ebpf_engine.h"
#include "dataplane/ebpf/inspect.h"
#include "dataplane/ebpf/sandbox.h"

namespace sluice::dataplane {
namespace {

using Clock = std::chrono::steady_clock;
using image::Service;

double us_since(Clock::time_point start) {
    return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

// Of many small batches the lower decile: what the work costs when nothing else takes the CPU.
double undisturbed(std::vector<double> values) {
    const auto place = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 10);
    std::nth_element(values.begin(), place, values.end());
    return *place;
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

// Mean of connect() over a batch of fresh sockets, in microseconds.
double connect_batch(int type, const std::string& address, std::uint16_t port) {
    constexpr int kBatch = 100;
    std::vector<Fd> sockets;
    for (int i = 0; i < kBatch; ++i) {
        sockets.emplace_back(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
    }
    const auto start = Clock::now();
    for (const Fd& socket : sockets) {
        if (const int error = connect_to(socket.get(), AF_INET, address, port); error != 0) {
            std::printf("connect failed: errno %d\n", error);
            std::exit(1);
        }
    }
    return us_since(start) / kBatch;
}

Fd attach_empty_hook(const std::string& cgroup) {
    const bpf_insn code[] = {
        {BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 1},
        {BPF_JMP | BPF_EXIT, 0, 0, 0, 0},
    };
    LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = BPF_CGROUP_INET4_CONNECT);
    const Fd program(
        bpf_prog_load(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, "empty", "GPL", code, 2, &options));
    const Fd directory(open(cgroup.c_str(), O_RDONLY | O_DIRECTORY));
    return Fd(bpf_link_create(program.get(), directory.get(), BPF_CGROUP_INET4_CONNECT, nullptr));
}

std::vector<Service> many_services(int count, int endpoints) {
    std::vector<Service> out;
    for (int i = 0; i < count; ++i) {
        std::vector<image::Backend> backends;
        for (int j = 0; j < endpoints; ++j) {
            const int number = i * endpoints + j;
            backends.push_back(
                {IpAddress::parse(fmt::format("10.{}.{}.{}", 128 + number / 62500 % 100,
                                              number / 250 % 250, 1 + number % 250))
                     .value(),
                 8080, false, false, fmt::format("default/pod-{}", number)});
        }
        out.push_back(make_service(
            fmt::format("s{}", i), Protocol::kTcp,
            fmt::format("10.{}.{}.{}", 64 + i / 62500, i / 250 % 250, 1 + i % 250), 80, backends));
    }
    return out;
}

long resident_kb() {
    std::ifstream in("/proc/self/status");
    std::string word;
    while (in >> word) {
        if (word == "VmRSS:") {
            long kb = 0;
            in >> kb;
            return kb;
        }
    }
    return 0;
}

// Mean connects of each kind, in microseconds: the undisturbed of each round.
struct Connects {
    std::vector<double> none;    // no hook at all
    std::vector<double> empty;   // a hook that does nothing
    std::vector<double> hook;    // to a service
    std::vector<double> direct;  // past the services, the hook loaded
};

std::string list_of(const std::vector<double>& values) {
    return fmt::format("[{:.4f}]", fmt::join(values, ","));
}

/*
 * Each kind in turn: the programs are taken off and put back by a fresh start. Ends with the engine in force, which
 * `opened` holds; false if it did not start.
 */
bool measure_connects(const EbpfOptions& options, const std::vector<Service>& desired, const EchoServer& server,
                      int rounds, Result<std::unique_ptr<Engine>>* opened, Connects* out) {
    constexpr int kBatches = 100;
    const auto plain = [&] { return connect_batch(SOCK_DGRAM, "127.0.0.1", server.port()); };
    for (int round = 0; round < rounds; ++round) {
        std::vector<double> none, empty, hook, direct;
        if (opened->has_value()) {
            (*opened)->reset();
            if (!cleanup_ebpf(options)) return false;
        }
        *opened = Error{};
        for (int i = 0; i < kBatches; ++i) none.push_back(plain());
        {
            const Fd link = attach_empty_hook(options.cgroup_root);
            for (int i = 0; i < kBatches; ++i) empty.push_back(plain());
        }
        *opened = open_ebpf_engine(options);
        if (!*opened || !(**opened)->replace_all(image::Node{}, desired)) return false;
        for (int i = 0; i < kBatches; ++i) {
            hook.push_back(connect_batch(SOCK_DGRAM, "10.96.0.1", 53));
            direct.push_back(plain());
        }
        out->none.push_back(undisturbed(none));
        out->empty.push_back(undisturbed(empty));
        out->hook.push_back(undisturbed(hook));
        out->direct.push_back(undisturbed(direct));
    }
    return true;
}

// rounds: 0 for all figures as text.
int run(int json_rounds) {
    const auto sandbox = Sandbox::enter();
    if (!sandbox) {
        return 1;
    }
    EbpfOptions options;
    options.object_dir = SLUICE_BPF_DIR;
    options.bpffs = sandbox->bpffs();
    options.cgroup_root = sandbox->cgroup();
    options.tc = false;
    const EchoServer server("127.0.0.1", 1);
    const auto udp = make_service("udp", Protocol::kUdp, "10.96.0.1", 53, {server.backend()});
    std::string json;

    for (const int services : {1, 1000, 10000, 50000}) {
        const int endpoints = services == 50000 ? 5 : 2;
        auto desired = many_services(services - 1, endpoints);
        desired.push_back(udp);
        if (json_rounds > 0) {
            Result<std::unique_ptr<Engine>> opened = Error{};
            Connects connects;
            if (!measure_connects(options, desired, server, json_rounds, &opened, &connects)) return 1;
            json += fmt::format("{}\"{}\":{{\"none\":{},\"empty\":{},\"service\":{},\"pod\":{}}}",
                                json.empty() ? "" : ",", services, list_of(connects.none), list_of(connects.empty),
                                list_of(connects.hook), list_of(connects.direct));
            opened->reset();
            if (!cleanup_ebpf(options)) return 1;
            continue;
        }
        // The agent's whole start, packet programs included: the first makes the state, the second takes over.
        EbpfOptions whole = options;
        whole.tc = true;
        double start_ms[2] = {};
        for (double& taken : start_ms) {
            const auto begin = Clock::now();
            auto first = open_ebpf_engine(whole);
            if (!first || !(*first)->replace_all(image::Node{}, desired)) return 1;
            taken = us_since(begin) / 1000;
        }
        if (!cleanup_ebpf(whole)) return 1;
        std::printf("services %6d  start with socket hooks and tc: first %.1f ms, restart %.1f ms\n", services,
                    start_ms[0], start_ms[1]);
        auto opened = open_ebpf_engine(options);
        const auto start = Clock::now();
        if (!opened || !(*opened)->replace_all(image::Node{}, desired)) {
            std::printf("the engine did not start\n");
            return 1;
        }
        const double cold = us_since(start);
        Connects connects;
        if (!measure_connects(options, desired, server, 5, &opened, &connects)) return 1;
        std::vector<double> changes;
        for (int i = 0; i < 200 && services > 1; ++i) {
            Service changed = desired[static_cast<std::size_t>(i)];
            changed.internal.backends.pop_back();
            changed.external.backends.pop_back();
            const image::Change change{{changed}, {}};
            const auto begin = Clock::now();
            if (!(*opened)->apply(change)) return 1;
            changes.push_back(us_since(begin));
            (*opened)->reclaim();
        }
        const auto inspector = Inspector::open(options.bpffs);
        const auto status = inspector ? (*inspector)->status() : Result<ImageStatus>(Error{});
        std::printf(
            "services %6d  connect us: no hook %.3f  empty hook %.3f  sluice %.3f  "
            "pod directly, hook loaded %.3f\n",
            services, median(connects.none), median(connects.empty), median(connects.hook),
            median(connects.direct));
        std::printf("services %6d  hook over an empty one: service %.3f us, pod %.3f us\n",
                    services, median(connects.hook) - median(connects.empty),
                    median(connects.direct) - median(connects.empty));
        std::printf("services %6d  replace_all %.1f ms (%d endpoints)", services, cold / 1000,
                    (services - 1) * endpoints + 1);
        if (!changes.empty()) {
            std::sort(changes.begin(), changes.end());
            std::printf("  one endpoint change p50 %.1f us, p99 %.1f us", changes[100],
                        changes[198]);
        }
        std::printf("  resident %ld KiB  kernel %.1f MiB\n", resident_kb(),
                    status ? static_cast<double>(status->kernel_bytes) / 1048576 : 0.0);
        opened->reset();
        if (!cleanup_ebpf(options)) return 1;
    }
    if (json_rounds > 0) std::printf("{%s}\n", json.c_str());
    return 0;
}

}  // namespace
}  // namespace sluice::dataplane

int main(int argc, char** argv) {
    int rounds = 0;
    if (argc == 3 && std::strcmp(argv[1], "--connects") == 0) {
        rounds = std::atoi(argv[2]);
    }
    if (argc != 1 && (rounds < 1 || rounds > 100)) {
        std::fputs("usage: ebpf_engine_bench [--connects ROUNDS]\n", stderr);
        return 2;
    }
    return sluice::dataplane::run(rounds);
}
