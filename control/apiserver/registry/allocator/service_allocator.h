// ClusterIPs and node ports of Services, atomic with the write of the Service: values are taken before the write,
// kept by commit() and given back when the write does not happen.
//
// On a store of one process the allocations are not stored: the Services are the truth, and adopt() rebuilds the state
// from them at start. On a shared store every address and port that a Service has is also a key of its own, a claim,
// that is made and removed in the Service's own transaction (claims.h): what is free is what has no claim in the store
// and is not under way here.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "api/base/ip_address.h"
#include "control/apiserver/registry/allocator/ip_range.h"
#include "control/apiserver/registry/allocator/node_ports.h"
#include "control/apiserver/registry/strategies/strategy.h"

namespace k8s::io::api::core::v1 {
class Service;
}

namespace sluice::registry {

using ServiceMessage = ::k8s::io::api::core::v1::Service;

// Thread-safe; outlives the reservations it makes.
class ServiceAllocator {
public:
    // cidrs: one, or two of different families; the first gives the default family. shared: where claims are kept, and
    // outlives the allocator; null when no other server allocates.
    ServiceAllocator(const std::vector<IpPrefix>& cidrs, std::uint16_t nodeport_min,
                     std::uint16_t nodeport_max, std::uint64_t seed, store::Store* shared = nullptr);

    // Default family first.
    [[nodiscard]] std::vector<IpFamily> families() const;

    // Writes the families, addresses and ports that *service is to have into it. old: the stored Service, null at
    // creation; what both use is kept.
    Answer<std::shared_ptr<Reservation>> reserve(const codec::KindInfo& kind,
                                                 ServiceMessage* service,
                                                 const ServiceMessage* old);
    // Gives everything back on commit.
    std::shared_ptr<Reservation> release(const ServiceMessage& old);
    // Takes what a stored Service uses; kAlreadyExists when another one has it, which is logged by the caller.
    Result<void> adopt(const ServiceMessage& service);

    struct PortKey {
        Protocol protocol = Protocol::kTcp;
        std::int64_t port = 0;
        auto operator<=>(const PortKey&) const = default;
    };
    // What one Service holds.
    struct Holding {
        std::vector<IpAddress> addresses;
        std::vector<PortKey> ports;
    };
    static Holding holding_of(const ServiceMessage& service);

private:
    class Txn;
    [[nodiscard]] bool is_claimed(const std::string& key) const;
    // Claims go unless another Service has them; those that do not fit into one transaction are left over.
    [[nodiscard]] std::vector<store::Companion> releases(const Holding& surplus, const std::string& owner) const;

    // All below: mutex_ held.
    IpRange* range_of(IpFamily family);
    void give_back(const Holding& holding);
    Answer<void> take_addresses(const codec::KindInfo& kind, ServiceMessage* service,
                                const Holding& held, Holding* taken);
    Answer<void> take_ports(const codec::KindInfo& kind, ServiceMessage* service,
                            const Holding& held, Holding* taken);
    Answer<void> take_health_port(const codec::KindInfo& kind, ServiceMessage* service,
                                  const Holding& held, Holding* taken);

    store::Store* const shared_;
    std::mutex mutex_;
    std::vector<IpRange> ranges_;  // on a shared store: what is under way
    NodePorts ports_;  // the same
};

}  // namespace sluice::registry
