// What the agent finds out about the machine it starts on, and the one setting that it changes there.
#pragma once

#include <string>
#include <string_view>

#include "api/base/result.h"

namespace sluice::agent {

// The first cgroup2 mount in the text of /proc/self/mounts, /sys/fs/cgroup preferred; kFailedPrecondition, with what to
// do, when there is none.
Result<std::string> find_cgroup2(std::string_view mounts);
Result<std::string> detect_cgroup_root();

// Where the BPF objects are: beside the binary in a build tree (../lib/bpf), else where they are installed. kNotFound
// names the places.
Result<std::string> find_object_dir(const std::string& installed);

// The host's name in lower case, as kubelet names nodes.
Result<std::string> default_node_name();

// Lets the kernel forward packets between this namespace's links, for both families; says so in the log when it
// was off. For IPv6, links that take router advertisements go on doing so.
Result<void> enable_forwarding();

// How readily the kernel ends this process when memory is short (-1000 to 1000); a refusal is logged and no more, for
// the dataplane goes on without the agent.
void set_oom_score(int adjustment);

// Lets this process open as many files as it is allowed to: thousands of health check ports are a socket each.
void raise_open_files_limit();

}  // namespace sluice::agent
