#include "control/main/components.h"

#include <fmt/format.h>

#include <random>

#include "control/main/network.h"

namespace sluice::control {
namespace {

constexpr const char* kDnsUser = "system:dns";
// The names that Kubernetes' own roles are bound to.
constexpr const char* kControllersUser = "system:kube-controller-manager";
constexpr const char* kSchedulerUser = "system:kube-scheduler";
// The Leases by which Kubernetes' own components elect theirs.
constexpr const char* kControllersLease = "kube-controller-manager";
constexpr const char* kSchedulerLease = "kube-scheduler";

Result<client::ClientConfig> client_config(const std::string& url, const std::string& ca_pem,
                                           const pki::KeyPair& pair) {
    client::ClientConfig config;
    SLUICE_TRY(client::parse_server_url(url, &config));
    config.ca_pem = ca_pem;
    config.certificate_pem = pair.certificate_pem;
    config.private_key_pem = pair.private_key_pem;
    return config;
}

}  // namespace

Result<ComponentCertificates> load_component_certificates(pki::Directory& directory,
                                                          const ServeOptions& options) {
    ComponentCertificates out;
    out.ca_pem = directory.ca_pem();
    if (options.dns) {
        SLUICE_TRY_ASSIGN(out.dns, directory.client("dns", kDnsUser, {kDnsUser}));
    }
    if (options.controllers) {
        out.ca = directory.ca();
        SLUICE_TRY_ASSIGN(out.controllers,
                          directory.client("controllers", kControllersUser, {kControllersUser}));
    }
    if (options.scheduler) {
        SLUICE_TRY_ASSIGN(out.scheduler,
                          directory.client("scheduler", kSchedulerUser, {kSchedulerUser}));
    }
    return out;
}

Result<RunningComponents> start_components(const ServeOptions& options,
                                           const ComponentCertificates& certificates,
                                           const std::string& url,
                                           const std::string& advertised_url,
                                           registry::Api* elect) {
    RunningComponents out;
    std::random_device random;
    const std::string identity = fmt::format("{}_{:08x}{:08x}", host_name(), random(), random());
    if (options.dns) {
        SLUICE_TRY_ASSIGN(const auto config,
                          client_config(url, certificates.ca_pem, certificates.dns));
        SLUICE_TRY_ASSIGN(out.dns, dns::Dns::start(*options.dns, config));
    }
    if (options.controllers) {
        SLUICE_TRY_ASSIGN(const auto config,
                          client_config(url, certificates.ca_pem, certificates.controllers));
        controllers::Options controllers = *options.controllers;
        controllers.advertise_url = advertised_url;
        controllers.root_ca_pem = certificates.ca_pem;
        controllers.signing_certificate_pem = certificates.ca.certificate_pem;
        controllers.signing_key_pem = certificates.ca.private_key_pem;
        if (elect != nullptr) {
            out.leaders.push_back(std::make_unique<Leader>(
                *elect, kControllersLease, identity, [controllers, config]() -> Result<Leader::Running> {
                    SLUICE_TRY_ASSIGN(auto made, controllers::Controllers::start(controllers, config));
                    return Leader::Running(std::move(made));
                }));
        } else {
            SLUICE_TRY_ASSIGN(out.controllers, controllers::Controllers::start(controllers, config));
        }
    }
    if (options.scheduler) {
        SLUICE_TRY_ASSIGN(const auto config,
                          client_config(url, certificates.ca_pem, certificates.scheduler));
        if (elect != nullptr) {
            out.leaders.push_back(
                std::make_unique<Leader>(*elect, kSchedulerLease, identity, [config]() -> Result<Leader::Running> {
                    SLUICE_TRY_ASSIGN(auto made, scheduler::Scheduler::start(config));
                    return Leader::Running(std::move(made));
                }));
        } else {
            SLUICE_TRY_ASSIGN(out.scheduler, scheduler::Scheduler::start(config));
        }
    }
    return out;
}

}  // namespace sluice::control
