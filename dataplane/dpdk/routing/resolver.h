// Who is where: the neighbours of all interfaces, each a state machine after RFC 4861, section 7.3,
// for both families.
//
//   (none) -- wait() --> INCOMPLETE -- an answer --> REACHABLE -- kReachableMs --> STALE
//                          |                             ^                           |
//               kTries unanswered                    an answer                    kDelayMs
//                          v                             |                           v
//                        FAILED -- kFailedMs --> (none)  '------------------------ PROBE
//                                                                                    |
//                                             (none) <-- kTries unanswered ----------'
//
// Who speaks unasked is STALE at first. What is sent to a FAILED one is dropped at once.
//
// Deviations from the RFC. lcores do not tell which neighbours they use, so a STALE one is probed
// in any case, not upon its next packet; whoever no longer answers is forgotten, and looked for
// again by the next packet. FAILED keeps packets to nobody from making a question each. ARP follows
// the same machine: a reply to our address counts as solicited, and overrides unless the entry is
// younger than kLockMs (as Linux's locktime).
//
// Bounded: kMaxNeighbours entries, of which kMaxIncomplete may be asked for at a time (RFC 6583: a
// scan of a /64 must not displace who is known); kMaxWaitingEach frames a neighbour and
// kMaxWaitingBytes in all. A full table makes room by forgetting those that never proved to be
// there, never for strangers those that did.
//
// The control thread's alone; time is given.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "dataplane/dpdk/routing/counters.h"
#include "dataplane/dpdk/routing/discovery.h"
#include "dataplane/dpdk/routing/forwarding.h"
#include "dataplane/dpdk/routing/out_frame.h"

namespace sluice::dpdk {

using Milliseconds = std::chrono::milliseconds;

// RFC 4861, section 10.
inline constexpr Milliseconds kRetransMs{1'000};
inline constexpr Milliseconds kReachableMs{30'000};  // times 0.5 to 1.5, by the address
inline constexpr Milliseconds kDelayMs{5'000};
inline constexpr unsigned kTries = 3;
inline constexpr Milliseconds kFailedMs{1'000};
inline constexpr Milliseconds kGatewayRetryMs{5'000};
inline constexpr Milliseconds kLockMs{1'000};
inline constexpr std::size_t kMaxIncomplete = 4'096;
inline constexpr std::size_t kMaxWaitingEach = 3;
inline constexpr std::size_t kMaxWaitingBytes = 8U << 20U;
inline constexpr std::size_t kQuestionsPerTick = 512;

enum class NeighbourState : std::uint8_t {
    kFree,
    kIncomplete,
    kReachable,
    kStale,
    kProbe,
    kFailed,
    kPermanent
};
[[nodiscard]] std::string_view state_name(NeighbourState state);

class Resolver {
public:
    explicit Resolver(RoutingCounters& counters) : counters_(counters) {}

    // Neighbours outside of the prefixes and gateways that there are now are forgotten, but
    // permanent ones. gateways: of routes; they are looked for from now on, and may lie outside of
    // the interface's prefixes.
    void use(std::span<const Interface> interfaces,
             std::span<const std::pair<std::uint16_t, IpAddress>> gateways, Milliseconds now);

    // What a frame that came in by the interface says about its sender. ours: the frame asks for,
    // or is addressed to, an address that we answer for.
    void learn(std::uint16_t interface, const Discovery& said, bool ours, Milliseconds now);

    // Keeps a copy of the frame's IP packet until the neighbour is known, and asks. Frames of
    // anything but IP are counted and dropped.
    void wait(std::uint16_t interface, const IpAddress& neighbour,
              std::span<const std::uint8_t> frame, Milliseconds now);

    // Configured, or the kernel's permanent entries: neither asked for nor forgotten, in place of
    // those of before.
    void set_permanent(std::span<const Neighbour> neighbours, Milliseconds now);
    // What the kernel has found out: believed like an unasked-for advertisement.
    void hint(const Neighbour& neighbour, Milliseconds now);

    // Does what is due, at most kQuestionsPerTick questions of it.
    void tick(Milliseconds now);
    [[nodiscard]] std::optional<Milliseconds> next() const;

    // In the order in which they are to be applied. Only those whose MAC address is known have a
    // place in snapshots.
    std::vector<NeighbourChange> take_changes();
    [[nodiscard]] bool has_changes() const { return !changes_.empty(); }
    std::vector<OutFrame> take_frames();

    // By place, free ones included: what a snapshot made anew begins with.
    [[nodiscard]] std::vector<Neighbour> all() const;
    struct View {
        Neighbour neighbour;
        NeighbourState state = NeighbourState::kFree;
    };
    [[nodiscard]] std::vector<View> views() const;
    [[nodiscard]] std::size_t size() const { return places_.size(); }
    [[nodiscard]] std::size_t waiting_bytes() const { return waiting_bytes_; }

private:
    using Key = std::pair<std::uint16_t, IpAddress>;
    struct Entry {
        std::uint32_t place = 0;
        Neighbour neighbour;
        NeighbourState state = NeighbourState::kFree;
        bool proven = false;  // it has answered a question of ours
        std::uint8_t asked = 0;
        Milliseconds born{};
        Milliseconds due{};      // in timers_, unless permanent
        Milliseconds updated{};  // when its MAC address was last confirmed or changed
        std::deque<std::vector<std::uint8_t>> waiting;
    };

    Entry* find(const Key& key);
    // Null if there is no room. active: packets are to go there.
    Entry* create(const Key& key, bool active, Milliseconds now);
    void forget(Entry& entry);
    void unlink(Entry& entry);
    void begin(Entry& entry, Milliseconds now);
    void set_state(Entry& entry, NeighbourState state, Milliseconds due);
    void become(Entry& entry, const Mac& mac, bool confirmed, Milliseconds now);
    void resolved_changed(const Entry& entry);
    void ask(Entry& entry, Milliseconds now);
    void fail(Entry& entry, Milliseconds now);
    void send_waiting(Entry& entry);
    void drop_waiting(Entry& entry, std::uint64_t& counter);
    [[nodiscard]] bool may_be(const Key& key) const;
    [[nodiscard]] IpAddress source_for(const Interface& interface, const IpAddress& target) const;
    void learn_unasked(const Key& key, const Mac& mac, bool create_it, bool overrides,
                       Milliseconds now);
    void update(Entry& entry, const Mac& mac, bool solicited, bool overrides, Milliseconds now);

    RoutingCounters& counters_;
    std::vector<Interface> interfaces_;
    std::set<Key> gateways_;
    std::deque<Entry> entries_;  // [place]; entries do not move
    std::vector<std::uint32_t> free_;
    std::map<Key, std::uint32_t> places_;
    std::set<std::pair<Milliseconds, std::uint32_t>> timers_;
    // Those that may make room, the longest there first.
    std::set<std::pair<Milliseconds, std::uint32_t>> unproven_;
    std::size_t incomplete_ = 0;
    std::size_t waiting_bytes_ = 0;
    std::vector<NeighbourChange> changes_;
    std::vector<OutFrame> frames_;
};

}  // namespace sluice::dpdk
