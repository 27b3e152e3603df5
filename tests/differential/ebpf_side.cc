// The BPF programs as a side: tc, and XDP before it where a step says so. Their clock is the kernel's, so time passes
// by making what is remembered older.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <sched.h>
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>

#include "bpf/lib/recent.h"
#include "dataplane/packet/harness.h"
#include "tests/differential/side.h"

namespace sluice::differential {
namespace {

constexpr std::uint32_t kFlows = 1U << 16U;
// Jiffies of more than a year are one tick.
constexpr std::uint32_t kStandingClock = 31;
constexpr std::size_t kRoom = 4096;

bool shell(const char* command) { return std::system(command) == 0; }  // NOLINT

class Ebpf : public Side {
public:
    // False: something is not there; stderr has it.
    bool start() {
        // One row of counters, one state of the generator, one share of source ports.
        cpu_set_t first;
        CPU_ZERO(&first);
        CPU_SET(0, &first);
        if (sched_setaffinity(0, sizeof(first), &first) != 0) {
            std::fprintf(stderr, "cannot stay on CPU 0\n");
            return false;
        }
        harness_ = dataplane::Harness::make(dataplane::test_node(), kFlows);
        if (!harness_ ||
            !shell("ip route add 10.244.3.0/24 via 192.0.2.2 mtu lock 600 && "
                   "ip route add fd03::/64 via 2001:db8::2 mtu lock 1280 && "
                   "ip route add unreachable 10.244.9.0/24 && ip route add unreachable fd09::/64 && "
                   "ip route add unreachable 0.0.0.0/8 && "
                   // A subnet's lowest address is a broadcast address before Linux 5.14, and a host's since.
                   "ip route add unreachable 10.244.1.0/32 && ip route add unreachable 192.0.2.0/32")) {
            return false;
        }
        const auto& programs = harness_->programs();
        tc_[0] = programs.tc_program(dataplane::TcProgram::kPodIngress);
        tc_[1] = programs.tc_program(dataplane::TcProgram::kNodeIngress);
        tc_[2] = programs.tc_program(dataplane::TcProgram::kNodeEgress);
        xdp_ = programs.xdp_program();
        random_ = programs.map("sluice_random");
        replies_ = programs.map("sluice_replies");
        datagrams_ = programs.map("sluice_datagrams");
        flow_left_ = programs.map("sluice_flow_left");
        recent_to_ = programs.map("sluice_recent_to");
        state_.flow_config = map_of<sluice_flow_config>("sluice_flow_cfg", 1);
        if (state_.flow_config == nullptr) {
            return false;
        }
        state_.flow_config->tick_shift = kStandingClock;
        state_.flow_config->seed = kFlowSeed;
        state_.flows4 = map_of<sluice_flow_bucket4>("sluice_flows4", state_.flow_config->bucket_count4);
        state_.flows6 = map_of<sluice_flow_bucket6>("sluice_flows6", state_.flow_config->bucket_count6);
        state_.affinity_config = map_of<sluice_affinity_config>("sluice_aff_cfg", 1);
        state_.affinity_buckets = SLUICE_AFFINITY_BUCKETS(SLUICE_AFFINITY_DEFAULT_ENTRIES);
        state_.affinity = map_of<sluice_affinity_bucket>("sluice_affinity", state_.affinity_buckets);
        if (state_.flows4 == nullptr || state_.flows6 == nullptr || state_.affinity_config == nullptr ||
            state_.affinity == nullptr || random_ < 0 || replies_ < 0 || datagrams_ < 0 || xdp_ < 0 ||
            flow_left_ < 0 || recent_to_ < 0) {
            std::fprintf(stderr, "a map or a program is missing\n");
            return false;
        }
        cpus_ = static_cast<std::uint32_t>(libbpf_num_possible_cpus());
        hold(&harness_->tables(), harness_->capacities(), kHashSeed, cpus_);
        sets_.resize(datagram_bytes());
        numbers_.resize(std::size_t{SLUICE_RECENT_PLACES} * cpus_);
        std::iota(numbers_.begin(), numbers_.end(), 0U);
        no_places_.resize(numbers_.size() * sizeof(sluice_recent_place));
        left_.resize(SLUICE_FLOW_GROUPS);
        return true;
    }
    [[nodiscard]] const char* name() const override { return "eBPF"; }

    void pass(std::uint32_t ticks, std::uint32_t affinity_units) override {
        if (ticks > 0) {
            age_flows(state_, ticks);
            must(load_datagrams());
            age_datagrams(reinterpret_cast<sluice_datagram_set*>(sets_.data()), ticks);
            must(store_datagrams());
            must(zero_per_cpu(replies_, 8, 0));
            must(forget_recent());
        }
        if (affinity_units > 0) {
            age_affinity(state_, affinity_units);
        }
    }

