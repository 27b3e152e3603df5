// Whether other API servers can be reached and what they serve: the condition Available of their APIServices, and their
// discovery, asked for again and again.
//
//   Remotes --snapshot--> Checks: problem of Service or endpoints, else GET /apis/GROUP/VERSION --> condition, written
//                               `--passed--> GET /apis, /openapi/v3 --> RemoteVersions, for discovery and OpenAPI
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "control/apiserver/aggregator/published.h"
#include "control/apiserver/aggregator/remotes.h"
#include "control/http/client.h"

namespace sluice::aggregator {

// Between two looks at a server that is there; after a failure it is sooner, and later each time up to this.
inline constexpr std::chrono::milliseconds kCheckInterval{30'000};
inline constexpr std::chrono::milliseconds kFirstRetryInterval{250};
// For all questions to one server in one look.
inline constexpr std::chrono::milliseconds kCheckTimeout{5'000};
// Places of one Service that are asked at once; one that answers is enough.
inline constexpr std::size_t kMaxAskedPlaces = 5;

// Writes the condition of the APIService; does nothing when it is so already.
using WriteCondition = std::function<void(const std::string& name, const Availability& state)>;

// Thread-safe.
class Checks {
public:
    using Publish = std::function<void(std::vector<RemoteVersion>)>;

    // publish: called after each change of what is served, by one thread at a time.
    Checks(WriteCondition write, Publish publish);
    ~Checks();
    Checks(const Checks&) = delete;
    Checks& operator=(const Checks&) = delete;

    // What there is from now on; new and changed remotes are looked at at once.
    void set(std::shared_ptr<const RemoteMap> remotes);
    void start();
    void stop();
    // aggregator_unavailable_apiservice and its counter, as Prometheus text.
    [[nodiscard]] std::string metrics() const;

private:
    using Clock = std::chrono::steady_clock;
    // What is known of one remote.
    struct State {
        RemotePtr remote;
        std::string fingerprint;
        Clock::time_point due;
        std::chrono::milliseconds retry = kFirstRetryInterval;
        Availability last;
        RemoteVersion served;
        std::map<std::string, std::uint64_t> failures;  // how often it became unavailable, by reason
    };
    // The questions to one server.
    struct Look;

    void work();
    void look_at(std::vector<RemotePtr> remotes);
    void ask(Look& look);
    void hear(Look& look);
    void conclude(Look& look);

    const WriteCondition write_;
    const Publish publish_;
    mutable std::mutex mutex_;
    std::condition_variable wake_;
    bool stopping_ = false;
    bool published_stale_ = false;  // what was published is not what is known
    std::map<std::string, State> states_;  // by the APIService's name
    std::size_t turn_ = 0;
    std::unique_ptr<http::Client> client_;
    std::thread thread_;
};

}  // namespace sluice::aggregator
