#include "dataplane/packet/bench_wrapper.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace sluice::dataplane {
namespace {

constexpr std::size_t kPlanBytes = 4096;
constexpr int kTx = XDP_TX;
constexpr int kFurtherTurns = 8;

}  // namespace

// As in bench/ebpf/packet_bench.bpf.c.
struct BenchWrapper::Plan {
    std::uint64_t next;
    std::uint32_t mask;
    std::uint32_t reserved;
    std::array<std::uint8_t, 2> pad;
    std::array<std::uint8_t, 78> frame;
};

std::unique_ptr<BenchWrapper> BenchWrapper::load(const std::string& object, bool frags, std::uint32_t ifindex) {
    std::unique_ptr<BenchWrapper> out(new BenchWrapper);
    out->ifindex_ = ifindex;
    out->object_ = bpf_object__open_file(object.c_str(), nullptr);
    if (out->object_ == nullptr) {
        std::fprintf(stderr, "packet_bench: %s cannot be opened: %s\n", object.c_str(), std::strerror(errno));
        return nullptr;
    }
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, out->object_) {
        bpf_program__set_flags(program, frags ? BPF_F_XDP_HAS_FRAGS : 0);
    }
    if (bpf_object__load(out->object_) != 0) {
        std::fprintf(stderr, "packet_bench: %s cannot be loaded: %s\n", object.c_str(), std::strerror(errno));
        return nullptr;
    }
    const int map = bpf_object__find_map_fd_by_name(out->object_, "bench_plan");
    void* plan = mmap(nullptr, kPlanBytes, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
    if (plan == MAP_FAILED) {
        std::fprintf(stderr, "packet_bench: the plan cannot be mapped: %s\n", std::strerror(errno));
        return nullptr;
    }
    out->plan_ = static_cast<Plan*>(plan);
    const std::uint64_t seven = 7, value = 0;
    const std::array<std::uint32_t, 10> key{};
    bpf_map_update_elem(bpf_object__find_map_fd_by_name(out->object_, "bench_hash"), &seven, &value, BPF_ANY);
    bpf_map_update_elem(bpf_object__find_map_fd_by_name(out->object_, "bench_lru"), key.data(), &value, BPF_ANY);
    return out;
}

BenchWrapper::~BenchWrapper() {
    if (plan_ != nullptr) {
        munmap(plan_, kPlanBytes);
    }
    bpf_object__close(object_);
}

int BenchWrapper::program_of(const std::string& name) const {
    return bpf_program__fd(bpf_object__find_program_by_name(object_, name.c_str()));
}

double BenchWrapper::run(int program, const packets::Bytes& frame, std::uint32_t repeat) {
    xdp_md context{};
    context.data_end = static_cast<__u32>(frame.size());
    context.ingress_ifindex = ifindex_;
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.data_in = frame.data();
    options.data_size_in = static_cast<__u32>(frame.size());
    options.ctx_in = &context;
    options.ctx_size_in = sizeof(context);
    options.repeat = static_cast<int>(repeat);
    if (bpf_prog_test_run_opts(program, &options) != 0) {
        std::fprintf(stderr, "packet_bench: a program cannot be run: %s\n", std::strerror(errno));
        std::exit(1);
    }
    action_ = static_cast<int>(options.retval);
    return options.duration;
}

double BenchWrapper::alone(int program, const packets::Bytes& frame, std::uint32_t repeat) {
    return run(program, frame, repeat);
}

double BenchWrapper::alone(const std::string& program, const packets::Bytes& frame, std::uint32_t repeat) {
    return run(program_of(program), frame, repeat);
}

void BenchWrapper::spread_over(std::uint32_t flows) { plan_->mask = flows - 1; }

double BenchWrapper::turns(int subject, const packets::Bytes& frame, bool v6, std::uint32_t repeat) {
    const std::uint32_t slot = 0;
    if (bpf_map_update_elem(bpf_object__find_map_fd_by_name(object_, "bench_subject"), &slot, &subject,
                            BPF_ANY) != 0) {
        std::fprintf(stderr, "packet_bench: a program cannot stand under the wrapper: %s\n", std::strerror(errno));
        std::exit(1);
    }
    const int wrapper = program_of(v6 ? "bench_wrapper6" : "bench_wrapper4");
    const double out = run(wrapper, frame, repeat);
    // With a million flows one in a thousand finds its bucket full of others in use, and is dropped: perhaps the last.
    for (int i = 0; i < kFurtherTurns && action_ != kTx; ++i) {
        run(wrapper, frame, 1);
    }
    if (action_ != kTx) {
        std::fprintf(stderr, "packet_bench: a packet was not sent on but got action %d\n", action_);
        std::exit(1);
    }
    return out;
}

double BenchWrapper::packet(int program, const packets::Bytes& frame, bool v6, std::uint32_t mask, bool grows,
                            std::uint32_t repeat) {
    plan_->mask = mask;
    std::copy(frame.begin(), frame.end(), plan_->frame.begin());
    const double still = turns(program_of("bench_stub"), frame, v6, repeat);
    double wrapper = still;
    if (grows) {
        // Half of the pair of moves is the program's own.
        wrapper = (still + turns(program_of(v6 ? "bench_stub_grow6" : "bench_stub_grow4"), frame, v6, repeat)) / 2;
    }
    if (mask != kEveryTurnNew) {
        turns(program, frame, v6, 2 * (mask + 1));
    }
    return turns(program, frame, v6, repeat) - wrapper;
}

}  // namespace sluice::dataplane
