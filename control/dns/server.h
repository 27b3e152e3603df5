// The DNS server: sockets, threads, cache and upstream servers around a published zone.
#pragma once

#include <memory>
#include <vector>

#include "control/dns/endpoint.h"
#include "control/dns/resolver.h"
#include "control/dns/zone.h"

namespace sluice::dns {

struct ServerOptions {
    std::vector<Endpoint> listen;     // UDP and TCP; port 0 is any that both have free
    std::vector<Endpoint> upstreams;  // none: names that are not the cluster's are refused
    Name domain;
    std::vector<IpPrefix> owned;  // see ZoneConfig
    unsigned workers = 0;         // of UDP; 0: one a core, at most four
};

class Server {
public:
    virtual ~Server() = default;  // stops answering; a few milliseconds
    // Listens and answers when it returns. kAlreadyExists when a port is taken.
    static Result<std::unique_ptr<Server>> start(const ServerOptions& options,
                                                 const Published& zone);
    // The options' addresses with the real ports.
    [[nodiscard]] virtual const std::vector<Endpoint>& endpoints() const = 0;
    [[nodiscard]] virtual const Counters& counters() const = 0;
};

// Those of the upstreams that are not this server itself, by address. `local`: addresses of this
// machine, for listeners on unspecified addresses.
[[nodiscard]] std::vector<Endpoint> without_self(const std::vector<Endpoint>& upstreams,
                                                 const std::vector<Endpoint>& listen,
                                                 const std::vector<IpAddress>& local);
[[nodiscard]] std::vector<IpAddress> local_addresses();

}  // namespace sluice::dns
