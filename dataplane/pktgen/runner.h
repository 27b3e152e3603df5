// Runs a profile once. The searches (search.h) and the reports (report.h) know no more of DPDK than this.
#pragma once

#include <functional>

#include "api/base/result.h"
#include "dataplane/pktgen/results.h"

namespace sluice::pktgen {

// Called on the main lcore, about each `display interval`; false ends the run, whose result is then what was seen.
using Observer = std::function<bool(const Sample&)>;

class Runner {
public:
    virtual ~Runner() = default;
    // kInvalidArgument: the profile, or what the ports cannot do; kUnavailable: a link is down, a neighbour silent.
    virtual Result<RunResult> run(const Profile& profile, const Observer& observer) = 0;
};

}  // namespace sluice::pktgen
