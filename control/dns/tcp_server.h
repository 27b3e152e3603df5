// DNS over TCP (RFC 7766): connections that stay open for further questions, answered as answers
// come, within bounds.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "control/dns/endpoint.h"
#include "control/dns/forwarder.h"
#include "control/dns/loop.h"
#include "control/dns/resolver.h"

namespace sluice::dns {

inline constexpr std::size_t kMaxConnections = 512;
// A connection that says nothing this long is closed; so is, when all are in use, the one that is
// silent longest.
inline constexpr std::uint64_t kTcpIdleMs = 10'000;
inline constexpr std::uint64_t kTcpEvictMs = 1'000;
// Of one connection: questions that wait for upstream, and bytes that its client has not taken.
// Beyond them nothing more is read from it.
inline constexpr std::size_t kMaxInFlight = 16;
inline constexpr std::size_t kMaxUnsentBytes = 256U << 10U;

// All on the loop's thread.
class TcpServer {
public:
    // The listeners are bound and listen. What it is given outlives it.
    TcpServer(EventLoop& loop, std::vector<Fd> listeners, const Resolver::Shared& shared,
              Forwarder& forwarder);
    ~TcpServer();

private:
    struct Connection;
    void accept(int listener);
    void on_event(std::uint64_t number, std::uint32_t events);
    // They return false when the connection is gone.
    bool read(Connection& connection);
    bool answer_all(Connection& connection);
    bool write(Connection& connection);
    void send(Connection& connection, const std::vector<std::uint8_t>& message);
    void close(Connection& connection);
    void watch(Connection& connection);
    bool tick(std::uint64_t now_ms);
    [[nodiscard]] bool make_room();

    EventLoop& loop_;
    const std::vector<Fd> listeners_;
    Counters& counters_;
    Resolver resolver_;
    Forwarder& forwarder_;
    std::uint64_t next_number_ = 1;
    std::unordered_map<std::uint64_t, std::unique_ptr<Connection>> connections_;
    std::vector<std::uint8_t> buffer_;
    std::vector<std::uint8_t> reply_;
};

}  // namespace sluice::dns
