// The bookkeeping around the pure part: which objects there are, which services must be compiled again, and
// what changed since the last time. The result depends only on the objects, never on the order they came in.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "agent/compile/compile.h"
#include "agent/compile/model.h"
#include "dataplane/image/desired.h"

namespace sluice::compile {

// Limits of the whole state; objects beyond them are refused with a note and counted.
inline constexpr std::size_t kMaxServices = 200'000;
inline constexpr std::size_t kMaxSlices = 1'000'000;

// What a load balancer that asks at a service's healthCheckNodePort wants to know.
struct HealthCheck {
    std::uint16_t port = 0;
    std::size_t local_endpoints = 0;  // count_local_ready()
    auto operator<=>(const HealthCheck&) const = default;
};
using HealthChecks = std::map<std::string, HealthCheck>;  // by service

struct Progress {
    image::Change change;
    bool health_checks_changed = false;
    std::vector<std::string> notes;      // new sentences for the log
    std::size_t compiled = 0;            // services looked at
    std::size_t no_local_internal = 0;   // service ports that drop for want of a local endpoint, in all
    std::size_t no_local_external = 0;
};

// One thread. Not an engine's mirror: after a failed apply the caller still owes the change.
class State {
public:
    explicit State(std::string node_name,
                   image::Forwarding forwarding = image::Forwarding::kNat)
        : node_{std::move(node_name), {}, {}, forwarding} {}

    void upsert(const corev1::Service& service);
    void remove_service(const std::string& key);  // "namespace/name"
    void upsert(const discoveryv1::EndpointSlice& slice);
    void remove_slice(const std::string& key);
    // Every service whose endpoints carry zone hints is compiled again if the zone is another.
    void set_zone(const std::string& zone);
    // The node's own addresses, in any order. Services with source ranges are compiled again if they are others.
    void set_addresses(std::vector<IpAddress> addresses);

    // Compiles what is dirty and returns the difference to the previous call. Upserts and removals are sorted.
    Progress take();
    // All that the calls of take() so far amount to, sorted by key.
    [[nodiscard]] std::vector<image::Service> all() const;

    // Of the services that have a healthCheckNodePort, as of the last take().
    [[nodiscard]] const HealthChecks& health_checks() const { return health_checks_; }

    [[nodiscard]] bool dirty() const { return !dirty_.empty(); }
    [[nodiscard]] std::size_t services() const { return services_; }
    [[nodiscard]] std::size_t slices() const { return slice_owner_.size(); }

private:
    struct Claimed {
        image::ServiceKey key;
        std::vector<image::Frontend> frontends;
    };
    struct Entry {
        std::optional<ServiceFacts> facts;
        Slices slices;
        std::vector<Claimed> claimed;  // sorted by key
        std::int64_t claimed_created_s = 0;
        std::vector<image::Service> compiled;  // after claims were settled; as take() reported it
        std::vector<std::string> lost;         // notes about claims that others have
    };
    // One frontend as packets see it.
    using Place = std::tuple<image::Scope, IpFamily, IpAddress, std::uint16_t, Protocol>;
    // Lower is better: a cluster IP before an external address, then the older service, then by name, so that nobody
    // takes an address over by claiming it later.
    using Claim = std::tuple<bool, std::int64_t, image::ServiceKey>;

    static Place place_of(const image::ServiceKey& key, const image::Frontend& frontend);
    // Replaces what the service claims, and marks everyone dirty who shares a place with it.
    void claim(const std::string& key, Entry& entry, const std::vector<image::Service>& services);
    // Takes from *services the frontends that belong to others; returns a note for each.
    std::vector<std::string> settle(const std::string& key,
                                    std::vector<image::Service>* services) const;
    void drop_slice(const std::string& key);
    void count(const std::vector<image::Service>& services, int sign);
    // Brings health_checks_ in line with the entry; true if it was not.
    bool update_health_check(const std::string& key, const Entry& entry);

    NodeFacts node_;
    std::unordered_map<std::string, Entry> entries_;                // by service
    std::unordered_map<std::string, std::string> slice_owner_;      // slice to service
    std::set<std::string> dirty_;                                   // services to compile
    std::map<Place, std::set<Claim>> claims_;
    std::vector<std::string> notes_;
    HealthChecks health_checks_;
    std::size_t services_ = 0;
    std::int64_t no_local_internal_ = 0;
    std::int64_t no_local_external_ = 0;
};

}  // namespace sluice::compile
