#include "dataplane/image/rings.h"

#include <algorithm>
#include <cstring>

#include "api/base/result.h"

namespace sluice::image {

bool needs_ring(const Service& service, const BackendSet& set) {
    const auto& backends = set.backends;
    if (backends.empty()) {
        return false;
    }
    return service.choice != Choice::kRandom ||
           std::any_of(backends.begin(), backends.end(), [&](const Backend& backend) {
               return backend.weight != backends.front().weight;
           });
}

RingMembers ring_members(const BackendSet& set) {
    RingMembers out;
    out.reserve(set.backends.size());
    for (const Backend& backend : set.backends) {
        out.push_back({backend.address, backend.port, static_cast<std::uint16_t>(backend.weight)});
    }
    return out;
}

std::uint32_t ring_size_word(const RingMembers& members, Choice choice) {
    std::uint32_t word = ring_places(members);
    word |= members.size() > kMaxNarrowMembers ? SLUICE_RING_WIDE : 0U;
    word |= choice == Choice::kClient ? SLUICE_RING_CLIENT : 0U;
    word |= choice == Choice::kRandom ? SLUICE_RING_RANDOM : 0U;
    return word;
}

std::uint32_t ring_lines(std::uint32_t size_word) {
    const std::uint32_t width = size_word & SLUICE_RING_WIDE ? 4 : 2;
    const std::uint32_t in_line = SLUICE_RING_LINE_BYTES / width;
    return ((size_word & SLUICE_RING_SIZE_MASK) + in_line - 1) / in_line;
}

std::size_t RingMembersHash::operator()(const RingMembers& members) const noexcept {
    std::size_t hash = members.size();
    for (const RingMember& member : members) {
        hash = (hash ^ std::hash<IpAddress>{}(member.address)) * 0x9e3779b97f4a7c15ULL;
        hash = (hash ^ hash >> 29U ^ member.port ^ std::size_t{member.weight} << 16U) *
               0xbf58476d1ce4e5b9ULL;
    }
    return hash ^ hash >> 31U;
}

std::optional<std::uint32_t> RingIndex::find(const RingMembers& members) const {
    const auto found = rings_.find(members);
    return found == rings_.end() ? std::nullopt : std::optional(found->second.line);
}

std::optional<std::uint32_t> RingIndex::take(std::uint32_t size_word) {
    return free_.take(ring_lines(size_word));
}

void RingIndex::give_back(std::uint32_t line, std::uint32_t size_word) {
    free_.give_back(line, ring_lines(size_word));
}

void RingIndex::add(const Tables& tables, std::uint32_t line, std::uint32_t size_word,
                    RingMembers members) {
    const std::size_t places = size_word & SLUICE_RING_SIZE_MASK;
    if (size_word & SLUICE_RING_WIDE) {
        build_ring(members,
                   std::span(reinterpret_cast<std::uint32_t*>(tables.ring_lines + line), places));
    } else {
        build_ring(members, std::span(tables.ring_lines[line].position, places));
    }
    const auto [place, inserted] =
        rings_.emplace(std::move(members), Ring{line, ring_lines(size_word), 0});
    SLUICE_ASSERT(inserted);
    by_line_[line] = &*place;
}

void RingIndex::use(std::uint32_t line) {
    ++by_line_.at(line)->second.users;
}

void RingIndex::drop(std::uint32_t line, Retired& retired) {
    const auto found = by_line_.find(line);
    SLUICE_ASSERT(found != by_line_.end() && found->second->second.users > 0);
    const Ring ring = found->second->second;
    if (ring.users > 1) {
        --found->second->second.users;
        return;
    }
    retired.rings.push_back({ring.line, ring.lines});
    rings_.erase(rings_.find(found->second->first));
    by_line_.erase(found);
}

void RingIndex::release(std::span<const Retired::Run> runs) {
    for (const auto& run : runs) {
        free_.give_back(run.first, run.count);
    }
}

}  // namespace sluice::image
