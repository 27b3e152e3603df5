// Hints of all Services: puts them on slices as each Service asks, tells people when a Service
// with service.kubernetes.io/topology-mode Auto gains or loses them, and knows which Services are
// to be looked at again when nodes have changed.
//
// Thread-safe. Memory: the counts of zones for each Service with topology-mode Auto.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "control/controllers/endpointslice/hints.h"
#include "control/controllers/endpointslice/proportion.h"

namespace sluice::controllers::endpoints {

class Topology {
public:
    // An event about the Service.
    struct Told {
        bool warning = false;
        std::string reason;
        std::string message;
    };

    // nodes: all of them, now; called by hint() and outdated().
    explicit Topology(std::function<std::vector<NodePtr>()> nodes) : nodes_(std::move(nodes)) {}

    // Sets or removes the hints of one address type's slices. service: "namespace/name". Events
    // come once for each change of what there is to say.
    [[nodiscard]] std::vector<Told> hint(const std::string& service, const corev1::Service& object,
                                         const std::string& address_type, Changes* changes);
    // The Service has no slices of that type any more, or none at all.
    void forget(const std::string& service, const std::string& address_type);
    void forget(const std::string& service);

    // To be called when capacity_of() a node has changed. Cheap; never waits.
    void nodes_changed() { stale_ = true; }
    // Services whose hints do not suit the nodes as they are now, and those that had none before a
    // change of the nodes.
    [[nodiscard]] std::vector<std::string> outdated();

private:
    struct Record {
        std::uint64_t version = 0;  // of the shares it was made with
        Proportion proportion;
    };
    using Records = std::map<std::string, Record>;  // [address type]

    void refresh_locked();
    [[nodiscard]] bool has_hints_locked(const std::string& service) const;

    const std::function<std::vector<NodePtr>()> nodes_;
    std::atomic<bool> stale_{true};
    std::mutex mutex_;
    ZoneShares shares_;
    std::uint64_t version_ = 0;               // grows when shares_ differ
    std::map<std::string, Records> records_;  // [service]
};

}  // namespace sluice::controllers::endpoints
