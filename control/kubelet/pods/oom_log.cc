#include "control/kubelet/pods/oom_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "api/base/fd.h"

namespace sluice::kubelet {

bool is_oom_record(std::string_view record, std::string_view container_id) {
    constexpr std::string_view kField = "task_memcg=";
    if (container_id.empty() || record.find("oom-kill:") == std::string_view::npos) return false;
    const auto at = record.find(kField);
    if (at == std::string_view::npos) return false;
    auto path = record.substr(at + kField.size());
    path = path.substr(0, path.find(','));
    const auto slash = path.rfind('/');
    return slash != std::string_view::npos && path.substr(slash + 1) == container_id;
}

bool killed_for_memory(const std::string& container_id) {
    const Fd log(::open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    if (!log) return false;
    std::array<char, 8'192> record{};
    for (std::size_t seen = 0; seen < kMaxKernelRecords; ++seen) {
        const auto size = ::read(log.get(), record.data(), record.size());
        // Overwritten while being read: the next read goes on with what is left.
        if (size < 0 && (errno == EPIPE || errno == EINTR || errno == EINVAL)) continue;
        if (size <= 0) return false;
        if (is_oom_record({record.data(), static_cast<std::size_t>(size)}, container_id)) return true;
    }
    return false;
}

}  // namespace sluice::kubelet
