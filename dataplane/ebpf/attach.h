// Attachments: which program runs at which hook. Each is a BPF link, pinned, inside which programs
// are exchanged atomically; where the kernel has no links for tc (before 6.6), a filter of the
// clsact discipline.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "api/base/fd.h"
#include "api/base/result.h"
#include "dataplane/ebpf/programs.h"

namespace sluice::dataplane {

// Of the filters that stand in for links; far from what other tools use by default.
inline constexpr std::uint32_t kTcPriority = 0x534c;
inline constexpr std::uint32_t kTcHandle = 1;

struct DeviceHook {
    int ifindex = 0;
    bool egress = false;
    auto operator<=>(const DeviceHook&) const = default;
};

class Attachments {
public:
    explicit Attachments(std::string directory) : directory_(std::move(directory)) {}

    // Attaches, or exchanges the program of what is attached (by this agent or an earlier one).
    Result<void> socket_hook(const SocketHook& hook, const std::string& cgroup, int program);
    // What an earlier agent attached and this one was told not to.
    void drop_socket_hooks();
    Result<void> device(const DeviceHook& hook, const std::string& name, int program);
    // Detaches from devices that are not in `keep`, gone ones included.
    void retain_devices(const std::vector<DeviceHook>& keep);

    // Detaches what is pinned and was not attached through this object: hooks that only another version knows. Their
    // programs would go on with an image that nobody keeps in step. Returns their names.
    std::vector<std::string> detach_unknown();

    [[nodiscard]] bool uses_filters() const { return tcx_missing_; }
    // For people, in a fixed order.
    [[nodiscard]] std::vector<std::string> labels() const;

private:
    struct Attached {
        Fd link;
        std::string label;
    };
    Result<Fd> exchange_or_create(const std::string& pin, int attach_type, int target,
                                  std::uint64_t target_id, int program);

    std::string directory_;
    bool tcx_missing_ = false;
    std::map<std::string, Attached> sockets_;  // by pin
    std::map<DeviceHook, Attached> devices_;
};

// Removes everything under the directory, detaching links from their hooks. Returns what was
// removed.
Result<std::vector<std::string>> detach_all(const std::string& directory);
// Hangs a program on a device's clsact discipline, or exchanges the one that hangs there: for
// kernels without tcx.
Result<void> attach_filter(const DeviceHook& hook, const std::string& name, int program);
// Removes the clsact filters that attachments made in this network namespace.
Result<std::vector<std::string>> remove_filters();
// What is pinned in the directory and where it is attached.
std::vector<std::string> describe_links(const std::string& directory);

}  // namespace sluice::dataplane
