// The components beside the API server: clients of it like any other, each with a certificate of its own.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "api/base/result.h"
#include "api/client/kubeconfig.h"
#include "control/controllers/controllers.h"
#include "control/dns/dns.h"
#include "control/main/leader.h"
#include "control/main/serve.h"
#include "control/pki/pki.h"
#include "control/scheduler/scheduler.h"

namespace sluice::control {

// The certificates of the components that are to run.
struct ComponentCertificates {
    std::string ca_pem;
    pki::KeyPair ca;  // signs what the certificate controller approves
    pki::KeyPair dns;
    pki::KeyPair controllers;
    pki::KeyPair scheduler;
};
Result<ComponentCertificates> load_component_certificates(pki::Directory& directory,
                                                          const ServeOptions& options);

// Running components; destroying it ends them, in the reverse order of their start.
struct RunningComponents {
    std::unique_ptr<dns::Dns> dns;
    std::unique_ptr<controllers::Controllers> controllers;
    std::unique_ptr<scheduler::Scheduler> scheduler;
    // In place of the two above where other servers on the same store have them too.
    std::vector<std::unique_ptr<Leader>> leaders;
};
// url: where the API server answers here; advertised_url: where nodes reach it. elect: null when this is the only
// control plane; else where controllers and scheduler elect their leaders, which outlives what is returned.
Result<RunningComponents> start_components(const ServeOptions& options,
                                           const ComponentCertificates& certificates,
                                           const std::string& url,
                                           const std::string& advertised_url,
                                           registry::Api* elect);

}  // namespace sluice::control
