// A frame in memory, and what the pipeline made of it. Nothing of DPDK: the runtime fills these from its buffers, tests
// and fuzzers from arrays.
#pragma once

#include <cstdint>

namespace sluice::dpdk {

// What an interface leads to, and so where a frame came from; as enum sluice_place of bpf/lib/case.h.
enum class Place : std::uint8_t {
    kPod = 0,      // an interface that leads to a pod of this node
    kUplink = 1,   // from other nodes and from outside
    kKernel = 2,   // the node's own, by the exception path
};

enum class Verdict : std::uint8_t {
    kForward,     // complete, Ethernet header included: send it by interface `out`
    // Complete but for the addresses of its Ethernet header: neighbour `neighbour` of interface `out` is being looked
    // for; kNoNeighbour: nobody looks yet for the next hop, which is where `out` leads towards the IP destination.
    kUnresolved,
    kKernel,      // for the node's own stack: as it came, or translated. Never for a frame from the kernel
    // Has become an answer to its sender: send it out where it came in (back to the kernel, if it came from there),
    // Ethernet header included.
    kReply,
    kDrop,        // counted; `reason` is an enum sluice_drop_reason
};

inline constexpr std::uint32_t kNoNeighbour = 0xffffffff;

struct Frame {
    std::uint8_t* data = nullptr;  // the Ethernet header; 802.1Q tags, if any, behind it
    std::uint32_t length = 0;      // bytes at data, contiguous
    std::uint16_t headroom = 0;    // bytes before data that may be used; `data` moves when they are
    std::uint16_t tailroom = 0;
    std::uint16_t interface = 0;   // where it came in (routing/interfaces.h)
    // By the exception path of `interface`: the node's own, about to leave there. What is none of ours is then
    // forwarded as it is by that interface.
    bool from_kernel = false;
    bool ip_checksum_good = false;  // the port has checked the IPv4 header
    // The answer. `reason` also with kReply, of what is answered.
    Verdict verdict = Verdict::kDrop;
    std::uint8_t reason = 0;
    std::uint16_t out = 0;
    std::uint32_t neighbour = kNoNeighbour;
    void* owner = nullptr;  // the caller's; not looked at
};

}  // namespace sluice::dpdk
