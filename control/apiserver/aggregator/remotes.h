// All remotes at one moment: follows the APIServices that name a Service, those Services and their EndpointSlices.
//
//   APIServices, Services, EndpointSlices --observation--> what they are --thread--> one immutable snapshot
//
// Group versions that are served here are never another server's. Services and EndpointSlices are followed only while
// there is such an APIService.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "control/apiserver/aggregator/remote.h"
#include "control/apiserver/registry/api.h"

namespace sluice::aggregator {

// APIServices with a Service that are served; the others, by name, are as if they were not there.
inline constexpr std::size_t kMaxRemotes = 500;

using RemoteMap = std::map<std::string, RemotePtr, std::less<>>;  // by "GROUP/VERSION"

// Thread-safe.
class Remotes {
public:
    // changed: called after each new snapshot, by one thread at a time.
    Remotes(registry::Api& api, FrontProxy us, std::function<void()> changed);
    ~Remotes();
    Remotes(const Remotes&) = delete;
    Remotes& operator=(const Remotes&) = delete;

    // Returns when everything that is in the store now is known.
    Result<void> start();
    void stop();
    [[nodiscard]] std::shared_ptr<const RemoteMap> snapshot() const;
    // Whether there is any remote: a look at one flag.
    [[nodiscard]] bool any() const { return any_.load(std::memory_order_acquire); }
    // How many APIServices are left out (kMaxRemotes), now.
    [[nodiscard]] std::size_t refused() const;

private:
    using Key = std::pair<std::string, std::string>;  // namespace and name
    void seen(const registry::Observed& observed);
    void seen_service(const registry::Observed& observed);
    void seen_slice(const registry::Observed& observed);
    void work();
    // The Services that are named, if they are others than those followed; then they are followed.
    Result<void> follow();
    void rebuild();
    // REQUIRES: the mutex. Reads the machine's authorities when they are asked for first.
    void trust_system();

    registry::Api& api_;
    FrontProxy us_;
    const std::function<void()> changed_;
    mutable std::mutex mutex_;
    std::condition_variable wake_;
    bool dirty_ = false;
    bool stopping_ = false;
    std::map<std::string, MessagePtr> objects_;  // APIServices with a Service, by name
    std::set<Key> followed_;                     // Services that are named
    std::map<Key, MessagePtr> services_;
    std::map<Key, std::pair<Key, MessagePtr>> slices_;  // by their own key: whose they are
    std::shared_ptr<const RemoteMap> snapshot_ = std::make_shared<const RemoteMap>();
    std::size_t refused_ = 0;
    std::atomic<bool> any_{false};
    std::unique_ptr<registry::Observation> of_objects_;
    // Touched by the thread alone, and before and after it.
    std::unique_ptr<registry::Observation> of_services_;
    std::unique_ptr<registry::Observation> of_slices_;
    std::thread thread_;
};

}  // namespace sluice::aggregator
