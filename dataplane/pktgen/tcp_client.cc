#include "dataplane/pktgen/tcp_client.h"

#include <new>

#include "dataplane/pktgen/headers.h"

namespace sluice::pktgen {

// A new connection of the same tuple begins well above the former one's numbers (RFC 6191), so that
// what still remembers that one takes the SYN for a new beginning.
constexpr std::uint32_t kSequenceStep = 1U << 20U;

Result<std::unique_ptr<TcpClient>> TcpClient::make(const TcpClientOptions& options) {
    std::unique_ptr<TcpClient> out(new TcpClient(options));
    out->connections_.reset(new (std::nothrow) Connection[options.connections]);
    if (out->connections_ == nullptr) {
        return make_error(Code::kResourceExhausted, "client: no memory for {} connections",
                          options.connections);
    }
    return out;
}

TcpClient::TcpClient(const TcpClientOptions& options)
    : options_(options), random_(std::uint64_t{options.seed} ^ 0x7c9) {
    double seconds = kFirstTimeout_s;
    for (Queue& queue : queues_) {
        queue.ticks = static_cast<std::uint64_t>(seconds * static_cast<double>(options.ticks_per_second));
        seconds *= 2;
    }
}

std::uint32_t TcpClient::under_way(const Connection& connection) const {
    return connection.state == State::kRequestSent ? options_.payload_bytes[connection.size] : 1;
}

void TcpClient::open(std::uint32_t connection, std::uint32_t size, std::uint64_t now,
                     std::vector<TcpSegment>& out) {
    Connection& it = connections_[connection];
    it.sequence += kSequenceStep + static_cast<std::uint32_t>(random_.next() & (kSequenceStep - 1));
    it.left = options_.data_packets;
    it.size = static_cast<std::uint16_t>(size);
    it.state = State::kSynSent;
    it.attempts = 0;
    it.opened_at = now;
    ++open_;
    counts_.opened.add(1);
    arm(connection, now);
    send(connection, out);
}

void TcpClient::send(std::uint32_t connection, std::vector<TcpSegment>& out) const {
    const Connection& it = connections_[connection];
    TcpSegment segment;
    segment.connection = connection;
    segment.sequence = it.sequence;
    switch (it.state) {
        case State::kSynSent: segment.flags = kTcpSyn; break;
        case State::kRequestSent:
            segment.flags = kTcpPsh | kTcpAck;
            segment.payload_bytes = options_.payload_bytes[it.size];
            segment.size = it.size;
            break;
        case State::kFinSent: segment.flags = kTcpFin | kTcpAck; break;
        case State::kClosed: segment.flags = kTcpAck; break;  // the last word, which nobody answers
    }
    segment.acknowledged = it.state == State::kSynSent ? 0 : it.expected;
    out.push_back(segment);
}

// The answer has come: what comes next.
void TcpClient::proceed(std::uint32_t connection, std::uint64_t now, std::vector<TcpSegment>& out) {
    Connection& it = connections_[connection];
    stop(connection);
    it.attempts = 0;
    if (it.left != 0) {
        --it.left;
        it.state = State::kRequestSent;
    } else {
        it.state = State::kFinSent;
    }
    arm(connection, now);
    send(connection, out);
}

void TcpClient::take(const TcpSegment& segment, std::uint64_t now, std::vector<TcpSegment>& out) {
    Connection& it = connections_[segment.connection];
    const std::uint8_t flags = segment.flags & (kTcpSyn | kTcpAck | kTcpRst | kTcpFin);
    const std::uint32_t end = it.sequence + under_way(it);
    const bool acknowledges = (flags & kTcpAck) != 0 && segment.acknowledged == end;
    if (it.state == State::kClosed) {
        counts_.unexpected.add(1);
        return;
    }
    if ((flags & kTcpRst) != 0) {
        // Of the connection: it acknowledges what is under way, or is in the server's sequence.
        if (acknowledges || (it.state != State::kSynSent && segment.sequence == it.expected)) {
            counts_.reset.add(1);
            close(segment.connection);
        } else {
            counts_.unexpected.add(1);
        }
        return;
    }
    if (it.state == State::kSynSent && flags == (kTcpSyn | kTcpAck) && acknowledges) {
        counts_.established.add(1);
        connect_times_.record(now - it.opened_at);
        it.sequence = end;
        it.expected = segment.sequence + 1;
        proceed(segment.connection, now, out);
        return;
    }
    const bool in_sequence = it.state != State::kSynSent && segment.sequence == it.expected;
    if (it.state == State::kRequestSent && flags == kTcpAck && acknowledges && in_sequence) {
        if (segment.payload_bytes == 0) {
            return;  // heard, but not answered: the answer is still to come
        }
        it.sequence = end;
        it.expected += segment.payload_bytes;
        proceed(segment.connection, now, out);
        return;
    }
    if (it.state == State::kFinSent && flags == (kTcpFin | kTcpAck) && acknowledges && in_sequence) {
        it.sequence = end;
        it.expected += segment.payload_bytes + 1;
        counts_.closed.add(1);
        close(segment.connection);
        send(segment.connection, out);
        return;
    }
    counts_.unexpected.add(1);
}

void TcpClient::expire(std::uint64_t now, std::size_t most, std::vector<TcpSegment>& out) {
    for (Queue& queue : queues_) {
        while (queue.first != kNone && connections_[queue.first].due <= now && most != 0) {
            --most;
            const std::uint32_t connection = queue.first;
            Connection& it = connections_[connection];
            if (it.attempts + 1U == kAttempts) {
                counts_.timed_out.add(1);
                // The device and the server may forget it.
                out.push_back({connection, it.sequence, it.expected, 0, 0, kTcpRst | kTcpAck});
                close(connection);
                continue;
            }
            stop(connection);
            ++it.attempts;
            counts_.retransmitted.add(1);
            arm(connection, now);
            send(connection, out);
        }
    }
}

void TcpClient::abandon() {
    for (Queue& queue : queues_) {
        while (queue.first != kNone) {
            counts_.timed_out.add(1);
            close(queue.first);
        }
    }
}

void TcpClient::arm(std::uint32_t connection, std::uint64_t now) {
    Connection& it = connections_[connection];
    Queue& queue = queues_[it.attempts];
    it.due = now + queue.ticks;
    it.before = queue.last;
    it.after = kNone;
    (queue.last == kNone ? queue.first : connections_[queue.last].after) = connection;
    queue.last = connection;
}

// REQUIRES: it is in the queue of its attempts.
void TcpClient::stop(std::uint32_t connection) {
    Connection& it = connections_[connection];
    Queue& queue = queues_[it.attempts];
    (it.before == kNone ? queue.first : connections_[it.before].after) = it.after;
    (it.after == kNone ? queue.last : connections_[it.after].before) = it.before;
}

void TcpClient::close(std::uint32_t connection) {
    stop(connection);
    connections_[connection].state = State::kClosed;
    --open_;
}

}  // namespace sluice::pktgen
