// Runs the control plane: wires store, certificates, HTTP server and resource API together, and takes them
// down in order.
#pragma once

#include <csignal>
#include <optional>
#include <string>
#include <vector>

#include "api/base/result.h"
#include "control/apiserver/admission/plugins.h"
#include "control/apiserver/authorization/authorizer.h"
#include "control/controllers/controllers.h"
#include "control/dns/dns.h"
#include "control/main/options.h"
#include "control/main/request_flags.h"
#include "control/main/storage.h"
#include "control/main/token_flags.h"

namespace sluice::control {

struct ServeOptions {
    std::string data_dir;
    Endpoint listen;
    std::vector<IpPrefix> service_cidrs;
    std::uint16_t node_port_min = 0;
    std::uint16_t node_port_max = 0;
    ServerNames tls_sans;
    std::string token_auth_file;  // empty: none
    admission::PluginSet admission_plugins = admission::PluginSet::all();
    std::vector<authorization::Mode> authorization_modes = {authorization::Mode::kNode,
                                                            authorization::Mode::kRbac};
    bool anonymous_auth = false;
    std::int64_t not_ready_toleration_s = 300;
    std::int64_t unreachable_toleration_s = 300;
    std::uint32_t event_ttl_s = 3'600;
    RequestOptions requests;
    TokenFlags tokens;
    StorageFlags storage;
    // Set: that component runs.
    std::optional<dns::Options> dns;
    std::optional<controllers::Options> controllers;
    bool scheduler = false;
};

// Blocks until one of `signals` arrives, then shuts down in order. REQUIRES: they are blocked in this thread, so
// that the threads made here do not take them.
Result<void> serve(const ServeOptions& options, const sigset_t& signals);

// A kubeconfig for a user with these groups, signed by the CA in the data directory, which must exist.
Result<std::string> make_kubeconfig(const std::string& data_dir, const std::string& server,
                                    const std::string& user,
                                    const std::vector<std::string>& groups);

}  // namespace sluice::control
