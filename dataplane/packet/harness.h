// For tests and benchmarks of the packet programs: the real programs on an image of their own, in a network
// namespace with a pod's link and an uplink, fed by BPF_PROG_TEST_RUN.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bpf/lib/packet_builder.h"
#include "dataplane/ebpf/kernel_image.h"
#include "dataplane/ebpf/programs.h"
#include "dataplane/ebpf/sandbox.h"
#include "dataplane/image/publisher.h"

namespace sluice::dataplane {

inline constexpr int kActionOk = 0;
inline constexpr int kActionShot = 2;
inline constexpr int kActionRedirect = 7;
// Of XDP.
inline constexpr int kXdpDrop = 1;
inline constexpr int kXdpPass = 2;
inline constexpr int kXdpTx = 3;
inline constexpr int kXdpRedirect = 4;

struct Outcome {
    int action = -1;
    packets::Bytes frame;
    packets::View view;  // of frame
};

// The node: uplink up0 (192.0.2.1/24, 2001:db8::1/64, default route by .254), pods' links pod0 (10.244.1.0/24,
// fd01::/64); other nodes' pods 10.244.2.0/24 and fd02::/64 behind the uplink, by a neighbour
// (02:00:00:00:00:02) that is
// always known. Forwarding is on. XDP is attached to the uplink.
class Harness {
public:
    // Null, with the reason on stderr, without privileges.
    // services: there from the start, in tables that have room for them.
    static std::unique_ptr<Harness> make(const image::Node& node, std::uint32_t flows = 1U << 16U,
                                         std::vector<image::Service> services = {});
    ~Harness();

    // Aborts with the error, for a test's own services are valid.
    void upsert(const image::Service& service);
    void remove(const image::ServiceKey& key);
    // After another node's facts: a new image with the same flow tables.
    void set_node(const image::Node& node);

    Outcome run(TcProgram program, const packets::Bytes& frame);
    Outcome run(TcProgram program, const packets::Spec& spec) {
        return run(program, packets::build(spec));
    }
    // Through the XDP program, as if it had come in by the uplink.
    Outcome run_xdp(const packets::Bytes& frame);
    Outcome run_xdp(const packets::Spec& spec) { return run_xdp(packets::build(spec)); }
    // Mean nanoseconds of `repeat` runs in the kernel; repeat 1 is a single packet.
    std::uint32_t time_ns(TcProgram program, const packets::Bytes& frame, std::uint32_t repeat);

    // For benchmarks, which bring programs of their own.
    [[nodiscard]] const Programs& programs() const { return *programs_; }
    [[nodiscard]] std::uint32_t node_ifindex() const { return node_ifindex_; }
    [[nodiscard]] std::uint32_t pod_ifindex() const { return pod_ifindex_; }
    // For who publishes into the image by itself.
    [[nodiscard]] const image::Tables& tables() const { return image_->tables(); }
    [[nodiscard]] const image::Capacities& capacities() const { return image_->capacities(); }
    // Where the tables that outlive images are pinned.
    [[nodiscard]] std::string state_directory() const;
    [[nodiscard]] std::uint64_t drops(std::uint32_t reason) const;
    [[nodiscard]] sluice_service_counters counters(std::uint32_t service) const;

private:
    Harness() = default;
    [[nodiscard]] std::uint32_t device_of(TcProgram program) const;
    std::unique_ptr<Sandbox> sandbox_;
    EbpfOptions options_;
    image::Node node_;
    std::vector<image::Service> services_;
    std::unique_ptr<KernelImage> image_;
    std::unique_ptr<image::Publisher> publisher_;
    std::unique_ptr<Programs> programs_;
    std::uint32_t pod_ifindex_ = 0;
    std::uint32_t node_ifindex_ = 0;
};

// A node with the addresses above; detect_local names the pods' ranges.
image::Node test_node(bool detect_local = true);

}  // namespace sluice::dataplane
