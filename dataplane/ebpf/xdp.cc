#include "dataplane/ebpf/xdp.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <linux/bpf.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <set>

#include "api/base/log.h"
#include "dataplane/ebpf/pins.h"

namespace sluice::dataplane {
namespace {

constexpr std::string_view kPinPrefix = "xdp_";

std::string pin_of(const std::string& links, int ifindex) {
    return fmt::format("{}/{}{}", links, kPinPrefix, ifindex);
}

std::uint32_t device_of_link(int link) {
    bpf_link_info info{};
    std::uint32_t length = sizeof(info);
    if (bpf_obj_get_info_by_fd(link, &info, &length) != 0 || info.type != BPF_LINK_TYPE_XDP) {
        return 0;
    }
    return info.xdp.ifindex;
}

// What runs on the device, ours or not.
XdpState query(int ifindex) {
    LIBBPF_OPTS(bpf_xdp_query_opts, options);
    if (bpf_xdp_query(ifindex, 0, &options) != 0) {
        return XdpState::kNone;
    }
    if (options.attach_mode == XDP_ATTACHED_DRV || options.attach_mode == XDP_ATTACHED_HW) {
        return XdpState::kNative;
    }
    return options.attach_mode == XDP_ATTACHED_NONE ? XdpState::kNone : XdpState::kGeneric;
}

// Whether the device joins segments before the stack sees them; true if it cannot be told.
bool joins_segments(const std::string& name) {
    const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ethtool_value value{};
    value.cmd = ETHTOOL_GGRO;
    ifreq request{};
    std::strncpy(request.ifr_name, name.c_str(), IFNAMSIZ - 1);
    request.ifr_data = reinterpret_cast<char*>(&value);  // NOLINT
    return !socket || ioctl(socket.get(), SIOCETHTOOL, &request) != 0 || value.data != 0;
}

Result<Fd> create(int program, int ifindex, std::uint32_t flags) {
    LIBBPF_OPTS(bpf_link_create_opts, options);
    options.flags = flags;
    const int fd = bpf_link_create(program, ifindex, BPF_XDP, &options);
    if (fd < 0) {
        return errno_error(-fd, "cannot attach");
    }
    return Fd(fd);
}

std::string refusal(int error, std::string_view mode) {
    switch (error) {
        case EBUSY:
        case EEXIST: return "another XDP program is attached to it, which stays";
        case EOPNOTSUPP: return fmt::format("its driver has no {} XDP", mode);
        default: return fmt::format("{} XDP was refused: {}", mode, std::strerror(error));
    }
}

// A device that cannot be entered is not redirected to: tc sends its packets.
void allow(int out, int ifindex, bool allowed) {
    const auto key = static_cast<std::uint32_t>(ifindex);
    const std::uint32_t one = 1;
    const int error = allowed ? bpf_map_update_elem(out, &key, &one, BPF_ANY) : bpf_map_delete_elem(out, &key);
    if (error != 0 && error != -ENOENT) {
        log::warn("ebpf", "device {}: frames cannot be redirected to it: {}", ifindex, std::strerror(-error));
    }
}

// Forgets devices of an earlier agent that are no longer attached to.
void allow_only(int out, const std::set<std::uint32_t>& devices) {
    std::vector<std::uint32_t> stale;
    std::uint32_t key = 0;
    const std::uint32_t* previous = nullptr;
    while (bpf_map_get_next_key(out, previous, &key) == 0) {
        if (!devices.contains(key)) {
            stale.push_back(key);
        }
        previous = &key;
    }
    for (const std::uint32_t ifindex : stale) {
        allow(out, static_cast<int>(ifindex), false);
    }
    for (const std::uint32_t ifindex : devices) {
        allow(out, static_cast<int>(ifindex), true);
    }
}

}  // namespace

bool xdp_wants(const XdpDevice& device, XdpMode mode) {
    return mode != XdpMode::kOff && (mode != XdpMode::kAuto || device.kind != "veth");
}

void XdpAttachments::attach(const XdpDevice& device, XdpMode mode, int program, Attached& out) const {
    const std::string pin = pin_of(links_, device.ifindex);
    out.name = device.name;
    if (!xdp_wants(device, mode)) {
        out.reason = "frames of a veth may lack their checksum (xdp: native attaches all the same)";
        return;
    }
    if (program < 0) {
        out.reason = "its program is not loaded";
        return;
    }
    Fd link(bpf_obj_get(pin.c_str()));
    if (link && device_of_link(link.get()) == static_cast<std::uint32_t>(device.ifindex)) {
        const XdpState state = query(device.ifindex);
        const bool wanted = state == XdpState::kNative || mode == XdpMode::kGeneric;
        if (wanted && bpf_link_update(link.get(), program, nullptr) == 0) {
            out.link = std::move(link);
            out.state = state;
            return;
        }
        bpf_link_detach(link.get());
    }
    auto created = create(program, device.ifindex, XDP_FLAGS_DRV_MODE);
    out.state = XdpState::kNative;
    if (!created && mode == XdpMode::kGeneric && created.error().sys_errno != EBUSY &&
        created.error().sys_errno != EEXIST) {
        if (joins_segments(device.name)) {
            out.state = XdpState::kNone;
            out.reason = fmt::format("{}, and generic XDP needs GRO off: ethtool -K {} gro off",
                                     refusal(created.error().sys_errno, "native"), device.name);
            return;
        }
        created = create(program, device.ifindex, XDP_FLAGS_SKB_MODE);
        out.state = XdpState::kGeneric;
    }
    if (!created) {
        out.reason = refusal(created.error().sys_errno, out.state == XdpState::kGeneric ? "generic" : "native");
        out.state = XdpState::kNone;
        return;
    }
    // The pin is what keeps the link when this process ends.
    if (unlink(pin.c_str()) != 0 && errno != ENOENT) {
        out.reason = fmt::format("its pin {} cannot be replaced: {}", pin, std::strerror(errno));
    } else if (const int error = bpf_obj_pin(created->get(), pin.c_str()); error != 0) {
        out.reason = fmt::format("its link cannot be pinned: {}", std::strerror(-error));
    }
    if (!out.reason.empty()) {
        out.state = XdpState::kNone;
        return;
    }
    out.link = std::move(*created);
}

void XdpAttachments::remove_others(const std::vector<XdpDevice>& devices) {
    const auto kept = [&](int ifindex) {
        return std::any_of(devices.begin(), devices.end(),
                           [&](const XdpDevice& device) { return device.ifindex == ifindex; });
    };
    std::erase_if(devices_, [&](const auto& entry) { return !kept(entry.first); });
    for (const std::string& name : list_directory(links_)) {
        int ifindex = 0;
        if (!name.starts_with(kPinPrefix)) {
            continue;
        }
        std::from_chars(name.data() + kPinPrefix.size(), name.data() + name.size(), ifindex);
        if (kept(ifindex) && devices_.contains(ifindex) && devices_.at(ifindex).state != XdpState::kNone) {
            continue;
        }
        const std::string path = links_ + "/" + name;
        const Fd link(bpf_obj_get(path.c_str()));
        if (link) {
            bpf_link_detach(link.get());
        }
        unlink(path.c_str());
    }
}

void XdpAttachments::turn_to(const std::vector<XdpDevice>& devices, XdpMode mode, int program, int out) {
    std::vector<XdpDevice> wanted;
    if (mode != XdpMode::kOff) {
        wanted = devices;
    }
    std::set<std::uint32_t> native;
    for (const XdpDevice& device : wanted) {
        Attached attached;
        attach(device, mode, program, attached);
        const auto former = devices_.find(device.ifindex);
        if (!attached.reason.empty() && (program >= 0 || !xdp_wants(device, mode)) &&
            (former == devices_.end() || former->second.reason != attached.reason)) {
            log::info("ebpf", "no XDP on {}: {}; tc serves it", device.name, attached.reason);
        }
        if (attached.state == XdpState::kNative) {
            native.insert(static_cast<std::uint32_t>(device.ifindex));
        }
        devices_[device.ifindex] = std::move(attached);
    }
    remove_others(wanted);
    if (out >= 0) {
        allow_only(out, native);
    }
}

std::vector<std::string> XdpAttachments::labels() const {
    std::vector<std::string> out;
    for (const auto& [ifindex, attached] : devices_) {
        if (attached.state != XdpState::kNone) {
            out.push_back(fmt::format("xdp {} ({})", attached.name,
                                      attached.state == XdpState::kNative ? "native" : "generic"));
        }
    }
    return out;
}

std::vector<std::string> XdpAttachments::missing() const {
    std::vector<std::string> out;
    for (const auto& [ifindex, attached] : devices_) {
        if (attached.state == XdpState::kNone) {
            out.push_back(fmt::format("XDP on {}: {}", attached.name, attached.reason));
        }
    }
    return out;
}

XdpState XdpAttachments::state_of(int ifindex) const {
    const auto found = devices_.find(ifindex);
    return found == devices_.end() ? XdpState::kNone : found->second.state;
}

}  // namespace sluice::dataplane
