// The kinds of load: what each client of a run asks for, over and over.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "api/base/result.h"
#include "bench/apiserver/client.h"

namespace sluice::bench {

struct Run {
    Target target;
    std::string what;           // a name of loads()
    int clients = 1;            // each with a connection of its own
    int threads = 1;            // that the clients share
    std::uint64_t requests = 0;  // of all clients together
    std::string prefix = "load";  // of the names of objects; a number from 0 follows
    std::uint64_t objects = 0;    // names that exist, for loads that ask for them in turn; 0: as many as requests
    int value_bytes = 256;        // of a ConfigMap's value
};

struct Outcome {
    double seconds = 0;
    std::uint64_t requests = 0;
    std::uint64_t failed = 0;      // other statuses than the load expects
    std::string first_failure;     // status and body
    std::uint64_t bytes = 0;       // received
    double client_cpu_s = 0;       // of this process, for the run
    std::vector<double> latency_ms;  // sorted
};

// Names and meanings, for --help.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> loads();

// kInvalidArgument: no such load. kUnavailable: a connection could not be made or broke.
Result<Outcome> run_load(const Run& run);

struct WatchRun {
    Target target;
    int watchers = 1;
    int writers = 1;  // each with a thread of its own
    int threads = 1;  // that the watchers share
    double changes_per_s = 0;  // of all writers; 0: as fast as they can
    std::uint64_t changes = 0;
    std::string prefix = "watched";
    int value_bytes = 256;
};

struct WatchOutcome {
    double seconds = 0;
    std::uint64_t changes = 0;
    std::uint64_t delivered = 0;    // over all watchers
    std::uint64_t missing = 0;      // changes that some watcher did not get, or out of order
    std::uint64_t ended = 0;        // watches that the server ended
    double client_cpu_s = 0;
    std::vector<double> from_request_ms;  // request begun to event at one of ten sampled watchers, sorted
    std::vector<double> from_answer_ms;   // answer at the writer to event; an event that was earlier counts as 0
};

// ConfigMaps are made while others watch; each watcher must see each, once, in the order of versions.
Result<WatchOutcome> run_watch(const WatchRun& run);

// CPU seconds of this process, user and system.
[[nodiscard]] double own_cpu_seconds();

}  // namespace sluice::bench
