// See announced.h.
#include "dataplane/dpdk/routing/announced.h"

#include <algorithm>
#include <cstring>

#include "bpf/lib/view_memory.h"
// The view comes first: the look-up is written against it.
#include "bpf/lib/lookup.h"
#include "dataplane/dpdk/routing/discovery.h"

namespace sluice::dpdk {
namespace {

constexpr std::uint64_t kNoPass = 1;  // generations of a finished publication are even

std::uint64_t generation_of(const image::Tables& tables) {
    return __atomic_load_n(&tables.header->generation, __ATOMIC_ACQUIRE);
}

IpAddress address_of(const sluice_address& words) {
    IpAddress out;
    std::memcpy(out.bytes.data(), words.word_be, out.bytes.size());
    return out;
}

// The address as a whole: a ClusterIP's is owned, a node's is the host's.
bool is_taken(const sluice_view& view, const sluice_address& address) {
    sluice_frontend_key whole{};
    whole.address = address;
    std::uint32_t index = 0;
    return sluice_find_frontend(&view, &whole, &index) != nullptr;
}

}  // namespace

void Announced::use(const image::Tables& tables) {
    tables_ = tables;
    capacity_ = tables.header == nullptr ? 0 : tables.header->frontend_capacity;
    finished_with_ = kNoPass;
    running_ = false;
}

void Announced::use(std::span<const Interface> interfaces) {
    interfaces_.assign(interfaces.begin(), interfaces.end());
    for (Interface& interface : interfaces_) {
        if (!interface.announce) interface.addresses.clear();
        // Link-local addresses are nobody's service, and say nothing about others.
        std::erase_if(interface.addresses, [](const InterfaceAddress& own) {
            return !own.address.is_v4() && own.address.is_link_local();
        });
    }
    finished_with_ = kNoPass;
    running_ = false;
}

bool Announced::behind() const {
    if (running_) return true;
    if (tables_.header == nullptr) return !entries_.empty();
    return finished_with_ != generation_of(tables_);
}

void Announced::step() {
    if (!behind()) return;
    if (tables_.header == nullptr) {
        entries_.clear();
        return;
    }
    if (!running_) {
        running_ = true;
        began_with_ = generation_of(tables_);
        next_ = 0;
        ++pass_;
    }
    const bool none = std::all_of(interfaces_.begin(), interfaces_.end(),
                                  [](const Interface& interface) { return interface.addresses.empty(); });
    if (none) next_ = capacity_;
    const std::uint32_t end = next_ + std::min(kFrontendsPerStep, capacity_ - next_);
    for (; next_ < end; ++next_) consider(next_);
    if (next_ == capacity_) finish();
}

bool Announced::stands(std::uint32_t frontend, const IpAddress& address) const {
    const sluice_view view = image::view_of(tables_);
    const sluice_frontend* const record = sluice_view_frontend(&view, frontend);
    if (record == nullptr) return false;
    const sluice_frontend copy = *record;
    if ((copy.flags & SLUICE_FRONTEND_EXTERNAL) == 0 || copy.key.scope != SLUICE_SCOPE_ADDRESS ||
        copy.key.protocol == 0 || address_of(copy.key.address) != address) {
        return false;
    }
    // A record that was unpublished stays as it is until it is used again.
    std::uint32_t published = 0;
    if (sluice_find_frontend(&view, &copy.key, &published) == nullptr || published != frontend)
        return false;
    const sluice_service* const service = sluice_view_service(&view, copy.service);
    if (service == nullptr) return false;
    const std::uint64_t word =
        __atomic_load_n(&service->word[SLUICE_TRAFFIC_EXTERNAL], __ATOMIC_RELAXED);
    if (sluice_word_count(word) == 0 && sluice_word_first(word) == SLUICE_EMPTY_DROP) return false;
    return !is_taken(view, copy.key.address);
}

void Announced::consider(std::uint32_t frontend) {
    const sluice_frontend& record = tables_.frontends[frontend];
    if ((record.flags & SLUICE_FRONTEND_EXTERNAL) == 0 || record.key.protocol == 0) return;
    const IpAddress address = address_of(record.key.address);
    for (std::size_t i = 0; i < interfaces_.size(); ++i) {
        if (interfaces_[i].addresses.empty() || !on_link(interfaces_[i], address) ||
            has_address(interfaces_[i], address)) {
            continue;
        }
        if (!stands(frontend, address)) return;
        const Key key{static_cast<std::uint16_t>(i), address};
        const auto found = entries_.find(key);
        if (found != entries_.end()) {
            if (found->second.pass != pass_) found->second = {frontend, pass_};
        } else if (entries_.size() >= kMaxAnnounced) {
            ++counters_.announced_full;
        } else {
            entries_.emplace(key, Entry{frontend, pass_});
            added_.push_back(key);
        }
    }
}

void Announced::finish() {
    running_ = false;
    std::erase_if(entries_, [&](const auto& entry) { return entry.second.pass != pass_; });
    // What was published meanwhile may lie before what was read last: another pass.
    finished_with_ =
        generation_of(tables_) == began_with_ && began_with_ % 2 == 0 ? began_with_ : kNoPass;
}

bool Announced::owns(std::uint16_t interface, const IpAddress& address) const {
    const auto found = entries_.find({interface, address});
    return found != entries_.end() && tables_.header != nullptr &&
           stands(found->second.frontend, address);
}

std::vector<std::pair<std::uint16_t, IpAddress>> Announced::take_added() {
    return std::exchange(added_, {});
}

std::vector<std::pair<std::uint16_t, IpAddress>> Announced::list() const {
    std::vector<Key> out;
    for (const auto& [key, entry] : entries_) {
        if (owns(key.first, key.second)) out.push_back(key);
    }
    return out;
}

}  // namespace sluice::dpdk
