// Tells when a container's log may have grown: one thread and one inotify for all followers of the node.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "api/base/result.h"

namespace sluice::kubelet::logs {

inline constexpr std::size_t kMaxFollowers = 4'096;

// Thread-safe.
class LogWatch {
public:
    virtual ~LogWatch() = default;
    static Result<std::unique_ptr<LogWatch>> create();

    // Calls back once, soon after something changes in the folder of `path` (a write, a new file, a writer's end), and
    // about once a second in any case, since a container's end leaves no trace in a file; at once if something had
    // changed since the token was taken by changes(). On the watch's thread; must not block.
    virtual void wait(const std::string& path, std::uint64_t seen, std::function<void()> callback) = 0;
    // Follows the folder from now on; each start() needs one stop(). kResourceExhausted above kMaxFollowers.
    virtual Result<void> start(const std::string& path) = 0;
    virtual void stop(const std::string& path) = 0;
    // How often the folder changed so far: taken before reading, handed to wait() after it.
    [[nodiscard]] virtual std::uint64_t changes(const std::string& path) = 0;
};

}  // namespace sluice::kubelet::logs
