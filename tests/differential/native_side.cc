// The native pipeline as a side. Where packets go next is asked of the world's routes, one by one.
#include <algorithm>
#include <cstring>

#include "bpf/lib/view_memory.h"
// The views come first.
#include "bpf/lib/flow_memory.h"
struct sluice_datagram_set;
static inline struct sluice_datagram_set* sluice_datagrams_at(const struct sluice_flow_view* view, __u32 index);
#include "bpf/lib/fragment.h"
static inline struct sluice_datagram_set* sluice_datagrams_at(const struct sluice_flow_view*, __u32) {
    return nullptr;
}
#include "dataplane/dpdk/pipeline/pipeline.h"
#include "tests/differential/side.h"

namespace sluice::differential {
namespace {

constexpr std::uint32_t kFlows = 1U << 16U;
constexpr std::uint32_t kAffinityEntries = 1U << 14U;
constexpr std::uint16_t kUplink = 0;
constexpr std::uint16_t kPodLink = 1;

class Roads : public dpdk::Forwarding {
public:
    Roads() {
        for (const char* name : {"up0", "pod0"}) {
            dpdk::Interface one;
            one.name = name;
            one.port = static_cast<std::uint16_t>(interfaces_.size());
            one.place = interfaces_.empty() ? dpdk::Place::kUplink : dpdk::Place::kPod;
            one.mac = {2, 0, 0, 0, 0, 1};
            interfaces_.push_back(one);
        }
    }
    void take(const std::vector<oracle::Route>& routes) {
        ++generation_;
        prefixes_.clear();
        hops_.clear();
        for (const oracle::Route& route : routes) {
            dpdk::Hop hop;
            switch (route.kind) {
                case oracle::Route::Kind::kLocal: hop.kind = dpdk::HopKind::kLocal; break;
                case oracle::Route::Kind::kNone: hop.kind = dpdk::HopKind::kNone; break;
                case oracle::Route::Kind::kForward: hop.kind = dpdk::HopKind::kForward; break;
            }
            const std::string text = route.prefix.to_string();
            const bool pods = text.starts_with("10.244.1.") || text.starts_with("fd01:");
            if (hop.kind == dpdk::HopKind::kForward && pods) {
                hop.kind = dpdk::HopKind::kUnresolved;  // as in the sandbox, where no pod answers
            }
            hop.out = pods ? kPodLink : kUplink;
            hop.mtu = route.mtu;
            hop.l2_length = 14;
            const bool v6 = route.prefix.family() == IpFamily::kIpv6;
            const std::uint8_t l2[14] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, static_cast<std::uint8_t>(v6 ? 0x86 : 8),
                                         static_cast<std::uint8_t>(v6 ? 0xdd : 0)};
            std::memcpy(hop.l2, l2, sizeof(l2));
            prefixes_.push_back(route.prefix);
            hops_.push_back(hop);
        }
    }
    [[nodiscard]] const dpdk::Hop& lookup(const sluice_address& destination, bool v6) const override {
        IpAddress address;
        std::memcpy(address.bytes.data(), &destination, sizeof(destination));
        const dpdk::Hop* best = &none_;
        int bits = -1;
        for (std::size_t i = 0; i < hops_.size(); ++i) {
            const IpPrefix& prefix = prefixes_[i];
            if ((prefix.family() == IpFamily::kIpv6) == v6 && prefix.bits > bits && prefix.contains(address)) {
                best = &hops_[i];
                bits = prefix.bits;
            }
        }
        return *best;
    }
    [[nodiscard]] Result<std::unique_ptr<Forwarding>> change(std::span<const dpdk::NeighbourChange>,
                                                             std::uint64_t) const override {
        return make_error(Code::kUnimplemented, "roads do not change");
    }
    bool next_hop(const sluice_address&, bool, std::uint16_t*, IpAddress*) const override { return false; }
    [[nodiscard]] std::span<const dpdk::Interface> interfaces() const override { return interfaces_; }
    [[nodiscard]] std::uint64_t generation() const override { return generation_; }
    [[nodiscard]] std::size_t interface_of(std::uint16_t port, std::uint16_t) const override { return port; }
    [[nodiscard]] std::size_t bytes() const override { return 0; }

private:
    std::vector<dpdk::Interface> interfaces_;
    std::vector<IpPrefix> prefixes_;
    std::vector<dpdk::Hop> hops_;
    dpdk::Hop none_;
    std::uint64_t generation_ = 0;
};

class Native : public Side {
public:
    Native() : memory_(capacities()), room_(kHeadroom + kLargest + kTailroom) {
        flow_config_.seed = kFlowSeed;
        flow_config_.bucket_count4 = flow_config_.bucket_count6 = SLUICE_FLOW_BUCKETS(kFlows);
        flows4_.resize(flow_config_.bucket_count4);
        flows6_.resize(flow_config_.bucket_count6);
        affinity_config_.seed = 0xaff1;
        affinity_config_.bucket_count = SLUICE_AFFINITY_BUCKETS(kAffinityEntries);
        affinity_.resize(affinity_config_.bucket_count);
        datagrams_.resize(SLUICE_DATAGRAM_SETS);
        state_ = {&flow_config_, flows4_.data(), flows6_.data(), &affinity_config_, affinity_.data(),
                  affinity_config_.bucket_count};
        hold(&memory_.tables(), capacities(), kHashSeed, 1);
        pipeline_ = dpdk::Pipeline::make({}, {{&flow_config_, flows4_.data(), flows6_.data()}, {}, SLUICE_FLOW_ALONE},
                                         {&affinity_config_, affinity_.data(), datagrams_.data()});
    }
    [[nodiscard]] const char* name() const override { return "native"; }

