// Runs a profile once. The searches (search.h) and the reports (report.h) know no more of DPDK than
// this.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "api/base/result.h"
#include "dataplane/pktgen/results.h"

namespace sluice::pktgen {

// Called on the main lcore, about once in RunnerOptions::display_interval_s; false ends the run,
// whose result is then what was seen. It should return within a millisecond: with one or two lcores
// the caller also receives.
using Observer = std::function<bool(const Sample&)>;

class Runner {
public:
    virtual ~Runner() = default;
    // May be called again and again; one call at a time, on the thread that started the EAL.
    // kInvalidArgument: the profile, or what the ports cannot do; kUnavailable: a link is down, a
    // neighbour silent; kResourceExhausted: memory for so many flows.
    virtual Result<RunResult> run(const Profile& profile, const Observer& observer) = 0;
};

// What a port does. Of several kBoth ports every second one sends the flows turned round (source
// and destination, addresses and ports), so that a pair of them loads a device in both directions.
// Of LifeCycle::kStateful the ports that send are clients, those that receive are servers, and a
// port that does both is both.
enum class Role : std::uint8_t { kBoth, kSend, kReceive };

struct RunnerOptions {
    // One for each port in the EAL's order. Empty: a single port does both; of several the first
    // sends and the others receive.
    std::vector<Role> roles;
    // How many lcores send and how many receive; 0: chosen. One lcore alone does everything; of two
    // the main one receives; of more the main one only watches, and the others are halved.
    unsigned send_lcores = 0, receive_lcores = 0;
    std::uint32_t max_frame_bytes = 1522;  // with the checksum of the link; 64 to kMaxFrameBytes
    std::uint16_t descriptors = 1024;      // of each queue; the port may round it
    double display_interval_s = 1.0;
    double link_wait_s = 5.0;              // for the links to come up
    double neighbour_wait_s = 3.0;         // for an answer to ARP or ND
};

inline constexpr std::uint32_t kMaxFrameBytes = 9622;
inline constexpr unsigned kMaxPorts = 32;

// Starts DPDK's environment with `arguments` (what follows "--": "-l", "0", "--vdev=net_null0"). Once
// in a process: DPDK cannot be started again, so a second call is kFailedPrecondition.
Result<void> start_eal(const std::string& program, const std::vector<std::string>& arguments);
// Ends it; nothing of DPDK may be used afterwards. Runners must be gone.
void stop_eal();

// REQUIRES: start_eal. Configures and starts all ports of the EAL; destroying the runner stops them.
// kFailedPrecondition: no ports; kInvalidArgument names the option.
Result<std::unique_ptr<Runner>> make_runner(const RunnerOptions& options);

}  // namespace sluice::pktgen
