// Connected UDP sockets of backends that are gone. The connect hooks wrote down, by socket cookie, which service a
// socket asked for and which backend it got (sluice_peer_tab). When a UDP backend leaves its service, those sockets are
// ended (dataplane/sockets), in a thread of its own: nothing waits for it.
//
// Sockets that connected to a pod's address themselves are not in the table and stay. So do, unfortunately, the few
// whose peer lies in socket storage, for their bucket was full (docs/adr/0003): user space cannot ask for those.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "api/abi/socket.h"
#include "api/base/fd.h"
#include "dataplane/engine.h"
#include "dataplane/image/desired.h"

namespace sluice::dataplane {

// Backends waiting to be looked for; beyond, they are counted as missed.
inline constexpr std::size_t kMaxGoneBackends = 1U << 16U;
// What was asked of a backend when it left may still be answered; a socket that lives longer is pinned to it.
inline constexpr std::chrono::milliseconds kAnswerGrace{500};

// An address and a port, as the hooks write them down.
struct PeerAddress {
    IpAddress address;
    std::uint16_t port = 0;
    bool operator==(const PeerAddress&) const = default;
    struct Hash {
        std::size_t operator()(const PeerAddress& at) const noexcept {
            return std::hash<IpAddress>{}(at.address) * 31 + at.port;
        }
    };
};

class StalePeers {
public:
    StalePeers();
    StalePeers(const StalePeers&) = delete;
    StalePeers& operator=(const StalePeers&) = delete;
    ~StalePeers();

    // The table of peers in force; its own descriptor is kept. Any thread.
    void watch(int peers);
    // These backends no longer serve the frontends. A NodePort's frontend stands for its port on any address.
    void gone(const std::vector<image::Frontend>& frontends, const std::vector<PeerAddress>& backends);
    // These serve the frontends: whoever left and came back within kAnswerGrace has not left.
    void serves(const std::vector<image::Frontend>& frontends, const std::vector<PeerAddress>& backends);
    // Only what these UDP services say serves: for a start, when nobody knows what happened before.
    void only(const std::vector<const image::Service*>& services);

    [[nodiscard]] StaleSockets counters() const;
    // Blocks until nothing is left to do; for tests and for the end of a measurement.
    void settle();

private:
    using Backends = std::unordered_set<PeerAddress, PeerAddress::Hash>;
    // By frontend; a NodePort's has the unspecified address of its family.
    using ByFrontend = std::unordered_map<PeerAddress, Backends, PeerAddress::Hash>;
    struct Work {
        ByFrontend gone;
        std::size_t backends = 0;
        std::unique_ptr<ByFrontend> serving;  // whatever else is stale
    };
    static PeerAddress place_of(const image::Frontend& frontend, const IpAddress& backend);
    void run();
    void look(const Work& work, int peers);

    mutable std::mutex mutex_;
    std::condition_variable changed_;
    bool stopping_ = false;
    bool busy_ = false;
    // Who has left lately, and since the look before: each waits for one to two times kAnswerGrace.
    Work waiting_;
    Work ripe_;
    std::chrono::steady_clock::time_point due_;
    Fd peers_;
    StaleSockets counters_;
    std::thread thread_;
};

}  // namespace sluice::dataplane
