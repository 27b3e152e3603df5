// What the listener knows of a client's connection, whichever protocol it speaks. Private to this folder.
#pragma once

#include <chrono>

namespace sluice::http {

// All of it on the loop's thread. The loop owns a Peer from its start to close().
class Peer {
public:
    using Clock = std::chrono::steady_clock;

    Peer() = default;
    virtual ~Peer() = default;
    Peer(const Peer&) = delete;
    Peer& operator=(const Peer&) = delete;

    // Some deadline of the connection has passed.
    [[nodiscard]] virtual bool is_late(Clock::time_point now) const = 0;
    virtual void check_deadline(Clock::time_point now) = 0;
    // Ends what is idle or streaming and lets requests in flight finish.
    virtual void drain() = 0;
    virtual void close() = 0;
};

}  // namespace sluice::http
