#include "dataplane/ebpf/attach.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "dataplane/ebpf/pins.h"

namespace sluice::dataplane {
namespace {

// Linux 6.6; the installed header may be older.
constexpr int kTcxIngress = 46;
constexpr int kTcxEgress = 47;
constexpr std::uint32_t kLinkTypeTcx = 11;

std::string device_pin(const DeviceHook& hook) {
    return fmt::format("{}_{}", hook.egress ? "tcx_egress" : "tcx_ingress", hook.ifindex);
}

// What a link is attached to: the cgroup's id, or the device's index (0 once the device is gone).
struct LinkTarget {
    std::uint32_t type = 0;
    std::uint64_t id = 0;
};

LinkTarget target_of(int link) {
    bpf_link_info info{};
    std::uint32_t length = sizeof(info);
    if (bpf_obj_get_info_by_fd(link, &info, &length) != 0) {
        return {};
    }
    LinkTarget out{info.type, 0};
    if (info.type == BPF_LINK_TYPE_CGROUP) {
        out.id = info.cgroup.cgroup_id;
    } else if (info.type == kLinkTypeTcx || info.type == BPF_LINK_TYPE_XDP) {
        // The device's index is the first word, as in the links of XDP.
        out.id = info.xdp.ifindex;
    }
    return out;
}

bpf_tc_hook filter_hook(int ifindex, bool egress) {
    bpf_tc_hook hook{};
    hook.sz = sizeof(hook);
    hook.ifindex = ifindex;
    hook.attach_point = egress ? BPF_TC_EGRESS : BPF_TC_INGRESS;
    return hook;
}

bool detach_filter(int ifindex, bool egress) {
    bpf_tc_hook hook = filter_hook(ifindex, egress);
    bpf_tc_opts options{};
    options.sz = sizeof(options);
    options.handle = kTcHandle;
    options.priority = kTcPriority;
    if (bpf_tc_query(&hook, &options) != 0) {
        return false;
    }
    options.prog_fd = 0;
    options.prog_id = 0;
    options.flags = 0;
    return bpf_tc_detach(&hook, &options) == 0;
}

}  // namespace

Result<void> attach_filter(const DeviceHook& device, const std::string& name, int program) {
    bpf_tc_hook hook = filter_hook(device.ifindex, device.egress);
    int error = bpf_tc_hook_create(&hook);
    if (error != 0 && error != -EEXIST) {
        return errno_error(-error, "device {}: cannot add the clsact discipline", name);
    }
    bpf_tc_opts options{};
    options.sz = sizeof(options);
    options.handle = kTcHandle;
    options.priority = kTcPriority;
    options.prog_fd = program;
    options.flags = BPF_TC_F_REPLACE;
    error = bpf_tc_attach(&hook, &options);
    if (error != 0) {
        return errno_error(-error, "device {}: cannot attach the tc filter", name);
    }
    return {};
}

Result<Fd> Attachments::exchange_or_create(const std::string& pin, int attach_type, int target,
                                           std::uint64_t target_id, int program) {
    const std::string path = directory_ + "/" + pin;
    Fd link(bpf_obj_get(path.c_str()));
    if (link && target_of(link.get()).id == target_id &&
        bpf_link_update(link.get(), program, nullptr) == 0) {
        return link;
    }
    // Not attached yet, or to something that is gone or no longer meant.
    const Fd stale = std::move(link);
    const int fd =
        bpf_link_create(program, target, static_cast<bpf_attach_type>(attach_type), nullptr);
    if (fd < 0) {
        return errno_error(-fd, "cannot attach {}", pin);
    }
    Fd created(fd);
    if (stale) {
        bpf_link_detach(stale.get());
    }
    if (unlink(path.c_str()) != 0 && errno != ENOENT) {
        return errno_error(errno, "cannot replace the pin {}", path);
    }
    const int error = bpf_obj_pin(created.get(), path.c_str());
    if (error != 0) {
        return errno_error(-error, "cannot pin {}", path);
    }
    return created;
}

Result<void> Attachments::socket_hook(const SocketHook& hook, const std::string& cgroup,
                                      int program) {
    const Fd directory(open(cgroup.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    struct stat info{};
    if (!directory || fstat(directory.get(), &info) != 0) {
        return errno_error(errno, "cannot open the cgroup {}", cgroup);
    }
    // A cgroup's id is its inode.
    auto link =
        exchange_or_create(hook.pin, hook.attach_type, directory.get(), info.st_ino, program);
    if (!link) {
        return link.error().with_context(cgroup);
    }
    sockets_[hook.pin] = Attached{std::move(*link), fmt::format("{} {}", hook.label, cgroup)};
    return {};
}

void Attachments::drop_socket_hooks() {
    sockets_.clear();
    for (const SocketHook& hook : dataplane::socket_hooks()) {
        const std::string path = directory_ + "/" + hook.pin;
        const Fd link(bpf_obj_get(path.c_str()));
        if (link) {
            bpf_link_detach(link.get());
            unlink(path.c_str());
        }
    }
}

Result<void> Attachments::device(const DeviceHook& hook, const std::string& name, int program) {
    const char* direction = hook.egress ? "egress" : "ingress";
    if (!tcx_missing_) {
        auto link =
            exchange_or_create(device_pin(hook), hook.egress ? kTcxEgress : kTcxIngress,
                               hook.ifindex, static_cast<std::uint64_t>(hook.ifindex), program);
        if (link) {
            devices_[hook] =
                Attached{std::move(*link), fmt::format("tc/{} {} (tcx)", direction, name)};
            return {};
        }
        if (link.error().sys_errno == ENODEV) {
            return link.error().with_context(name);
        }
        if (link.error().sys_errno != EINVAL) {
            return link.error().with_context(fmt::format("device {}", name));
        }
        tcx_missing_ = true;
    }
    SLUICE_TRY(attach_filter(hook, name, program));
    devices_[hook] = Attached{Fd(), fmt::format("tc/{} {} (clsact)", direction, name)};
    return {};
}

void Attachments::retain_devices(const std::vector<DeviceHook>& keep) {
    const auto kept = [&](const DeviceHook& hook) {
        return std::find(keep.begin(), keep.end(), hook) != keep.end();
    };
    for (auto it = devices_.begin(); it != devices_.end();) {
        if (kept(it->first)) {
            ++it;
            continue;
        }
        if (it->second.link) {
            bpf_link_detach(it->second.link.get());
        } else {
            detach_filter(it->first.ifindex, it->first.egress);
        }
        it = devices_.erase(it);
    }
    // Pins of devices that an earlier agent attached to, too.
    for (const std::string& name : list_directory(directory_)) {
        for (const bool egress : {false, true}) {
            const std::string prefix = egress ? "tcx_egress_" : "tcx_ingress_";
            int ifindex = 0;
            if (!name.starts_with(prefix)) {
                continue;
            }
            std::from_chars(name.data() + prefix.size(), name.data() + name.size(), ifindex);
            if (!kept(DeviceHook{ifindex, egress})) {
                const std::string path = directory_ + "/" + name;
                const Fd link(bpf_obj_get(path.c_str()));
                if (link) {
                    bpf_link_detach(link.get());
                }
                unlink(path.c_str());
            }
        }
    }
}

std::vector<std::string> Attachments::detach_unknown() {
    std::vector<std::string> out;
    for (const std::string& name : list_directory(directory_)) {
        const bool device =
            std::any_of(devices_.begin(), devices_.end(), [&](const auto& attached) {
                return attached.second.link && device_pin(attached.first) == name;
            });
        // Those of XDP are their owner's (xdp.h).
        if (device || sockets_.contains(name) || name.starts_with("xdp")) {
            continue;
        }
        const std::string path = directory_ + "/" + name;
        const Fd link(bpf_obj_get(path.c_str()));
        if (link) {
            bpf_link_detach(link.get());
        }
        unlink(path.c_str());
        out.push_back(name);
    }
    return out;
}

std::vector<std::string> Attachments::labels() const {
    std::vector<std::string> out;
    for (const auto& [pin, attached] : sockets_) {
        out.push_back(attached.label);
    }
    for (const auto& [hook, attached] : devices_) {
        out.push_back(attached.label);
    }
    return out;
}

Result<std::vector<std::string>> detach_all(const std::string& directory) {
    std::vector<std::string> removed;
    for (const std::string& name : list_directory(directory)) {
        const std::string path = directory + "/" + name;
        const Fd link(bpf_obj_get(path.c_str()));
        if (link) {
            // Also from under an agent that still runs and holds the link.
            bpf_link_detach(link.get());
        }
        removed.push_back("attachment " + name);
    }
    SLUICE_TRY(remove_directory(directory));
    return removed;
}

Result<std::vector<std::string>> remove_filters() {
    std::vector<std::string> removed;
    struct if_nameindex* links = if_nameindex();
    if (links == nullptr) {
        return errno_error(errno, "cannot list the network devices");
    }
    for (const struct if_nameindex* link = links; link->if_index != 0; ++link) {
        for (const bool egress : {false, true}) {
            if (detach_filter(static_cast<int>(link->if_index), egress)) {
                removed.push_back(fmt::format("tc filter on {} {}", link->if_name,
                                              egress ? "egress" : "ingress"));
            }
        }
    }
    if_freenameindex(links);
    return removed;
}

std::vector<std::string> describe_links(const std::string& directory) {
    std::vector<std::string> out;
    for (const std::string& name : list_directory(directory)) {
        const Fd link(bpf_obj_get((directory + "/" + name).c_str()));
        if (!link) {
            continue;
        }
        const LinkTarget target = target_of(link.get());
        char device[IF_NAMESIZE] = "";
        if (target.type == BPF_LINK_TYPE_CGROUP) {
            out.push_back(fmt::format("{} cgroup {}", name, target.id));
        } else if (if_indextoname(static_cast<unsigned>(target.id), device) != nullptr) {
            out.push_back(fmt::format("{} {}", name, device));
        } else {
            out.push_back(fmt::format("{} (its device is gone)", name));
        }
    }
    return out;
}

}  // namespace sluice::dataplane
