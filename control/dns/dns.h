// The component "dns": watches Services, EndpointSlices and Namespaces at an API server and serves
// what they mean. The one header that the program includes.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "api/base/ip_address.h"
#include "api/base/result.h"
#include "api/client/kubeconfig.h"
#include "control/dns/endpoint.h"
#include "control/dns/name.h"

namespace sluice::dns {

inline constexpr const char* kDefaultListen = "127.0.0.1:10053";
inline constexpr const char* kDefaultDomain = "cluster.local";
inline constexpr const char* kResolvConf = "/etc/resolv.conf";

struct Options {
    std::vector<Endpoint> listen;
    Name domain;
    std::vector<Endpoint> upstreams;
    // Addresses in these ranges that belong to no Service have no name: nobody else is asked.
    std::vector<IpPrefix> service_cidrs;
};

// The values of --dns-listen, --cluster-domain and --dns-upstream. upstream: addresses; "none"; or
// empty for the name servers in resolv_conf, of which those that are this server itself are left
// out with a warning (named by flag, they are an error). Errors name the flag.
Result<Options> parse_options(std::string_view listen, std::string_view domain,
                              std::string_view upstream, const std::string& resolv_conf);

class Dns {
public:
    virtual ~Dns() = default;
    // Answers from its return on: with SERVFAIL for names of the cluster until all has been listed
    // once.
    static Result<std::unique_ptr<Dns>> start(const Options& options,
                                              const client::ClientConfig& api_server);
    // With the real ports.
    [[nodiscard]] virtual const std::vector<Endpoint>& endpoints() const = 0;
};

}  // namespace sluice::dns
