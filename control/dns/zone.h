// The cluster's zone: an immutable snapshot that look-ups read, the builder that makes the next one
// from API objects, and the look-up itself.
//
//   watch thread: Builder.apply(objects) -> publish() -> Published ---(generation changed)--->
//   Reader, one a worker
//
// A snapshot is two arrays of kShards small maps. The next one shares all shards with the last but
// those that changed, so a change costs the same with 10 Services as with 100,000.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "api/base/ip_address.h"
#include "control/dns/message.h"
#include "control/dns/records.h"

namespace sluice::dns {

inline constexpr std::size_t kShards = 512;
// Aliases followed within the zone for one question.
inline constexpr int kMaxAliases = 8;
// Names told for one address, and addresses told beside one SRV answer.
inline constexpr std::size_t kMaxPointers = 16;
inline constexpr std::size_t kMaxExtraAddresses = 32;

// What is the same for all answers.
struct ZoneConfig {
    Name domain;                  // "cluster.local."
    std::vector<IpPrefix> owned;  // ranges whose unknown addresses have no name, here or elsewhere
    std::vector<IpAddress> addresses;  // of this server, for the name of the zone's name server
};

struct Snapshot {
    using Services = std::unordered_map<std::string, std::shared_ptr<const ServiceRecords>>;
    using Pointers = std::unordered_map<IpAddress, std::vector<Name>>;
    std::array<std::shared_ptr<const Services>, kShards> services;  // by "namespace/name"
    std::array<std::shared_ptr<const Pointers>, kShards>
        pointers;  // PTR targets by address, sorted
    std::shared_ptr<const std::set<std::string, std::less<>>> namespaces;
    std::uint32_t serial = 1;
    bool complete = false;  // all kinds have been listed; until then nothing is said not to exist

    [[nodiscard]] const ServiceRecords* find_service(std::string_view namespace_name,
                                                     std::string_view name) const;
    [[nodiscard]] const std::vector<Name>* find_pointers(const IpAddress& address) const;
};

// The present snapshot, for any number of threads.
class Published {
public:
    Published();
    void publish(std::shared_ptr<const Snapshot> next);
    [[nodiscard]] std::shared_ptr<const Snapshot> get() const;
    [[nodiscard]] std::uint64_t generation() const {
        return generation_.load(std::memory_order_acquire);
    }

private:
    mutable std::mutex mutex_;
    std::shared_ptr<const Snapshot> snapshot_;
    std::atomic<std::uint64_t> generation_{1};
};

// One thread's view: takes the mutex only when there is something new.
class Reader {
public:
    explicit Reader(const Published& published) : published_(published) {}
    // Valid until the next call.
    const Snapshot& current();

private:
    const Published& published_;
    std::shared_ptr<const Snapshot> snapshot_;
    std::uint64_t generation_ = 0;
};

// One thread. The state depends on the objects told last only, not on the order in which they came.
class Builder {
public:
    explicit Builder(Name domain);
    // An object as it is now, by its key "namespace/name"; null when it is gone.
    void set_service(const std::string& key, const ::k8s::io::api::core::v1::Service* service);
    void set_slice(const std::string& key,
                   const ::k8s::io::api::discovery::v1::EndpointSlice* slice);
    void set_namespace(const std::string& name, bool exists);
    void set_complete() { complete_ = changed_ = true; }
    // Null if nothing that is answered has changed since the last time. now_s becomes the serial,
    // if it is later.
    std::shared_ptr<const Snapshot> publish(std::uint32_t now_s);

private:
    void rebuild(const std::string& key);
    void move_pointers(const std::string& key, std::map<IpAddress, std::set<std::string>> next);
    void count_namespace(const std::string& key, int change);

    const Name domain_;
    std::map<std::string, ServiceFacts> services_;
    std::map<std::string, SliceFacts> slices_;                          // by the slice's key
    std::unordered_map<std::string, std::set<std::string>> slices_of_;  // Service -> slices
    // Which Service gives which address which labels ("" for the Service's own name), both ways.
    std::unordered_map<std::string, std::map<IpAddress, std::set<std::string>>> pointers_of_;
    std::unordered_map<IpAddress, std::map<std::string, std::set<std::string>>> pointers_;
    std::set<std::string> namespaces_;        // objects
    std::map<std::string, int> services_in_;  // namespace -> Services
    std::set<std::string> dirty_services_;
    std::set<IpAddress> dirty_addresses_;
    bool namespaces_changed_ = false;
    bool complete_ = false;
    bool changed_ = false;
    Snapshot next_;
};

// What the zone says to a question.
struct Answer {
    enum class Kind : std::uint8_t {
        kAnswer,   // authoritative
        kForeign,  // not of this zone: ask elsewhere
        kUnknown,  // of this zone, which is not complete yet: SERVFAIL
    };
    Kind kind = Kind::kAnswer;
    std::uint16_t rcode = 0;
    std::vector<Record> answers, authority, additional;
    // The answers end in an alias to this name, which is not of this zone.
    std::optional<Name> elsewhere;
};

// rotation: where in its cyclic order each set of records begins (any number). limit: bytes of the
// answer; no more records are made than can be sent (one too many, so that TC is set). Any thread.
[[nodiscard]] Answer resolve(const Snapshot& snapshot, const ZoneConfig& config,
                             const Question& question, std::uint32_t rotation, std::size_t limit);

}  // namespace sluice::dns