    void travel(const oracle::World& world) override {
        roads_.take(world.routes);
        pipeline_->use(&roads_);
        pipeline_->use(tables());
    }
    void pass(std::uint32_t ticks, std::uint32_t affinity_units) override {
        now_.tick = static_cast<std::uint16_t>(now_.tick + ticks);
        now_.affinity_time += affinity_units;
    }

    Outcome run(const Step& step) override {
        const Bytes bytes = step.priority ? tagged(step.frame, 0) : Bytes();
        const Bytes& wire = step.priority ? bytes : step.frame;
        std::memcpy(room_.data() + kHeadroom, wire.data(), wire.size());
        dpdk::Frame frame;
        frame.data = room_.data() + kHeadroom;
        frame.length = static_cast<std::uint32_t>(wire.size());
        frame.headroom = kHeadroom;
        frame.tailroom = kTailroom;
        frame.interface = step.place == Place::kPod ? kPodLink : kUplink;
        frame.from_kernel = step.place == Place::kKernel;
        pipeline_->process({&frame, 1}, now_);
        Outcome out;
        switch (frame.verdict) {
            case dpdk::Verdict::kDrop: out.verdict = oracle::Verdict::kDrop; return out;
            case dpdk::Verdict::kKernel: out.verdict = oracle::Verdict::kStack; break;
            default: out.verdict = oracle::Verdict::kSend; break;
        }
        out.packet = packet_of({frame.data, frame.length});
        return out;
    }

protected:
    void forget(std::uint64_t random_state) override {
        clear_flows(state_);
        clear_affinity(state_);
        std::fill(datagrams_.begin(), datagrams_.end(), sluice_datagram_set{});
        // No tick is one that an earlier scenario saw: answers are limited by the tick.
        now_.tick = static_cast<std::uint16_t>(now_.tick + 1);
        pipeline_->set_random(random_state);
    }

private:
    static constexpr std::uint16_t kHeadroom = 128;
    static constexpr std::uint16_t kTailroom = 512;
    static constexpr std::size_t kLargest = 4096;

    image::MemoryImage memory_;
    sluice_flow_config flow_config_{};
    std::vector<sluice_flow_bucket4> flows4_;
    std::vector<sluice_flow_bucket6> flows6_;
    sluice_affinity_config affinity_config_{};
    std::vector<sluice_affinity_bucket> affinity_;
    std::vector<sluice_datagram_set> datagrams_;
    std::vector<std::uint8_t> room_;
    Roads roads_;
    std::unique_ptr<dpdk::Pipeline> pipeline_;
    dpdk::Now now_{1000, 1000000};
};

}  // namespace

std::unique_ptr<Side> make_native() { return std::make_unique<Native>(); }

}  // namespace sluice::differential
