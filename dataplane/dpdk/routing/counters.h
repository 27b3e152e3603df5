// What the control thread of routing counts: one list makes the fields and their names.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace sluice::dpdk {

// X(name, what it means to a person)
#define SLUICE_ROUTING_COUNTERS(X)                                                           \
    X(arp_answered, "ARP requests answered")                                                 \
    X(nd_answered, "neighbour solicitations answered")                                       \
    X(discovery_malformed, "ARP and ND frames that break their RFC")                         \
    X(discovery_no_room, "answers that did not fit into the frame's buffer")                 \
    X(discovery_foreign, "senders outside of the interface's prefixes, not learnt")          \
    X(address_conflicts, "frames of others that claim an address of ours")                   \
    X(neighbours_learnt, "neighbours that became known or moved")                            \
    X(neighbours_failed, "neighbours that did not answer")                                   \
    X(neighbours_evicted, "neighbours that made room for others")                            \
    X(neighbours_refused, "neighbours that there was no room for")                           \
    X(solicitations_sent, "ARP requests and neighbour solicitations sent")                   \
    X(waiting_queued, "frames that waited for a neighbour")                                  \
    X(waiting_sent, "of these, sent when it answered")                                       \
    X(waiting_replaced, "of these, replaced by a later frame to the same neighbour")         \
    X(waiting_failed, "of these, dropped as the neighbour did not answer")                   \
    X(unresolved_known, "unresolved frames whose neighbour was known by then, sent at once") \
    X(unresolved_failed, "frames dropped as their neighbour has just not answered")          \
    X(waiting_full, "frames dropped as too many waited in all")                              \
    X(unresolved_unroutable, "unresolved frames without a next hop, or not IP")              \
    X(announcements_sent, "gratuitous ARP and unsolicited advertisements sent")              \
    X(announced_full, "external addresses that there was no room for")                       \
    X(snapshots, "forwarding snapshots made")                                                \
    X(snapshots_failed, "snapshots that were refused; the former stays in force")            \
    X(kernel_dumps, "tables read from the kernel")                                           \
    X(kernel_failed, "tables that could not be read from the kernel")                        \
    X(kernel_skipped, "routes and neighbours of the kernel that cannot be used here")

struct RoutingCounters {
#define SLUICE_ROUTING_FIELD(name, text) std::uint64_t name = 0;
    SLUICE_ROUTING_COUNTERS(SLUICE_ROUTING_FIELD)
#undef SLUICE_ROUTING_FIELD
};

struct RoutingCounterInfo {
    std::string_view name;
    std::string_view help;
    std::uint64_t RoutingCounters::* field;
};

#define SLUICE_ROUTING_INFO(name, text) RoutingCounterInfo{#name, text, &RoutingCounters::name},
inline constexpr auto kRoutingCounters =
    std::to_array<RoutingCounterInfo>({SLUICE_ROUTING_COUNTERS(SLUICE_ROUTING_INFO)});
#undef SLUICE_ROUTING_INFO

}  // namespace sluice::dpdk
