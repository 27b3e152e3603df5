// The wrapper of bench/ebpf/packet_bench.bpf.c: runs an XDP program, ours or a peer's, on the frames of many flows.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "bpf/lib/packet_builder.h"

struct bpf_object;

namespace sluice::dataplane {

class BenchWrapper {
public:
    // Every turn is a flow that no turn before was of.
    static constexpr std::uint32_t kEveryTurnNew = ~0U;

    // `frags`: as the programs to be measured are flagged, for tail calls stay among their like. Null, with the
    // reason on stderr, if the object cannot be loaded.
    static std::unique_ptr<BenchWrapper> load(const std::string& object, bool frags, std::uint32_t ifindex);
    BenchWrapper(const BenchWrapper&) = delete;
    BenchWrapper& operator=(const BenchWrapper&) = delete;
    ~BenchWrapper();

    // Mean ns of `repeat` runs of a program as it is, without the wrapper.
    double alone(int program, const packets::Bytes& frame, std::uint32_t repeat);
    double alone(const std::string& program, const packets::Bytes& frame, std::uint32_t repeat);

    // How many flows' worth of memory the programs touch that look far. A power of two.
    void spread_over(std::uint32_t flows);

    // Mean ns of `repeat` packets of `mask` + 1 flows (a power of two, or kEveryTurnNew) less what the wrapper takes.
    // The flows have been through the program before. `grows`: it puts an outer header in front of each. Every packet
    // must be sent on (XDP_TX), else the process ends with a message: what is not measured must not look fast.
    double packet(int program, const packets::Bytes& frame, bool v6, std::uint32_t mask, bool grows,
                  std::uint32_t repeat);

private:
    struct Plan;

    BenchWrapper() = default;
    [[nodiscard]] int program_of(const std::string& name) const;
    double run(int program, const packets::Bytes& frame, std::uint32_t repeat);
    // The same under the wrapper.
    double turns(int subject, const packets::Bytes& frame, bool v6, std::uint32_t repeat);

    bpf_object* object_ = nullptr;
    Plan* plan_ = nullptr;
    std::uint32_t ifindex_ = 0;
    int action_ = -1;
};

}  // namespace sluice::dataplane
