// How a snapshot leaves a running server: a unix socket in the data directory (which only its owner can
// enter) that sends one to whoever connects, and closes.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "api/base/result.h"
#include "control/store/store.h"

namespace sluice::control {

class SnapshotSocket {
public:
    // The store outlives it. What an earlier process left at the path is replaced.
    static Result<std::unique_ptr<SnapshotSocket>> listen(const std::string& data_dir,
                                                          const store::Store& store);
    // Ends a transfer that is under way.
    ~SnapshotSocket();
    SnapshotSocket(const SnapshotSocket&) = delete;
    SnapshotSocket& operator=(const SnapshotSocket&) = delete;

private:
    SnapshotSocket(int fd, std::string path, const store::Store& store);
    void run();
    Result<void> send_to(int client);

    const int fd_;
    const std::string path_;
    const store::Store& store_;
    std::atomic<bool> stopping_{false};
    std::thread thread_;
};

// The bytes of a snapshot of the server that runs on this data directory; kUnavailable when none does.
Result<std::string> fetch_snapshot(const std::string& data_dir);

}  // namespace sluice::control
