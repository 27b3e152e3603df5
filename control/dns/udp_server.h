// DNS over UDP: threads that each have a socket for every address (SO_REUSEPORT spreads clients
// over them) and take and give datagrams in batches.
#pragma once

#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "control/dns/endpoint.h"
#include "control/dns/forwarder.h"
#include "control/dns/loop.h"
#include "control/dns/resolver.h"

namespace sluice::dns {

inline constexpr unsigned kMaxWorkers = 16;
inline constexpr std::size_t kUdpBatch = 32;

// A bound socket for one worker; port 0 is any.
Result<Fd> bind_udp(const Endpoint& endpoint);

class UdpServer {
public:
    // sockets: [worker][address]. Loop and forwarder are where names of others are asked; their
    // thread sends those answers. What it is given outlives it, and the loop no longer runs when it
    // is destroyed.
    UdpServer(std::vector<std::vector<Fd>> sockets, const Resolver::Shared& shared,
              EventLoop& loop, Forwarder& forwarder);
    ~UdpServer();
    // Ends the threads; the sockets stay for answers under way.
    void stop();

private:
    class Worker;
    std::vector<std::unique_ptr<Worker>> workers_;
    std::vector<std::jthread> threads_;
};

}  // namespace sluice::dns
