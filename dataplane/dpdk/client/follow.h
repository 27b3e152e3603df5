// Following the flow log of a DPDK engine, in its shared memory; neither engine nor agent is asked.
#pragma once

#include <memory>
#include <string>

#include "api/base/result.h"
#include "dataplane/ebpf/inspect_events.h"

namespace sluice::dpdk {

// Between looks at the rings: no lcore wakes anybody.
inline constexpr std::chrono::milliseconds kFollowLook{10};

// kNotFound when no engine has been there, kAlreadyExists when somebody else follows. poll() ends with kUnavailable
// when an engine with another number of lcores has taken the log's place.
Result<std::unique_ptr<dataplane::EventSource>> follow_shared_events(const std::string& state_directory,
                                                                     const dataplane::FollowOptions& options);

}  // namespace sluice::dpdk
