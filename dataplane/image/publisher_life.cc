// The publisher's beginning and end: taking over from an image, moving to a larger one, and what is
// retired.
#include <arpa/inet.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "dataplane/image/publisher.h"

namespace sluice::image {

std::size_t Publisher::KeyHash::operator()(const ServiceKey& key) const noexcept {
    std::size_t hash = std::hash<std::string>{}(key.service);
    hash = hash * 31 + std::hash<std::string>{}(key.port);
    return hash * 31 + static_cast<std::size_t>(key.protocol) * 16 +
           static_cast<std::size_t>(key.family);
}

Publisher::Publisher(const Tables& tables, const Carried& carried)
    : tables_(tables),
      wanted_(capacities_of(*tables.header)),
      services_free_(wanted_.services),
      backends_free_(wanted_.backends),
      sets_free_(wanted_.set_slots),
      names_free_(wanted_.name_bytes / kNameUnit),
      ranges_free_(wanted_.ranges),
      rings_(wanted_.ring_lines),
      keys_(wanted_.services),
      frontends_(wanted_.frontends,
                 [this](std::uint32_t a, std::uint32_t b) {
                     SLUICE_ASSERT(keys_[a] != nullptr && keys_[b] != nullptr);
                     return *keys_[a] < *keys_[b];
                 }),
      carried_services_(wanted_.services) {
    SLUICE_ASSERT(carried.backends.size() <= wanted_.backends);
    // Offset 0 is the empty name.
    names_free_.take(1);
    std::vector<bool> services_taken(carried.usage.services);
    std::vector<bool> backends_taken(carried.backends.size());
    std::vector<bool> known(carried.usage.services);
    for (const auto& [identity, index] : carried.services) {
        SLUICE_ASSERT(index < wanted_.services);
        carried_index_.emplace(identity, index);
        services_taken[index] = true;
        known[index] = true;
    }
    for (std::uint32_t i = 0; i < carried.backends.size(); ++i) {
        sluice_backend& backend = tables_.backends[i];
        backend = carried.backends[i];
        backend.name = 0;
        if (backend.incarnation % 2 == 0) {
            continue;
        }
        if (backend.service < known.size() && known[backend.service]) {
            carried_backends_[backend.service].push_back(i);
            backends_taken[i] = true;
        } else {
            ++backend.incarnation;
        }
    }
    services_free_.reset(services_taken);
    backends_free_.reset(backends_taken);
    for (auto& [service, backends] : carried_backends_) {
        std::sort(backends.begin(), backends.end(), [&](std::uint32_t a, std::uint32_t b) {
            const sluice_backend& left = tables_.backends[a];
            const sluice_backend& right = tables_.backends[b];
            const int order = std::memcmp(&left.address, &right.address, sizeof(left.address));
            return order != 0 ? order < 0 : ntohs(left.port_be) < ntohs(right.port_be);
        });
    }
}

void Publisher::finish_carrying() {
    begin_change();
    for (const auto& [service, backends] : carried_backends_) {
        for (const std::uint32_t backend : backends) {
            retire_backend(backend);
        }
    }
    for (const auto& [identity, index] : carried_index_) {
        retired_.services.push_back(index);
    }
    carried_backends_.clear();
    carried_index_.clear();
    end_change();
}

Result<void> Publisher::copy_into(const Tables& successor) const {
    const sluice_header& from = *tables_.header;
    const sluice_header& to = *successor.header;
    SLUICE_ASSERT(to.frontend_capacity >= from.frontend_capacity &&
                  to.service_capacity >= from.service_capacity &&
                  to.set_slot_capacity >= from.set_slot_capacity &&
                  to.backend_capacity >= from.backend_capacity &&
                  to.name_bytes >= from.name_bytes &&
                  to.ring_line_capacity >= from.ring_line_capacity &&
                  to.range_capacity >= from.range_capacity);
    std::copy_n(tables_.frontends, from.frontend_capacity, successor.frontends);
    std::copy_n(tables_.services, from.service_capacity, successor.services);
    std::copy_n(tables_.sets, from.set_slot_capacity, successor.sets);
    std::copy_n(tables_.backends, from.backend_capacity, successor.backends);
    std::copy_n(tables_.names, from.name_bytes, successor.names);
    std::copy_n(tables_.ring_lines, from.ring_line_capacity, successor.ring_lines);
    std::copy_n(tables_.ranges, from.range_capacity, successor.ranges);
    if (!frontends_.rebuild(successor)) {
        return make_error(Code::kResourceExhausted, "table sluice_buckets is full");
    }
    return {};
}

void Publisher::switch_to(const Tables& successor) {
    tables_ = successor;
    wanted_ = capacities_of(*successor.header);
    services_free_.extend(wanted_.services);
    backends_free_.extend(wanted_.backends);
    sets_free_.extend(wanted_.set_slots);
    names_free_.extend(wanted_.name_bytes / kNameUnit);
    ranges_free_.extend(wanted_.ranges);
    rings_.extend(wanted_.ring_lines);
    frontends_.extend(wanted_.frontends);
    keys_.resize(wanted_.services);
    carried_services_.resize(wanted_.services);
}

Retired Publisher::take_retired() {
    return std::exchange(retired_, Retired{});
}

void Publisher::release(const Retired& retired) {
    frontends_.release(retired.frontends);
    for (const auto index : retired.services) services_free_.give_back(index);
    for (const auto index : retired.backends) backends_free_.give_back(index);
    for (const auto& run : retired.sets) sets_free_.give_back(run.first, run.count);
    for (const auto& run : retired.names) names_free_.give_back(run.first, run.count);
    for (const auto& run : retired.ranges) ranges_free_.give_back(run.first, run.count);
    rings_.release(retired.rings);
}

std::size_t Publisher::retired_count() const {
    return retired_.pieces();
}

Publisher::Published Publisher::published(const ServiceKey& key) const {
    Published out;
    const auto found = records_.find(key);
    if (found == records_.end()) {
        return out;
    }
    out.frontends = found->second.frontends;
    out.backends.reserve(found->second.backends.size());
    for (const std::uint32_t index : found->second.backends) {
        out.backends.push_back(tables_.backends[index]);
    }
    return out;
}

std::vector<ServiceKey> Publisher::keys() const {
    std::vector<ServiceKey> out;
    out.reserve(records_.size());
    for (const auto& [key, record] : records_) {
        out.push_back(key);
    }
    return out;
}

Usage Publisher::usage() const {
    std::size_t backends = 0;
    for (const auto& [key, record] : records_) {
        backends += record.backends.size();
    }
    return Usage{records_.size(),
                 frontends_.size(),
                 backends,
                 sets_free_.in_use(),
                 std::size_t{names_free_.in_use()} * kNameUnit,
                 rings_.lines_in_use(),
                 ranges_free_.in_use()};
}

}  // namespace sluice::image
