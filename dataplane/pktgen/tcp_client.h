// The client half of kStateful: opens connections, asks and waits for answers, closes; resends what is
// lost. Segments only, no frames and no clock: whoever runs it gives it both.
//
//     closed -> SYN sent -> (request sent -> ) * data_packets -> FIN sent -> closed
//
// One thing is under way at a time, so a connection is one sequence number and one timer. Timers stand in
// one queue for each number of attempts, in which they are in the order of their ends: arming, stopping
// and expiring cost the same for any number of connections.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "api/base/result.h"
#include "dataplane/pktgen/counter.h"
#include "dataplane/pktgen/flows.h"
#include "dataplane/pktgen/histogram.h"

namespace sluice::pktgen {

struct TcpClientOptions {
    std::uint64_t connections = 1;   // at a time: [0, connections)
    std::uint32_t data_packets = 1;
    std::vector<std::uint32_t> payload_bytes;  // [size], of requests; SizeChooser's
    std::uint64_t ticks_per_second = 1'000'000'000;
    std::uint32_t seed = 1;
};

struct TcpClientCounts {
    Counter opened, established, closed, timed_out, reset, retransmitted;
    Counter unexpected;  // segments of our connections that fit no state: late, doubled, forged
};

// A segment of a connection, received or to be sent.
struct TcpSegment {
    std::uint32_t connection = 0;
    std::uint32_t sequence = 0, acknowledged = 0;
    std::uint32_t payload_bytes = 0;
    std::uint32_t size = 0;  // to send, if payload_bytes is not 0
    std::uint8_t flags = 0;
};

class TcpClient {
public:
    static constexpr unsigned kAttempts = 4;      // the first one and three more
    static constexpr double kFirstTimeout_s = 0.2;  // doubled for each: 3 s in all

    // kResourceExhausted: no memory.
    static Result<std::unique_ptr<TcpClient>> make(const TcpClientOptions& options);

    [[nodiscard]] bool free(std::uint32_t connection) const {
        return connections_[connection].state == State::kClosed;
    }
    // REQUIRES: free(connection). What is to be sent is appended to `out`, as by the calls below.
    void open(std::uint32_t connection, std::uint32_t size, std::uint64_t now, std::vector<TcpSegment>& out);
    void take(const TcpSegment& segment, std::uint64_t now, std::vector<TcpSegment>& out);
    // Resends or gives up what has waited too long, at most `most` of it.
    void expire(std::uint64_t now, std::size_t most, std::vector<TcpSegment>& out);
    // The end: what is open counts as timed out.
    void abandon();

    [[nodiscard]] std::uint64_t open_count() const { return open_; }
    [[nodiscard]] const TcpClientCounts& counts() const { return counts_; }
    // From SYN to SYN-ACK, in ticks, since the caller cleared it.
    [[nodiscard]] Histogram& connect_times() { return connect_times_; }

private:
    enum class State : std::uint8_t { kClosed, kSynSent, kRequestSent, kFinSent };
    static constexpr std::uint32_t kNone = 0xffffffff;

    struct Connection {
        std::uint64_t due = 0;
        std::uint64_t opened_at = 0;
        std::uint32_t sequence = 0;      // of what is under way
        std::uint32_t expected = 0;      // the next one of the server's
        std::uint32_t left = 0;          // requests still to be sent
        std::uint32_t before = kNone, after = kNone;  // in the queue of its attempts
        std::uint16_t size = 0;
        std::uint8_t attempts = 0;
        State state = State::kClosed;
    };
    struct Queue {
        std::uint32_t first = kNone, last = kNone;
        std::uint64_t ticks = 0;
    };

    explicit TcpClient(const TcpClientOptions& options);
    void send(std::uint32_t connection, std::vector<TcpSegment>& out) const;
    void proceed(std::uint32_t connection, std::uint64_t now, std::vector<TcpSegment>& out);
    void arm(std::uint32_t connection, std::uint64_t now);
    void stop(std::uint32_t connection);
    void close(std::uint32_t connection);
    [[nodiscard]] std::uint32_t under_way(const Connection& connection) const;

    TcpClientOptions options_;
    std::unique_ptr<Connection[]> connections_;
    std::array<Queue, kAttempts> queues_;
    Random random_;
    std::uint64_t open_ = 0;
    TcpClientCounts counts_;
    Histogram connect_times_;
};

}  // namespace sluice::pktgen
