// The Maglev rings of an image. Sets with equal members (addresses, ports, weights) share one,
// whatever service they belong to: a ring's places are positions within the sorted set. A ring
// lives as long as a set uses it, and is free again a grace period later.
//
// Bookkeeping in user space; the places themselves are written into the image. It keeps each ring's
// members, 20 bytes apiece, a tenth of the ring.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "dataplane/image/allocator.h"
#include "dataplane/image/desired.h"
#include "dataplane/image/frontends.h"
#include "dataplane/image/layout.h"
#include "dataplane/image/maglev.h"

namespace sluice::image {

using RingMembers = std::vector<RingMember>;

// Whether the service's choice among these needs a ring: consistent hash, or unequal weights.
[[nodiscard]] bool needs_ring(const Service& service, const BackendSet& set);
[[nodiscard]] RingMembers ring_members(const BackendSet& set);
// sluice_ring.size for members chosen by `choice`: places and SLUICE_RING_*. REQUIRES: members is
// not empty.
[[nodiscard]] std::uint32_t ring_size_word(const RingMembers& members, Choice choice);
// Lines that a ring of this size word takes.
[[nodiscard]] std::uint32_t ring_lines(std::uint32_t size_word);

struct RingMembersHash {
    std::size_t operator()(const RingMembers& members) const noexcept;
};

class RingIndex {
public:
    explicit RingIndex(std::uint32_t lines) : free_(lines) {}

    // The first line of the members' ring, if there is one.
    [[nodiscard]] std::optional<std::uint32_t> find(const RingMembers& members) const;
    // Room for a ring, by its size word. What is taken is given back, or used by add().
    std::optional<std::uint32_t> take(std::uint32_t size_word);
    void give_back(std::uint32_t line, std::uint32_t size_word);
    // Writes a ring into lines that were taken; nobody uses it yet. REQUIRES: find() has none.
    // Cost: build_ring().
    void add(const Tables& tables, std::uint32_t line, std::uint32_t size_word,
             RingMembers members);
    // One set more, or less: with its last user the ring is retired. REQUIRES: a ring starts at the
    // line.
    void use(std::uint32_t line);
    void drop(std::uint32_t line, Retired& retired);

    void release(std::span<const Retired::Run> runs);
    void extend(std::uint32_t lines) { free_.extend(lines); }
    [[nodiscard]] std::uint32_t lines_in_use() const { return free_.in_use(); }
    [[nodiscard]] std::size_t size() const { return rings_.size(); }

private:
    struct Ring {
        std::uint32_t line = 0;
        std::uint32_t lines = 0;
        std::uint32_t users = 0;
    };
    using Rings = std::unordered_map<RingMembers, Ring, RingMembersHash>;

    RunAllocator free_;
    Rings rings_;
    std::unordered_map<std::uint32_t, Rings::value_type*> by_line_;
};

}  // namespace sluice::image
