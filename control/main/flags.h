// The command line of sluice-control: its flags as they are given, and what they mean.
#pragma once

#include <string>
#include <vector>

#include "api/base/result.h"
#include "control/main/request_flags.h"
#include "control/main/serve.h"

namespace CLI {
class App;
}

namespace sluice::control {

// Values as typed; empty for flags that were not given and have no default.
struct Flags {
    std::string data_dir;
    std::string listen = kDefaultListen;
    std::string service_cidrs = kDefaultServiceCidrs;
    std::string node_ports = kDefaultNodePorts;
    std::string components = kDefaultComponents;
    std::vector<std::string> tls_sans;
    std::string dns_listen = dns::kDefaultListen;
    std::string cluster_domain = dns::kDefaultDomain;
    std::string dns_upstream;
    std::string cluster_cidrs = kDefaultClusterCidrs;
    int node_cidr_mask_size_ipv4 = 24;
    int node_cidr_mask_size_ipv6 = 64;
    std::string node_monitor_grace_period = "50s";
    std::string node_monitor_period = "5s";
    std::int64_t not_ready_toleration_s = 300;
    std::int64_t unreachable_toleration_s = 300;
    std::string event_ttl = "1h";
    std::string token_auth_file;
    std::string enable_admission_plugins;
    std::string disable_admission_plugins;
    std::string authorization_mode = authorization::kDefaultModes;
    bool anonymous_auth = false;
    RequestFlags requests;
    TokenFlags tokens;
    std::string log_level = "info";
    StorageFlags storage;
};

// Adds the flags; the command line is then parsed into *flags, which outlives app.
void add_flags(CLI::App* app, Flags* flags);

// Checks all values, and that no flag was given for a component that does not run. Errors name the flag.
Result<ServeOptions> read_flags(const CLI::App& app, const Flags& flags);

}  // namespace sluice::control