    Outcome run(const Step& step) override {
        View frame = step.frame;
        if (step.place == Place::kUplink && step.by_xdp && !step.priority) {
            std::uint32_t action = 0;
            frame = run_xdp(frame, &action);
            if (action == dataplane::kXdpDrop) {
                return {oracle::Verdict::kDrop, {}};
            }
            if (action == dataplane::kXdpTx || action == dataplane::kXdpRedirect) {
                return {oracle::Verdict::kSend, packet_of(frame)};
            }
        }
        // The kernel makes no buffer for a test of what is shorter than an IP header.
        if (frame.size() < (oracle::get16(frame, 12) == oracle::kEtherIpv6 ? 54 : 34)) {
            return {oracle::Verdict::kStack, packet_of(frame)};
        }
        std::uint32_t action = 0;
        frame = run_tc(step.place, frame, &action);
        switch (action) {
            case dataplane::kActionShot: return {oracle::Verdict::kDrop, {}};
            case dataplane::kActionRedirect: return {oracle::Verdict::kSend, packet_of(frame)};
            default: return {oracle::Verdict::kStack, packet_of(frame)};
        }
    }

protected:
    void forget(std::uint64_t random_state) override {
        clear_flows(state_);
        clear_affinity(state_);
        std::fill(sets_.begin(), sets_.end(), std::uint8_t{0});
        must(store_datagrams());
        must(zero_per_cpu(random_, 8, random_state));
        must(zero_per_cpu(replies_, 8, 0));
        must(forget_recent());
    }

private:
    static void must(bool done) {
        if (!done) {
            std::fprintf(stderr, "a map cannot be read or written: %s\n", std::strerror(errno));
            std::abort();
        }
    }
    template <class Value>
    Value* map_of(const char* name, std::size_t entries) {
        const std::size_t bytes = (entries * sizeof(Value) + 4095) / 4096 * 4096;
        void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, harness_->programs().map(name), 0);
        if (at == MAP_FAILED) {
            std::fprintf(stderr, "cannot map %s: %s\n", name, std::strerror(errno));
            return nullptr;
        }
        return static_cast<Value*>(at);
    }
    bool zero_per_cpu(int map, std::size_t bytes, std::uint64_t value) {
        std::vector<std::uint64_t> values(cpus_ * (bytes / 8), value);
        const std::uint32_t key = 0;
        return bpf_map_update_elem(map, &key, values.data(), BPF_ANY) == 0;
    }
    // What is remembered by the tick, which stands still here: as if a flow of each group had ended. Places are free.
    bool forget_recent() {
        // Never one of before, nor one that the programs count up to from there.
        left_.assign(left_.size(), ++forgotten_ * 0x9e3779b1U);
        const std::uint32_t key = 0;
        auto places = static_cast<std::uint32_t>(numbers_.size());
        LIBBPF_OPTS(bpf_map_batch_opts, options);
        return bpf_map_update_elem(flow_left_, &key, left_.data(), BPF_ANY) == 0 &&
               bpf_map_update_batch(recent_to_, numbers_.data(), no_places_.data(), &places, &options) == 0;
    }
    bool load_datagrams() {
        std::uint32_t next = 0;
        std::uint32_t count = kSets;
        LIBBPF_OPTS(bpf_map_batch_opts, options);
        return bpf_map_lookup_batch(datagrams_, nullptr, &next, keys_, sets_.data(), &count, &options) == 0 ||
               count == kSets;
    }
    bool store_datagrams() {
        std::uint32_t count = kSets;
        for (std::uint32_t i = 0; i < kSets; ++i) {
            keys_[i] = i;
        }
        LIBBPF_OPTS(bpf_map_batch_opts, options);
        return bpf_map_update_batch(datagrams_, keys_, sets_.data(), &count, &options) == 0;
    }

    View run_xdp(View frame, std::uint32_t* action) {
        xdp_md context{};
        context.data_end = static_cast<__u32>(frame.size());
        context.ingress_ifindex = harness_->node_ifindex();
        return run_program(xdp_, frame, &context, sizeof(context), xdp_room_, action);
    }
    View run_tc(Place place, View frame, std::uint32_t* action) {
        __sk_buff context{};
        context.ifindex = place == Place::kPod ? harness_->pod_ifindex() : harness_->node_ifindex();
        return run_program(tc_[static_cast<std::size_t>(place)], frame, &context, sizeof(context), tc_room_, action);
    }
    static View run_program(int program, View frame, void* context, std::size_t context_size, std::uint8_t* room,
                            std::uint32_t* action) {
        LIBBPF_OPTS(bpf_test_run_opts, options);
        options.data_in = frame.data();
        options.data_size_in = static_cast<__u32>(frame.size());
        options.data_out = room;
        options.data_size_out = kRoom;
        options.ctx_in = context;
        options.ctx_size_in = static_cast<__u32>(context_size);
        options.repeat = 1;
        if (const int error = bpf_prog_test_run_opts(program, &options); error != 0) {
            std::fprintf(stderr, "BPF_PROG_TEST_RUN of %zu bytes: %s\n", frame.size(), std::strerror(-error));
            std::abort();
        }
        *action = options.retval;
        return {room, options.data_size_out};
    }

    static constexpr std::uint32_t kSets = 1024;
    std::unique_ptr<dataplane::Harness> harness_;
    int tc_[3] = {-1, -1, -1};
    int xdp_ = -1;
    int random_ = -1;
    int replies_ = -1;
    int datagrams_ = -1;
    int flow_left_ = -1;
    int recent_to_ = -1;
    std::vector<std::uint32_t> numbers_;  // 0, 1, ...
    std::vector<std::uint8_t> no_places_;
    std::vector<std::uint32_t> left_;
    std::uint32_t forgotten_ = 0;
    std::uint32_t cpus_ = 1;
    std::vector<std::uint8_t> sets_;
    std::uint32_t keys_[kSets] = {};
    std::uint8_t xdp_room_[kRoom] = {};
    std::uint8_t tc_room_[kRoom] = {};
};

}  // namespace

std::unique_ptr<Side> make_ebpf() {
    auto out = std::make_unique<Ebpf>();
    if (!out->start()) {
        return nullptr;
    }
    return out;
}

}  // namespace sluice::differential
