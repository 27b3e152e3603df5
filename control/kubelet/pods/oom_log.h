// Whether the kernel killed something in a container for want of memory, by the kernel's own log. A
// pod's limit is reached at the pod's cgroup, and containerd 1.6 tells only of the container's own.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sluice::kubelet {

// Records of the kernel's log that are looked at, from the newest buffer's begin; each is at most 8 KiB.
inline constexpr std::size_t kMaxKernelRecords = 100'000;

// False also when the log cannot be read.
[[nodiscard]] bool killed_for_memory(const std::string& container_id);
// A record such as "...;oom-kill:constraint=CONSTRAINT_MEMCG,...,task_memcg=/kubepods/podU/ID,task=sh,pid=1,uid=0".
[[nodiscard]] bool is_oom_record(std::string_view record, std::string_view container_id);

}  // namespace sluice::kubelet
