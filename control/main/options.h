// The command line's values, read and checked before anything is touched. Errors name the flag and the value.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/base/ip_address.h"
#include "api/base/result.h"

namespace sluice::control {

inline constexpr const char* kDefaultListen = "127.0.0.1:6443";
inline constexpr const char* kDefaultServiceCidrs = "10.96.0.0/16,fd00:10:96::/112";
inline constexpr const char* kDefaultNodePorts = "30000-32767";
inline constexpr const char* kDefaultComponents = "apiserver";
inline constexpr const char* kDefaultClusterCidrs = "10.244.0.0/16,fd00:10:244::/48";

struct Endpoint {
    IpAddress address;
    std::uint16_t port = 0;

    // "127.0.0.1:6443" or "[::1]:6443".
    [[nodiscard]] std::string to_string() const;
};

// "ADDRESS:PORT" with a literal address, IPv6 in brackets; port 0 is any free one.
Result<Endpoint> parse_listen(std::string_view text);

// One prefix or, for dual stack, one of each family, the first being the default. As large as kube-apiserver lets
// them be (20 host bits) and no smaller than 8 addresses.
Result<std::vector<IpPrefix>> parse_service_cidrs(std::string_view text);

// As parse_service_cidrs, of any size; "none" is none.
Result<std::vector<IpPrefix>> parse_cluster_cidrs(std::string_view text);

// "30000-32767": both ends included, from 1, the first not above the second.
Result<std::pair<std::uint16_t, std::uint16_t>> parse_node_ports(std::string_view text);

// The parts to run besides the API server, which is always among them as all others need it.
struct Components {
    bool controllers = false;
    bool scheduler = false;
    bool dns = false;
};
// Refuses names of components that do not exist.
Result<Components> parse_components(std::string_view text);

// The names a server certificate stands for.
struct ServerNames {
    std::vector<std::string> dns;
    std::vector<IpAddress> addresses;
};
// From the values of --tls-san: IP addresses or DNS names (RFC 1123, a leading "*." allowed).
Result<ServerNames> parse_tls_sans(const std::vector<std::string>& values);

// All names of the API server: those clients use from outside and, in clusters, from inside.
[[nodiscard]] ServerNames server_names(const ServerNames& asked, const Endpoint& listen,
                                       const std::vector<IpPrefix>& service_cidrs,
                                       const std::string& host_name);

// The first usable address of a range, which the Service default/kubernetes has.
[[nodiscard]] IpAddress first_address(const IpPrefix& range);

}  // namespace sluice::control
