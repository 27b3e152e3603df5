// The ports of the EAL as the generator uses them: configured once, started and stopped with a runner.
#pragma once

#include <rte_mbuf.h>
#include <rte_ring.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/pktgen/headers.h"
#include "dataplane/pktgen/results.h"
#include "dataplane/pktgen/runner.h"

namespace sluice::pktgen {

inline constexpr std::uint16_t kBurst = 32;

struct PoolFree {
    void operator()(rte_mempool* pool) const { rte_mempool_free(pool); }
};
struct RingFree {
    void operator()(rte_ring* ring) const { rte_ring_free(ring); }
};

struct Port {
    std::uint16_t id = 0;
    std::string name;
    Role role = Role::kBoth;
    bool reversed = false;      // sends the flows turned round
    Mac mac{};
    std::uint16_t send_queues = 1;     // one at least, for neighbours
    std::uint16_t receive_queues = 1;  // one at least, for neighbours
    bool started = false;
    // Frames that any lcore wants to send: the lcore of send queue 0, or, of a port that only
    // receives, of receive queue 0, takes them out.
    std::unique_ptr<rte_ring, RingFree> mail;

    [[nodiscard]] bool sends() const { return role != Role::kReceive; }
    [[nodiscard]] bool receives() const { return role != Role::kSend; }
};

class Ports {
public:
    // Configures and starts all of them.
    static Result<std::unique_ptr<Ports>> make(const RunnerOptions& options);
    ~Ports();
    Ports(const Ports&) = delete;
    Ports& operator=(const Ports&) = delete;

    [[nodiscard]] std::vector<Port>& all() { return ports_; }
    // Buffers to send.
    [[nodiscard]] rte_mempool* pool() const { return pool_.get(); }
    // kUnavailable: a link is down after so long.
    Result<void> wait_for_links(double seconds) const;
    // What each port counted since it was started, into the port_ fields.
    [[nodiscard]] std::vector<PortCounts> counted() const;
    // How many lcores send and receive.
    [[nodiscard]] unsigned senders() const { return senders_; }
    [[nodiscard]] unsigned receivers() const { return receivers_; }

private:
    Ports() = default;
    Result<void> choose_roles(const RunnerOptions& options);
    Result<void> choose_lcores(const RunnerOptions& options);
    Result<void> choose_queues();
    Result<void> make_pools(const RunnerOptions& options);
    Result<void> configure(Port& port, const RunnerOptions& options);

    std::vector<Port> ports_;
    // Ports fill buffers of their own: one that invents packets, as net_null does, would otherwise
    // hand out what was sent before, with its probes. A port that passes buffers on, such as a ring,
    // brings back those that were sent.
    std::unique_ptr<rte_mempool, PoolFree> pool_, receive_pool_;
    unsigned senders_ = 1, receivers_ = 1;
};

}  // namespace sluice::pktgen
