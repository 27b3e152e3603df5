// Snapshots and how they are made: see zone.h.
#include <algorithm>
#include <functional>

#include "api/base/log.h"
#include "api/kubernetes/core/v1/service.pb.h"
#include "api/kubernetes/discovery/v1/endpointslice.pb.h"
#include "control/dns/zone.h"

namespace sluice::dns {
namespace {

std::size_t shard_of(std::string_view key) {
    return std::hash<std::string_view>()(key) % kShards;
}
std::size_t shard_of(const IpAddress& address) {
    return std::hash<IpAddress>()(address) % kShards;
}

std::string namespace_of(const std::string& key) {
    return key.substr(0, key.find('/'));
}

// Names of the labels that Services give to one address.
std::vector<Name> pointer_names(const std::map<std::string, std::set<std::string>>& services,
                                const Name& domain) {
    std::vector<Name> out;
    for (const auto& [key, labels] : services) {
        const std::size_t slash = key.find('/');
        const std::string namespace_name = key.substr(0, slash);
        const std::string service = key.substr(slash + 1);
        const auto base = Name::join({service, namespace_name, "svc"}, domain);
        if (!base) continue;
        for (const auto& label : labels) {
            if (out.size() == kMaxPointers) return out;
            const auto name = label.empty() ? base : Name::join({label}, *base);
            if (name) out.push_back(*name);
        }
    }
    return out;
}

}  // namespace

const ServiceRecords* Snapshot::find_service(std::string_view namespace_name,
                                             std::string_view name) const {
    std::string key;
    key.reserve(namespace_name.size() + 1 + name.size());
    key.append(namespace_name).append("/").append(name);
    const Services& shard = *services[shard_of(key)];
    const auto at = shard.find(key);
    return at == shard.end() ? nullptr : at->second.get();
}

const std::vector<Name>* Snapshot::find_pointers(const IpAddress& address) const {
    const Pointers& shard = *pointers[shard_of(address)];
    const auto at = shard.find(address);
    return at == shard.end() ? nullptr : &at->second;
}

Published::Published() : snapshot_(Builder(Name()).publish(1)) {}

void Published::publish(std::shared_ptr<const Snapshot> next) {
    const std::lock_guard lock(mutex_);
    snapshot_.swap(next);
    generation_.fetch_add(1, std::memory_order_release);
}

std::shared_ptr<const Snapshot> Published::get() const {
    const std::lock_guard lock(mutex_);
    return snapshot_;
}

const Snapshot& Reader::current() {
    const std::uint64_t generation = published_.generation();
    if (generation != generation_) {
        // What is taken may be newer than this generation; then it is taken once more.
        snapshot_ = published_.get();
        generation_ = generation;
    }
    return *snapshot_;
}

Builder::Builder(Name domain) : domain_(domain.lower()), changed_(true) {
    const auto services = std::make_shared<const Snapshot::Services>();
    const auto pointers = std::make_shared<const Snapshot::Pointers>();
    next_.services.fill(services);
    next_.pointers.fill(pointers);
    next_.namespaces = std::make_shared<const std::set<std::string, std::less<>>>();
}

void Builder::count_namespace(const std::string& key, int change) {
    const std::string name = namespace_of(key);
    const int count = services_in_[name] += change;
    if (count == 0) services_in_.erase(name);
    if ((change > 0 && count == 1) || count == 0) namespaces_changed_ = true;
}

void Builder::set_service(const std::string& raw_key,
                          const ::k8s::io::api::core::v1::Service* service) {
    const std::string key = to_lower(raw_key);
    const auto known = services_.find(key);
    if (service != nullptr) {
        auto facts = service_facts(*service);
        if (facts) {
            if (known != services_.end() && known->second == *facts) return;
            if (known == services_.end()) count_namespace(key, 1);
            services_.insert_or_assign(key, std::move(*facts));
            rebuild(key);
            return;
        }
        log::warn("dns", "{}; it is not resolved", facts.error().message);
    }
    if (known == services_.end()) return;
    count_namespace(key, -1);
    services_.erase(known);
    rebuild(key);
}

void Builder::set_slice(const std::string& key,
                        const ::k8s::io::api::discovery::v1::EndpointSlice* slice) {
    SliceFacts facts;
    if (slice != nullptr) facts = slice_facts(*slice);
    const auto known = slices_.find(key);
    std::string before;
    if (known != slices_.end()) {
        if (known->second == facts) return;
        before = known->second.service;
    }
    const std::string after = facts.service;
    if (!before.empty() && before != after) {
        const auto owner = slices_of_.find(before);
        owner->second.erase(key);
        if (owner->second.empty()) slices_of_.erase(owner);
    }
    if (after.empty()) {
        slices_.erase(key);
    } else {
        slices_.insert_or_assign(key, std::move(facts));
        slices_of_[after].insert(key);
    }
    for (const auto& service : std::set<std::string>{before, after}) {
        const auto affected = services_.find(service);
        if (affected != services_.end() && affected->second.headless) rebuild(service);
    }
}

void Builder::set_namespace(const std::string& raw_name, bool exists) {
    const std::string name = to_lower(raw_name);
    const bool changed = exists ? namespaces_.insert(name).second : namespaces_.erase(name) > 0;
    namespaces_changed_ = namespaces_changed_ || changed;
}

// Only marks: a batch may tell of the same Service many times.
void Builder::rebuild(const std::string& key) {
    dirty_services_.insert(key);
}

void Builder::move_pointers(const std::string& key,
                            std::map<IpAddress, std::set<std::string>> next) {
    auto& present = pointers_of_[key];
    for (const auto& [address, labels] : present) {
        const auto kept = next.find(address);
        if (kept != next.end() && kept->second == labels) continue;
        const auto services = pointers_.find(address);
        services->second.erase(key);
        if (services->second.empty()) pointers_.erase(services);
        dirty_addresses_.insert(address);
    }
    for (const auto& [address, labels] : next) {
        const auto had = present.find(address);
        if (had != present.end() && had->second == labels) continue;
        pointers_[address][key] = labels;
        dirty_addresses_.insert(address);
    }
    present = std::move(next);
    if (present.empty()) pointers_of_.erase(key);
}

std::shared_ptr<const Snapshot> Builder::publish(std::uint32_t now_s) {
    if (dirty_services_.empty() && !namespaces_changed_ && !changed_) return nullptr;
    std::map<std::size_t, std::shared_ptr<Snapshot::Services>> service_shards;
    for (const auto& key : dirty_services_) {
        auto& shard = service_shards[shard_of(key)];
        if (!shard) {
            shard = std::make_shared<Snapshot::Services>(*next_.services[shard_of(key)]);
        }
        std::map<IpAddress, std::set<std::string>> pointers;
        const auto facts = services_.find(key);
        if (facts == services_.end()) {
            shard->erase(key);
        } else {
            std::vector<const SliceFacts*> slices;
            if (const auto owned = slices_of_.find(key); owned != slices_of_.end()) {
                for (const auto& slice : owned->second) slices.push_back(&slices_.at(slice));
            }
            auto records =
                std::make_shared<const ServiceRecords>(make_records(facts->second, slices));
            if (records->headless) {
                for (const auto& host : records->hosts) {
                    for (const auto& address : host.addresses) pointers[address].insert(host.label);
                }
            } else {
                for (const auto& address : records->addresses) pointers[address].insert("");
            }
            (*shard)[key] = std::move(records);
        }
        move_pointers(key, std::move(pointers));
    }
    for (auto& [index, shard] : service_shards) next_.services[index] = std::move(shard);

    std::map<std::size_t, std::shared_ptr<Snapshot::Pointers>> pointer_shards;
    for (const auto& address : dirty_addresses_) {
        auto& shard = pointer_shards[shard_of(address)];
        if (!shard) {
            shard = std::make_shared<Snapshot::Pointers>(*next_.pointers[shard_of(address)]);
        }
        const auto services = pointers_.find(address);
        if (services == pointers_.end()) {
            shard->erase(address);
        } else {
            (*shard)[address] = pointer_names(services->second, domain_);
        }
    }
    for (auto& [index, shard] : pointer_shards) next_.pointers[index] = std::move(shard);

    if (namespaces_changed_) {
        auto all = std::make_shared<std::set<std::string, std::less<>>>(namespaces_.begin(),
                                                                        namespaces_.end());
        for (const auto& [name, count] : services_in_) all->insert(name);
        next_.namespaces = std::move(all);
    }
    dirty_services_.clear();
    dirty_addresses_.clear();
    namespaces_changed_ = changed_ = false;
    next_.complete = complete_;
    next_.serial = std::max(next_.serial + 1, now_s);
    return std::make_shared<const Snapshot>(next_);
}

}  // namespace sluice::dns
