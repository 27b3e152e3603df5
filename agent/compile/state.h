// The bookkeeping around the pure part: which objects there are, which services must be compiled again, and
// what changed since the last time. The result depends only on the objects, never on the order they came in.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/compile/claims.h"
#include "agent/compile/compile.h"
#include "agent/compile/fingerprint.h"
#include "agent/compile/model.h"
#include "agent/compile/packed.h"
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

// What take() reports: the change, or only that there was one, for a caller who will ask for all().
enum class Report : std::uint8_t { kChange, kNothing };

// One thread. Not an engine's mirror: after a failed apply the caller still owes the change.
//
// Memory: what was compiled is not kept, only its fingerprint; see README.md for the sizes.
class State {
public:
    explicit State(std::string node_name,
                   image::Forwarding forwarding = image::Forwarding::kNat)
        : node_{std::move(node_name), {}, {}, forwarding} {}
    // Its parts point into one another.
    State(const State&) = delete;
    State& operator=(const State&) = delete;

    void upsert(const corev1::Service& service);
    void remove_service(const std::string& key);  // "namespace/name"
    void upsert(const discoveryv1::EndpointSlice& slice);
    void remove_slice(const std::string& key);
    // Every service whose endpoints carry zone hints is compiled again if the zone is another.
    void set_zone(const std::string& zone);
    // The node's own addresses, in any order. Services with source ranges are compiled again if they are others.
    void set_addresses(std::vector<IpAddress> addresses);

    // Compiles what is dirty and returns the difference to the previous call. Upserts and removals are sorted.
    Progress take(Report report = Report::kChange);
    // All that the calls of take() so far amount to, sorted by key. Compiles everything again.
    // REQUIRES: !dirty().
    [[nodiscard]] std::vector<image::Service> all() const;

    // Of the services that have a healthCheckNodePort, as of the last take().
    [[nodiscard]] const HealthChecks& health_checks() const { return health_checks_; }

    [[nodiscard]] bool dirty() const { return !dirty_.empty(); }
    [[nodiscard]] std::size_t services() const { return services_; }
    [[nodiscard]] std::size_t slices() const { return slice_owner_.size(); }

private:
    // One port of one service in one family, as of the last take().
    struct Record {
        std::string port;  // its name
        Protocol protocol = Protocol::kTcp;
        IpFamily family = IpFamily::kIpv4;
        bool published = false;  // it is part of what take() reported; else it has lost all its frontends
        bool drops_internal = false;  // clients find no local endpoint
        bool drops_external = false;
        Fingerprint fingerprint;                // of what was reported
        std::vector<image::Frontend> claimed;   // in claims_
    };
    struct StoredSlice {
        const std::string* name;  // "namespace/name", in slice_owner_
        Packed packed;
    };
    struct Entry {
        Packed service;                   // none: only slices are there
        std::vector<StoredSlice> slices;  // sorted by name
        std::vector<Record> records;    // sorted by key; their names are pointed to by claims_
        std::int64_t claimed_created_s = 0;
        std::vector<std::string> lost;  // notes about claims that others have
        bool dirty = false;
    };
    // Its elements stay where they are, and are pointed to.
    using Entries = std::unordered_map<std::string, Entry>;  // by service
    using Node = Entries::value_type;

    static image::ServiceKey key_of(const Node& node, const Record& record);
    // What the entry holds; nullopt: no service.
    static std::optional<ServiceFacts> facts_of(const Node& node);
    static Slices slices_of(const Node& node);
    static std::vector<StoredSlice>::iterator place_in(std::vector<StoredSlice>& slices,
                                                       const std::string& name);
    static Place place_of(const Record& record, const image::Frontend& frontend);
    void mark(Node& node);
    void mark_other(const Claim& claim, const Node& node);
    // Brings the entry's records and claims in line with its facts, and marks everyone who shares a place with it.
    void claim(Node& node, Progress* progress);
    // Takes from *services the frontends that belong to others; returns a note for each.
    std::vector<std::string> settle(const std::string& key,
                                    std::vector<image::Service>* services) const;
    void compile(Node& node, Report report, Progress* progress);
    void withdraw(const Node& node, Record& record, Progress* progress);
    void drop_slice(const std::string& key);
    void count(const Record& record, int sign);
    // Brings health_checks_ in line with the entry; true if it was not.
    bool update_health_check(const std::string& key, const std::optional<ServiceFacts>& facts,
                             const Slices& slices);

    NodeFacts node_;
    Entries entries_;
    std::unordered_map<std::string, Node*> slice_owner_;  // slice to service
    std::vector<Node*> dirty_;                            // to compile; each once
    Claims claims_;
    std::vector<std::string> notes_;
    HealthChecks health_checks_;
    std::size_t services_ = 0;
    std::int64_t no_local_internal_ = 0;
    std::int64_t no_local_external_ = 0;
};

}  // namespace sluice::compile
