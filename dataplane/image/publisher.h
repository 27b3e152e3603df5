// Publishes desired services into a table image while packets are looked up in it.
//
// Order, so that every state a packet can see is complete: backends, ring, set slots, service word
// (one 8-byte release store); source ranges, then their word; frontend record, then bucket slot. A
// set and its ring change in one store, and so does a frontend; a service that changes several of
// them shows each in its old or its new state. What is unpublished is retired and may be used again
// only after release(), which the caller does after a grace period. A service is planned whole
// before anything of it is written: when a table is too full, nothing has changed, and wanted()
// says what image would do. The caller then makes one, copy_into()s it, turns the packet programs
// to it and switch_to()es it; indices stay, so flows do.
//
// One thread. The bookkeeping is about 200 bytes a service and 4 a backend; addresses are read back
// from the image.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "api/base/result.h"
#include "dataplane/image/allocator.h"
#include "dataplane/image/desired.h"
#include "dataplane/image/frontends.h"
#include "dataplane/image/layout.h"
#include "dataplane/image/rings.h"

namespace sluice::image {

// What does not change while an image lives: it is written into its header.
struct HeaderFacts {
    Node node;
    std::uint16_t snat_port_min = 1024;
    std::uint16_t snat_port_max = 29999;
    std::uint64_t hash_seed = 0;  // random
    std::uint32_t cpus = 0;       // that there can be; 0: not known, so that they may share counters
};

// Whether both nodes give the same header, so that only NodePort addresses differ.
bool same_header(const Node& a, const Node& b);

// Writes a header into an image of zeroes. kInvalidArgument: more than SLUICE_MAX_CIDRS ranges.
Result<void> write_header(const Tables& tables, const Capacities& capacities,
                          const HeaderFacts& facts, std::uint64_t generation);

// What a successor keeps of an image: which index a service and a backend had. Tolerates any
// content.
struct Carried {
    std::unordered_map<std::string, std::uint32_t> services;  // by identity()
    std::vector<sluice_backend> backends;
    std::uint64_t generation = 0;
    Usage usage;  // services and backends: one more than the highest index to keep

    static Carried from(const Tables& tables);
    // "namespace/name:port" with protocol and family: unique per ServiceKey.
    static std::string identity(std::string_view display, std::uint8_t protocol,
                                std::uint8_t family);
};

// Upper bound of what the services need.
Usage usage_of(const Node& node, std::span<const Service> services);

// Names are kept in units of this many bytes.
inline constexpr std::uint32_t kNameUnit = 8;

class Publisher {
public:
    // REQUIRES: write_header() was done, the capacities hold carried indices, and tables outlives
    // this.
    Publisher(const Tables& tables, const Carried& carried);

    // kInvalidArgument names the service and the field; kResourceExhausted the table: see wanted().
    Result<void> upsert(const Service& service);
    // Unknown services are none of its business. kResourceExhausted as above.
    Result<void> remove(const ServiceKey& key);
    Result<void> set_node_addresses(std::span<const IpAddress> addresses);
    // Drops what was carried and not taken up by an upsert. Once, before the image is published.
    void finish_carrying();

    [[nodiscard]] const Capacities& wanted() const { return wanted_; }
    // kResourceExhausted: a key found no bucket; try a larger image or another seed.
    Result<void> copy_into(const Tables& successor) const;
    void switch_to(const Tables& successor);

    // What was retired since the last call.
    Retired take_retired();
    void release(const Retired& retired);
    [[nodiscard]] std::size_t retired_count() const;

    [[nodiscard]] std::vector<ServiceKey> keys() const;
    // What a service has in the image; empty if it is not in it.
    struct Published {
        std::vector<Frontend> frontends;
        std::vector<sluice_backend> backends;  // by (address, port)
    };
    [[nodiscard]] Published published(const ServiceKey& key) const;
    [[nodiscard]] Usage usage() const;
    [[nodiscard]] const Tables& tables() const { return tables_; }
    // Services whose counters an earlier image holds at the same index.
    [[nodiscard]] const std::vector<bool>& carried_services() const { return carried_services_; }

private:
    // Of set slots, or of ranges. With a ring the slot before the first holds it: ring is its size
    // word, line its first.
    struct Run {
        std::uint32_t first = 0;
        std::uint32_t count = 0;
        std::uint32_t ring = 0;
        std::uint32_t line = 0;
        bool operator==(const Run&) const = default;
    };
    struct Record {
        std::uint32_t index = 0;
        std::uint32_t name = 0;
        std::vector<Frontend> frontends;
        std::vector<std::uint32_t> backends;  // indices, ordered by (address, port)
        std::array<Run, SLUICE_TRAFFIC_KINDS> runs;
        Run sources;
    };
    struct KeyHash {
        std::size_t operator()(const ServiceKey& key) const noexcept;
    };
    using Records = std::unordered_map<ServiceKey, Record, KeyHash>;
    struct Plan;
    class Taken;

    void plan_backends(const Service& service, const std::vector<std::uint32_t>& existing,
                       Plan& plan) const;
    void plan_frontends(const Service& service, const Record& record, Plan& plan) const;
    Result<void> take_room(const Service& service, Plan& plan, Taken& taken);
    Result<void> take_sets(const Service& service, const Record& record, Plan& plan, Taken& taken);
    Result<void> take_sources(const Service& service, const Record& record, Plan& plan,
                              Taken& taken);
    Result<void> take_service(const ServiceKey& key, Plan& plan, Taken& taken);
    // The index and the backends that the service had in the former image.
    void recall(const ServiceKey& key, Record& record, Plan& plan) const;
    static std::string identity_of(const ServiceKey& key);
    void publish(const Service& service, Record& record, Plan& plan, bool fresh);
    void write_backends(const Plan& plan, std::uint32_t service);
    void write_service(const Service& service, const Record& record, bool fresh);
    void write_sets(Plan& plan);
    void write_sources(const Service& service, const Plan& plan);
    void flip(const Service& service, const Record& record, std::size_t kind);
    void flip_sources(const Record& record);
    void retire_runs(const std::array<Run, SLUICE_TRAFFIC_KINDS>& former,
                     const std::array<Run, SLUICE_TRAFFIC_KINDS>& kept);
    void retire_sources(const Run& run);
    [[nodiscard]] bool run_holds(const Run& run, const std::vector<std::uint32_t>& members) const;
    [[nodiscard]] bool sources_hold(const Run& run, const std::vector<AddressRange>& ranges) const;
    void clear_served(std::uint32_t backend);
    void retire_backend(std::uint32_t index);
    void retire_name(std::uint32_t offset);
    void write_name(std::uint32_t offset, std::string_view text);
    [[nodiscard]] std::string_view name_at(std::uint32_t offset) const;
    void begin_change();
    void end_change();
    Error lack(Table table, const ServiceKey& key, std::size_t needed = 1);

    Tables tables_;
    Capacities wanted_;
    IndexAllocator services_free_;
    IndexAllocator backends_free_;
    RunAllocator sets_free_;
    RunAllocator names_free_;  // in units of 8 bytes
    RunAllocator ranges_free_;
    RingIndex rings_;
    Records records_;
    std::vector<const ServiceKey*> keys_;  // by service index; null if free
    FrontendIndex frontends_;
    Retired retired_;
    std::unordered_map<std::string, std::uint32_t> carried_index_;
    std::unordered_map<std::uint32_t, std::vector<std::uint32_t>> carried_backends_;
    std::vector<bool> carried_services_;
};

}  // namespace sluice::image
