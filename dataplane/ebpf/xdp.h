// XDP attachments: the program of bpf/progs/xdp.bpf.c on node devices, in front of the tc programs. What it does not
// take, tc does; so a device without it works all the same, only slower, and nothing here fails the engine.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "api/base/fd.h"
#include "api/base/result.h"
#include "dataplane/ebpf/ebpf_engine.h"

namespace sluice::dataplane {

// How a device runs the program.
enum class XdpState : std::uint8_t { kNone, kNative, kGeneric };

// What a device is, as far as XDP must know.
struct XdpDevice {
    int ifindex = 0;
    std::string name;
    std::string kind;  // of netlink::Link
};

// Whether the mode lets the program run on such a device, if its driver can.
bool xdp_wants(const XdpDevice& device, XdpMode mode);

// Attaches by BPF links, pinned as xdp_<ifindex> in the directory of links; programs are exchanged inside a link, so no
// packet is without one.
//
//   auto     native where the driver can; not on veth, whose frames may lack their checksum (it is
//   left to a device that
//            never comes) and whose far end takes frames back only if it runs XDP too; never generic
//   native   native, on veth too; else not at all
//   generic  native, else in the stack's generic hook; that one sits behind segment joining (GRO), whose packets cannot
//            be rewritten there, so the device must have GRO off
//   off      none; links of an earlier agent are removed
class XdpAttachments {
public:
    explicit XdpAttachments(std::string links) : links_(std::move(links)) {}

    // Turns the devices to the program, and detaches from all others. `out` is the map of devices that take redirected
    // frames (sluice_xdp_out). REQUIRES: program and map belong together; nothing is attached if program < 0,
    // as it is until it is loaded.
    void turn_to(const std::vector<XdpDevice>& devices, XdpMode mode, int program, int out);

    // For people: where it runs, and where not and why.
    [[nodiscard]] std::vector<std::string> labels() const;
    [[nodiscard]] std::vector<std::string> missing() const;
    [[nodiscard]] XdpState state_of(int ifindex) const;

private:
    struct Attached {
        Fd link;
        std::string name;
        XdpState state = XdpState::kNone;
        std::string reason;  // why not
    };
    void attach(const XdpDevice& device, XdpMode mode, int program, Attached& out) const;
    void remove_others(const std::vector<XdpDevice>& devices);

    std::string links_;
    std::map<int, Attached> devices_;  // by ifindex
};

}  // namespace sluice::dataplane
