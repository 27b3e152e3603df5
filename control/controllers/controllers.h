// The component "controllers": all controllers in one set of shared informers. The one header that
// the program includes.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "api/base/ip_address.h"
#include "api/base/result.h"
#include "api/client/kubeconfig.h"

namespace sluice::controllers {

struct Options {
    // Nodes' podCIDRs are cut from these, one range a family; empty: podCIDRs are given by others.
    std::vector<IpPrefix> cluster_cidrs;
    int node_cidr_mask_size_ipv4 = 24;
    int node_cidr_mask_size_ipv6 = 64;
    // Service ranges are never handed out as podCIDRs.
    std::vector<IpPrefix> service_cidrs;
    // A node whose Lease is older than this is Unknown (kube-controller-manager's default is 50 s).
    std::uint32_t node_monitor_grace_period_ms = 50'000;
    std::uint32_t node_monitor_period_ms = 5'000;
    // Published to every namespace as ConfigMap kube-root-ca.crt.
    std::string root_ca_pem;
    // Where nodes reach the API server, published in kube-public/cluster-info; empty: the URL that
    // is used here.
    std::string advertise_url;
    // Signs CertificateSigningRequests of nodes; both empty: none are signed.
    std::string signing_certificate_pem;
    std::string signing_key_pem;
    // Signs the tokens of Secrets of type kubernetes.io/service-account-token (tokens/tokens.h); empty: such Secrets
    // stay as they are.
    std::function<Result<std::string>(const std::string& namespace_name, const std::string& secret,
                                      const std::string& account, const std::string& account_uid)>
        sign_token;
};

class Controllers {
public:
    virtual ~Controllers() = default;
    static Result<std::unique_ptr<Controllers>> start(const Options& options,
                                                      const client::ClientConfig& api_server);
};

}  // namespace sluice::controllers
