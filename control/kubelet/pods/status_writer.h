// Writes the status of pods to the API server: what is true when it is written, never older over newer, several changes
// as one write, again until it succeeds.
//
// Thread-safe; a few threads of its own. One pod's writes follow each other.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "api/client/client.h"
#include "api/client/work_queue.h"
#include "control/kubelet/pods/sandbox_config.h"
#include "control/kubelet/pods/types.h"

namespace sluice::kubelet {

inline constexpr int kStatusWriters = 4;
// A new pod that runs within this time has a single status written.
inline constexpr std::chrono::milliseconds kFirstStatusDelay{400};
inline constexpr int kMaxConflicts = 5;

class StatusWriter {
public:
    // find: null for a pod that is not known any more. All outlive it.
    StatusWriter(client::Client& client, const NodeSettings& node,
                 std::function<std::shared_ptr<PodEntry>(const std::string& uid)> find,
                 std::function<std::int64_t()> now_ms);
    ~StatusWriter();
    StatusWriter(const StatusWriter&) = delete;
    StatusWriter& operator=(const StatusWriter&) = delete;

    void changed(const std::string& uid) { queue_.add(uid); }
    void changed_later(const std::string& uid) { queue_.add_after(uid, kFirstStatusDelay); }
    // Writes now; with remove the object is deleted afterwards, without grace, if it is still the same.
    Result<void> finish(PodEntry& entry, bool remove);

private:
    void work(const std::stop_token& stop);
    Result<void> write(PodEntry& entry);

    client::Client& client_;
    const NodeSettings& node_;
    std::function<std::shared_ptr<PodEntry>(const std::string& uid)> find_;
    std::function<std::int64_t()> now_ms_;
    client::WorkQueue queue_;
    std::vector<std::jthread> threads_;
};

}  // namespace sluice::kubelet
