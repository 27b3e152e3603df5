// The control thread's half of routing in one object: interfaces, the kernel's twin devices, static
// configuration, neighbours, ARP and ND, and the snapshots that follow from them.
//
//   lcores -- ARP, ND ------> on_control_frame --> responder.h --> an answer in place
//             unresolved ---> on_unresolved ----.      '--> resolver.h (who is where) -->
//             take_frames_to_send
//   kernel -- netlink ------> mirror.h ---------+--> next Forwarding --> Replaced
//   time   ----------------> tick --------------'
//
// One thread calls everything here; no call blocks on anything but a netlink dump. Time is given,
// never asked for: that of a monotonic clock, from any beginning.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/base/result.h"
#include "dataplane/dpdk/pipeline/frame.h"
#include "dataplane/dpdk/routing/counters.h"
#include "dataplane/dpdk/routing/forwarding.h"
#include "dataplane/dpdk/routing/mirror.h"
#include "dataplane/dpdk/routing/out_frame.h"
#include "dataplane/image/layout.h"

namespace sluice::dpdk {

// Between two snapshots: this, and so much for each route if routes have changed.
inline constexpr Milliseconds kSnapshotLeast{5};
inline constexpr std::size_t kSnapshotRoutesPerMs = 200;
// Between two looks at the image for addresses to announce.
inline constexpr Milliseconds kAnnounceLook{50};
// RFC 5227, section 1.1: ANNOUNCE_NUM and ANNOUNCE_INTERVAL.
inline constexpr unsigned kAnnounceTimes = 2;
inline constexpr Milliseconds kAnnounceInterval{2'000};
inline constexpr std::size_t kAnnouncementsPerTick = 64;
inline constexpr std::size_t kMaxComplaints = 64;

struct ControllerOptions {
    // Fixed as long as the engine lives, but for their addresses, to which those of twins are
    // added.
    std::vector<Interface> interfaces;
    std::vector<Twin> twins;
    std::vector<std::string>
        routes;  // "PREFIX [via ADDRESS] [dev INTERFACE] [metric NUMBER]" (static_config.h)
    std::vector<std::string> neighbours;  // "ADDRESS lladdr MAC dev INTERFACE"
};

class Controller {
public:
    // `now` is in force as current() from here on; no lcore may use `before` (null the first time)
    // for a new burst. The callee frees `before` when every lcore has passed a quiescent state.
    // Called within make(), tick() and the like.
    using Replaced =
        std::function<void(const Forwarding* now, std::unique_ptr<const Forwarding> before)>;

    // kInvalidArgument: names the interface, route, neighbour or twin, and the field. Errors of
    // netlink. A twin that is not there at this moment is looked for again, and found when it
    // appears.
    static Result<std::unique_ptr<Controller>> make(const ControllerOptions& options,
                                                    Replaced replaced, Milliseconds now);
    virtual ~Controller() = default;

    // The image whose external addresses are announced (announced.h); null tables.header: none. The
    // caller keeps it until the next call.
    virtual void use(const image::Tables& tables) = 0;

    // An ARP or ND frame of an lcore, with the interface it came in by.
    enum class Outcome : std::uint8_t {
        kReply,  // it has become the answer: send it out where it came in, Ethernet header included
        kKernel,  // for the kernel's twin too; what there was to learn is learnt
        kDrop,    // malformed, or nobody's business
    };
    virtual Outcome on_control_frame(Frame& frame, Milliseconds now) = 0;

    // A frame that the pipeline said kUnresolved of: `out` and `neighbour` are filled in. It is
    // copied, so that the caller may free it at once; it comes back by take_frames_to_send() when
    // the neighbour answers.
    virtual void on_unresolved(const Frame& frame, Milliseconds now) = 0;

    // Readable when the kernel has news: tick() at once. -1 without twins.
    [[nodiscard]] virtual int fd() const = 0;
    // When tick() has something to do next, if nothing else comes before.
    [[nodiscard]] virtual Milliseconds next_tick(Milliseconds now) const = 0;
    // Timers, news of the kernel, the announced addresses, and at most one new snapshot.
    virtual void tick(Milliseconds now) = 0;

    // Complete frames, Ethernet header and tag included, in the order they are to be sent. After
    // any call above.
    virtual std::vector<OutFrame> take_frames_to_send() = 0;

    // Never null.
    [[nodiscard]] virtual const Forwarding* current() const = 0;

    // Of people and telemetry.
    [[nodiscard]] virtual const RoutingCounters& counters() const = 0;
    struct NeighbourView {
        std::string interface;
        IpAddress address;
        Mac mac{};
        std::string state;  // "INCOMPLETE", "REACHABLE", "STALE", "PROBE", "FAILED", "PERMANENT"
    };
    [[nodiscard]] virtual std::vector<NeighbourView> neighbours() const = 0;
    // Addresses of the image that are answered for, with the interface.
    [[nodiscard]] virtual std::vector<std::pair<std::string, IpAddress>> announced() const = 0;
    // In force: the kernel's and the configured ones.
    [[nodiscard]] virtual std::vector<Route> routes() const = 0;
    // What went wrong since the last call, once each time it begins; for the log.
    virtual std::vector<std::string> take_complaints() = 0;
};

}  // namespace sluice::dpdk
