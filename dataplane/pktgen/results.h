// What a run showed. Values only.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/pktgen/histogram.h"
#include "dataplane/pktgen/profile.h"

namespace sluice::pktgen {

// Of the whole run, with warm-up, drain and neighbour discovery, so that both sides of it can be
// compared; RunResult::sent and received are of the counted time only.
struct PortCounts {
    std::string name;
    std::uint64_t sent = 0, sent_bytes = 0, received = 0, received_bytes = 0;  // as we counted
    // As the port counted, over the same time: ours must agree.
    std::uint64_t port_sent = 0, port_sent_bytes = 0, port_received = 0, port_received_bytes = 0;
    std::uint64_t port_missed = 0, port_errors = 0;
    std::uint64_t refused = 0;  // not taken by the port when first offered; sent later, as a rule
    std::uint64_t starved = 0;  // bursts that were not built because all buffers were under way
};

// About once in `interval`: for the display and the time series. Counts and percentiles are of the
// interval. Lost are those known to be missing: of probes the gaps in the sequences, which a late
// comer fills; what follows the last one received shows only at the end of the run.
struct Sample {
    double at_s = 0;  // its end, since counting began; below 0 in the warm-up
    double interval_s = 0;
    std::uint64_t sent = 0, received = 0, lost = 0;
    std::uint64_t received_bytes = 0, sent_bytes = 0;
    std::uint64_t p50_ns = 0, p99_ns = 0;
    std::uint64_t connections = 0;  // closed as they should
    std::uint64_t behind = 0;       // given up; what can still be caught up with shows at the end
    // Since the run began. Only the observer's samples have them, not the ones of RunResult.
    std::vector<PortCounts> ports;
};

// Of kSynOnly a SYN-ACK that comes back is `established` and an RST is `reset`; of kScripted a SYN is
// `opened` and a FIN is `closed`, as sent.
struct ConnectionCounts {
    std::uint64_t opened = 0, established = 0, closed = 0;
    std::uint64_t timed_out = 0, reset = 0, retransmitted = 0;
};

struct RunResult {
    Profile profile;
    double seconds = 0;             // counted, without warm-up and drain
    std::uint64_t sent = 0, sent_bytes = 0;           // bytes with the link's checksum
    std::uint64_t received = 0, received_bytes = 0;   // probes of this run
    std::uint64_t lost = 0;         // sent, not received at the end of the drain; late is received
    std::uint64_t duplicated = 0;   // received more than once
    std::uint64_t reordered = 0;    // a lower sequence number than one before it (RFC 4737, 3.3)
    std::uint64_t corrupted = 0;    // a probe whose payload or checksum is wrong
    std::uint64_t foreign = 0;      // not ours
    std::uint64_t late = 0;         // behind the window in which duplicates are told: not told
    // Of a rate that was asked for: packets (of kStateful connections) that were due in the counted time
    // and not sent, because the lcore was away longer than can be caught up with, or the port full. Sent
    // and behind together are the rate times the time, but for a fraction of a packet a sender.
    std::uint64_t behind = 0;
    double offered_pps = 0, sent_pps = 0, received_pps = 0;
    double sent_bps = 0, received_bps = 0;            // of layer 1
    // ns, one way; clocks are one machine's. Of kStateful: from SYN to SYN-ACK, at the client.
    Histogram latency;
    ConnectionCounts connections;
    std::vector<PortCounts> ports;
    std::vector<Sample> samples;
};

}  // namespace sluice::pktgen
