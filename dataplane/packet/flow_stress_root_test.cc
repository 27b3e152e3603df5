// The real programs on two CPUs at once, with tuples that overlap, in a table too small for them: however inserts,
// evictions, closes and answers meet, the table is sound afterwards.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <sched.h>
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <random>
#include <thread>

#include "bpf/lib/test_flow_sound.h"
#include "dataplane/packet/test_journey.h"

namespace sluice::dataplane {
namespace {

constexpr std::uint32_t kFlows = 1024;
constexpr std::uint32_t kPackets = 200000;
constexpr std::uint32_t kPorts = 100;
// Looks at where the other thread is; it may have lost its CPU.
constexpr int kRendezvousLooks = 20000;
constexpr std::uint32_t kThreads = 2;

// A map's memory, read only.
class Mapped {
public:
    explicit Mapped(int fd) {
        bpf_map_info info{};
        std::uint32_t length = sizeof(info);
        if (bpf_obj_get_info_by_fd(fd, &info, &length) != 0) {
            return;
        }
        entries_ = info.max_entries;
        bytes_ = (std::size_t{info.value_size} * entries_ + 4095) / 4096 * 4096;
        void* at = mmap(nullptr, bytes_, PROT_READ, MAP_SHARED, fd, 0);
        at_ = at == MAP_FAILED ? nullptr : at;
    }
    Mapped(const Mapped&) = delete;
    Mapped& operator=(const Mapped&) = delete;
    ~Mapped() {
        if (at_ != nullptr) {
            munmap(at_, bytes_);
        }
    }
    template <class T>
    [[nodiscard]] T* as() const { return static_cast<T*>(at_); }
    [[nodiscard]] std::uint32_t entries() const { return entries_; }

private:
    void* at_ = nullptr;
    std::size_t bytes_ = 0;
    std::uint32_t entries_ = 0;
};

struct Tally {
    std::atomic<std::uint64_t> sent{0}, forwarded{0}, dropped{0}, passed{0}, failed{0};
};

class FlowStress : public Journey {
protected:
    static void SetUpTestSuite() { harness_ = Harness::make(test_node(), kFlows); }

    static void stay_on(std::size_t cpu) {
        cpu_set_t all;
        CPU_ZERO(&all);
        if (sched_getaffinity(0, sizeof(all), &all) != 0) {
            return;
        }
        cpu_set_t one;
        CPU_ZERO(&one);
        std::size_t seen = 0;
        for (std::size_t i = 0; i < CPU_SETSIZE; ++i) {
            if (CPU_ISSET(i, &all) && seen++ == cpu % static_cast<std::size_t>(CPU_COUNT(&all))) {
                CPU_SET(i, &one);
            }
        }
        ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
    }

    // The frame that comes out, if any; what became of it is counted.
    static Bytes send(TcProgram program, bool xdp, const Bytes& frame, Tally& tally) {
        Bytes out(frame.size() + 256);
        __sk_buff skb{};
        xdp_md md{};
        skb.ifindex = static_cast<__u32>(program == TcProgram::kPodIngress ? if_nametoindex("pod0")
                                                                           : harness_->node_ifindex());
        md.data_end = static_cast<__u32>(frame.size());
        md.ingress_ifindex = harness_->node_ifindex();
        LIBBPF_OPTS(bpf_test_run_opts, options);
        options.data_in = frame.data();
        options.data_size_in = static_cast<__u32>(frame.size());
        options.data_out = out.data();
        options.data_size_out = static_cast<__u32>(out.size());
        options.ctx_in = xdp ? static_cast<void*>(&md) : static_cast<void*>(&skb);
        options.ctx_size_in = xdp ? sizeof(md) : sizeof(skb);
        options.repeat = 1;
        const int fd = xdp ? harness_->programs().xdp_program() : harness_->programs().tc_program(program);
        ++tally.sent;
        if (bpf_prog_test_run_opts(fd, &options) != 0) {
            ++tally.failed;
            return {};
        }
        const auto action = static_cast<int>(options.retval);
        const bool on = xdp ? action == kXdpTx || action == kXdpRedirect : action == kActionRedirect;
        const bool shot = xdp ? action == kXdpDrop : action == kActionShot;
        ++(on ? tally.forwarded : shot ? tally.dropped : tally.passed);
        out.resize(on ? options.data_size_out : 0);
        return out;
    }

    // What answers a frame: addresses and ports change places, which no checksum notices.
    static Bytes turned(Bytes frame) {
        const bool v6 = frame[14] >> 4U == 6;
        const std::size_t src = v6 ? 22 : 26, size = v6 ? 16 : 4, ports = v6 ? 54 : 34;
        for (std::size_t i = 0; i < size; ++i) {
            std::swap(frame[src + i], frame[src + size + i]);
        }
        std::swap(frame[ports], frame[ports + 2]);
        std::swap(frame[ports + 1], frame[ports + 3]);
        return frame;
    }

