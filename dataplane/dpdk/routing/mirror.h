// What the kernel knows of interfaces' twins, so that `ip addr`, `ip route` and `ip neigh` steer
// the engine.
//
//   the twin's addresses                        -> the interface's, besides those configured
//   routes of the main table by a twin          -> routes by its interface; of several next hops
//   one is used routes by other devices, or to nowhere      -> the kernel's: it forwards, or says
//   that there is no way addresses of other devices                  -> the kernel's neighbours of
//   a twin: permanent             -> as configured ones
//                         found by the kernel   -> hints for the resolver
//
// Tables are read whole when the kernel says that they have changed, the larger the less often; so
// no sequence of messages, lost or not, can leave a difference behind. The control thread's alone;
// reads the network namespace of the thread that made it.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "api/base/result.h"
#include "dataplane/dpdk/routing/counters.h"
#include "dataplane/dpdk/routing/forwarding.h"

namespace sluice::dpdk {

using Milliseconds = std::chrono::milliseconds;

// An interface's twin in the kernel: what `ip addr`, `ip route` and `ip neigh` say of the device
// holds for the interface.
struct Twin {
    std::uint16_t interface = 0;
    std::string device;  // the kernel's name of it, in the network namespace of the thread that
                         // calls make()
};

// Between two reads of a table: this, and so much for each entry.
inline constexpr Milliseconds kMirrorLeast{20};
inline constexpr std::size_t kMirrorEntriesPerMs = 100;
// After a failed read, and between looks for a device that is not there.
inline constexpr Milliseconds kMirrorRetry{1'000};

struct Mirrored {
    std::vector<std::pair<std::uint16_t, InterfaceAddress>> addresses;  // with the interface
    std::vector<Route> routes;
    std::vector<Neighbour> permanent;
    std::vector<Neighbour> hints;  // new or moved since the read before
};

class Mirror {
public:
    // kInvalidArgument: a twin without name, an interface or a device that stands twice; errors of
    // netlink.
    static Result<std::unique_ptr<Mirror>> make(std::vector<Twin> twins, RoutingCounters& counters);
    virtual ~Mirror() = default;

    // Readable when update() has something to read. Owned by the mirror.
    [[nodiscard]] virtual int fd() const = 0;
    // When update() is to be called without the fd: something could not be read yet, or not so soon
    // again.
    [[nodiscard]] virtual std::optional<Milliseconds> next() const = 0;

    struct Changed {
        bool addresses = false;
        bool routes = false;  // and what belongs to the kernel
        bool neighbours = false;
    };
    // Reads what may have changed and may be read again; what is then different from before.
    // Errors: of the first table that could not be read; it is tried again, and what was read of it
    // before stays.
    virtual Result<Changed> update(Milliseconds now) = 0;

    [[nodiscard]] virtual const Mirrored& state() const = 0;
};

}  // namespace sluice::dpdk
