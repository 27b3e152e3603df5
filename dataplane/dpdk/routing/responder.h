// Answers who asks by ARP or ND for an address of an interface, and speaks up when another station
// claims one.
//
// Answered for, on the interface that the question came in by: its own addresses, and the image's
// external ones that it announces (announced.h). Probes (RFC 5227, section 2.1.1; RFC 4862,
// section 5.4) are answered too: an address that is in use is defended. Everything else is the
// kernel's.
//
// The control thread's alone.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>

#include "dataplane/dpdk/routing/announced.h"
#include "dataplane/dpdk/routing/counters.h"
#include "dataplane/dpdk/routing/discovery.h"

namespace sluice::dpdk {

// RFC 5227, section 1.1: DEFEND_INTERVAL. Per interface, so that a station that claims many
// addresses gets no storm.
inline constexpr std::chrono::milliseconds kDefendMs{10'000};

class Responder {
public:
    // Both are borrowed and outlive this.
    Responder(const Announced& announced, RoutingCounters& counters)
        : announced_(announced), counters_(counters) {}

    [[nodiscard]] bool answers_for(std::uint16_t index, const Interface& interface,
                                   const IpAddress& address) const;

    // True: the frame has become the answer. False: it is as it was, and not for us, or there was
    // no room (counted). REQUIRES: `asked` was read from the frame.
    bool answer(Frame& frame, const Discovery& asked, std::uint16_t index,
                const Interface& interface);

    // An announcement to be sent, if the frame claims an address that we answer for and the last
    // one was long enough ago.
    std::optional<OutFrame> defend(const Discovery& said, std::uint16_t index,
                                   const Interface& interface, std::chrono::milliseconds now);

private:
    const Announced& announced_;
    RoutingCounters& counters_;
    std::array<std::optional<std::chrono::milliseconds>, kMaxInterfaces> defended_;
};

}  // namespace sluice::dpdk