    struct Kind {
        TcProgram program;
        bool xdp;
        std::vector<Bytes> frames;
    };
    // Clients of the node and from outside, by ClusterIP and NodePort.
    static std::vector<Kind> kinds() {
        std::vector<Kind> out;
        constexpr std::array<std::uint8_t, 8> kFlags{kSyn, kSyn, kSyn, kAck, kAck, kAck, kFin | kAck, kRst};
        for (const bool v6 : {false, true}) {
            for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
                harness_->upsert(service(v6, protocol,
                                         v6 ? std::vector<std::string>{"fd02::9", "fd02::a"}
                                            : std::vector<std::string>{"10.244.2.9", "10.244.2.10"}));
                Kind inside{TcProgram::kPodIngress, false, {}};
                Kind outside_tc{TcProgram::kNodeIngress, false, {}};
                for (std::uint32_t n = 0; n < kPorts; ++n) {
                    const auto sport = static_cast<std::uint16_t>(30100 + n);
                    const std::uint8_t flags = kFlags[n % kFlags.size()];
                    for (const std::uint8_t flag : {flags, kSyn, kAck}) {
                        inside.frames.push_back(packets::build(
                            packet({v6, protocol}, pod(v6), cluster_ip(v6), sport, 80, flag)));
                        outside_tc.frames.push_back(packets::build(
                            packet({v6, protocol}, outside(v6), node(v6), sport, 30080, flag)));
                    }
                }
                Kind outside_xdp = outside_tc;
                outside_xdp.xdp = true;
                out.push_back(std::move(inside));
                out.push_back(std::move(outside_tc));
                out.push_back(std::move(outside_xdp));
            }
        }
        return out;
    }
    // Both threads send packets of the same tuples at the same moment, three times out of four of a tuple that is new.
    static void run(const std::vector<Kind>& all, std::uint32_t me,
                    std::array<std::atomic<std::uint32_t>, kThreads>& at, Tally& tally) {
        stay_on(me);
        std::mt19937 shared(1);       // NOLINT: reproducible
        std::mt19937 own(me + 2);     // NOLINT
        for (std::uint32_t n = 0; n < kPackets; ++n) {
            const auto drawn = static_cast<std::uint32_t>(shared());
            const Kind& kind = all[drawn % all.size()];
            Bytes frame = kind.frames[(drawn >> 8U) % kind.frames.size()];
            const bool fresh = drawn >> 30U != 0;
            if (fresh) {
                const std::size_t ports = frame[14] >> 4U == 6 ? 54 : 34;
                const std::uint32_t port = 1024 + n % 60000;
                frame[ports] = static_cast<std::uint8_t>(port >> 8U);
                frame[ports + 1] = static_cast<std::uint8_t>(port);
            }
            at[me] = n;
            for (int look = 0; look < kRendezvousLooks && at[1 - me] < n; ++look) {
            }
            const Bytes out = send(kind.program, kind.xdp, frame, tally);
            // Of the others, which do not fill the table: what is answered stays.
            if (!fresh && out.size() > 58 && own() % 2 == 0) {
                (void)send(TcProgram::kNodeIngress, own() % 2 == 0, turned(out), tally);
            }
        }
    }
};

TEST_F(FlowStress, TwoCpusWithOverlappingTuplesLeaveASoundTable) {
    const std::vector<Kind> all = kinds();
    Tally tally;
    std::array<std::atomic<std::uint32_t>, kThreads> at{};
    std::vector<std::thread> threads;
    for (std::uint32_t t = 0; t < kThreads; ++t) {
        threads.emplace_back([&, t] { run(all, t, at, tally); });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    const Mapped config(harness_->programs().map("sluice_flow_cfg"));
    const Mapped flows4(harness_->programs().map("sluice_flows4"));
    const Mapped flows6(harness_->programs().map("sluice_flows6"));
    ASSERT_NE(config.as<sluice_flow_config>(), nullptr);
    ASSERT_NE(flows4.as<char>(), nullptr);
    ASSERT_NE(flows6.as<char>(), nullptr);
    sluice_flow_view view{};
    view.seed = config.as<sluice_flow_config>()->seed;
    view.bucket_count4 = std::min(config.as<sluice_flow_config>()->bucket_count4, flows4.entries());
    view.bucket_count6 = std::min(config.as<sluice_flow_config>()->bucket_count6, flows6.entries());
    view.buckets4 = flows4.as<sluice_flow_bucket4>();
    view.buckets6 = flows6.as<sluice_flow_bucket6>();
    std::uint64_t halves4 = 0;
    std::uint64_t halves6 = 0;
    EXPECT_EQ(flow_fault(view, 0, &halves4), "");
    EXPECT_EQ(flow_fault(view, 1, &halves6), "");
    std::printf("%llu packets: %llu forwarded, %llu dropped, %llu passed; %llu + %llu halves\n",
                static_cast<unsigned long long>(tally.sent), static_cast<unsigned long long>(tally.forwarded),
                static_cast<unsigned long long>(tally.dropped), static_cast<unsigned long long>(tally.passed),
                static_cast<unsigned long long>(halves4), static_cast<unsigned long long>(halves6));
    EXPECT_EQ(tally.failed, 0U);
    EXPECT_GE(tally.sent, kThreads * kPackets);
    EXPECT_GT(tally.forwarded, tally.sent / 4);
    EXPECT_GT(halves4, kFlows / 4);
    EXPECT_GT(halves6, kFlows / 4);
    EXPECT_LE(halves4, 2U * kFlows);
}

}  // namespace
}  // namespace sluice::dataplane
