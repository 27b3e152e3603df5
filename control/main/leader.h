// Leader election between the control planes on one store: of each component that must not act twice (controllers,
// scheduler) one runs, by a Lease as Kubernetes' own components elect theirs.
//
//   candidate --Lease free, or not renewed for kLeaseSeconds--> leader
//   leader --another one has it, or not renewed for kRenewDeadline--> candidate
//
// Whether a Lease has expired is judged by this machine's clock from when it was last seen to change, so that clocks
// need not agree.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "api/base/result.h"

namespace google::protobuf {
class Message;
}
namespace sluice::registry {
class Api;
}

namespace sluice::control {

inline constexpr int kLeaseSeconds = 15;
inline constexpr std::chrono::seconds kRenewDeadline{10};
inline constexpr std::chrono::seconds kRetryPeriod{2};

// Starts at once. The destructor ends what runs and gives the Lease up, so that another server need not wait.
class Leader {
public:
    using Running = std::shared_ptr<void>;
    // Starts the component; called by the leader's thread, which also destroys what it returns.
    using Start = std::function<Result<Running>()>;

    // name: of the Lease in kube-system. identity: of this process, and of no other. The Api outlives it.
    Leader(registry::Api& api, std::string name, std::string identity, Start start);
    ~Leader();
    Leader(const Leader&) = delete;
    Leader& operator=(const Leader&) = delete;

private:
    using Clock = std::chrono::steady_clock;
    // What was last seen of the Lease, and since when.
    struct Sight {
        std::string holder;
        std::string renewed;
        Clock::time_point since{};
    };
    // What one attempt has come to; shared with an answer that may come late.
    struct Attempt {
        std::mutex mutex;
        std::condition_variable answered;
        bool done = false;
        bool held = false;
        std::string failure;
        Sight sight;
    };

    void run();
    // True when the Lease is held, from before the call.
    bool renew();
    [[nodiscard]] std::unique_ptr<google::protobuf::Message> decide(const google::protobuf::Message* existing,
                                                                    Attempt* attempt) const;
    void stop_leading();
    void give_up();

    registry::Api& api_;
    const std::string name_;
    const std::string identity_;
    const Start start_;
    Sight sight_;      // of the thread
    Running running_;  // of the thread
    Clock::time_point renewed_{};  // of the thread: the Lease was held then
    std::mutex mutex_;
    std::condition_variable wake_;
    bool stopping_ = false;  // guarded by mutex_
    std::thread thread_;     // last: it uses everything above
};

}  // namespace sluice::control
