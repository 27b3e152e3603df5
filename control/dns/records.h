// What one Service means in DNS (Kubernetes DNS-based service discovery 1.1.0, sections 2.3
// to 2.5): pure functions from API objects to the addresses, hosts and ports that the zone answers
// with.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "api/base/ip_address.h"
#include "control/dns/name.h"

namespace k8s::io::api::core::v1 {
class Service;
}
namespace k8s::io::api::discovery::v1 {
class EndpointSlice;
}

namespace sluice::dns {

// Of one Service; endpoints beyond it are not published. An answer over TCP has room for some 4,000
// addresses.
inline constexpr std::size_t kMaxEndpoints = 10'000;

// The part of an EndpointSlice that matters here: kept in place of the object.
struct SliceFacts {
    std::string service;  // "namespace/name" of its Service; empty: of none
    struct Endpoint {
        IpAddress address;
        std::string hostname;  // lower case; empty: none
        bool ready = false;
        bool operator==(const Endpoint&) const = default;
    };
    struct Port {
        std::string name;      // lower case; unnamed ports are left out
        std::string protocol;  // "tcp", "udp", "sctp"
        std::uint16_t number = 0;
        bool operator==(const Port&) const = default;
    };
    std::vector<Endpoint> endpoints;
    std::vector<Port> ports;
    bool operator==(const SliceFacts&) const = default;
};
// Slices of names (addressType FQDN) and bad addresses, hostnames and ports give nothing.
[[nodiscard]] SliceFacts slice_facts(const ::k8s::io::api::discovery::v1::EndpointSlice& slice);

// The part of a Service that matters here.
struct ServiceFacts {
    std::string name, namespace_name;  // lower case, each one plain label
    bool headless = false;
    bool publish_not_ready = false;
    std::vector<IpAddress> cluster_ips;
    std::vector<SliceFacts::Port> ports;
    std::optional<Name> external_name;
    bool operator==(const ServiceFacts&) const;
};
// kInvalidArgument for names that cannot stand in DNS.
Result<ServiceFacts> service_facts(const ::k8s::io::api::core::v1::Service& service);

// The answers for one Service. Immutable once published.
struct ServiceRecords {
    std::string name, namespace_name;
    bool headless = false;
    std::vector<IpAddress> addresses;  // sorted; IPv4 first
    std::size_t v4_count = 0;          // of addresses
    struct Host {
        std::string label;  // lower case
        std::vector<IpAddress> addresses;
    };
    std::vector<Host> hosts;  // of a headless Service, sorted by label
    struct Target {
        std::uint16_t port = 0;
        std::uint32_t host = 0;  // index in hosts; of a Service with addresses of its own always 0,
                                 // and none is meant
        auto operator<=>(const Target&) const = default;
    };
    struct Srv {
        std::string port_label, protocol_label;  // "_http", "_tcp"
        std::vector<Target> targets;             // sorted
    };
    std::vector<Srv> srvs;
    std::optional<Name> external_name;

    [[nodiscard]] const Host* find_host(std::string_view label) const;
    // Whether the name of the Service exists: a headless one without endpoints does not (2.4.1).
    [[nodiscard]] bool exists() const { return external_name || !addresses.empty(); }
};
[[nodiscard]] ServiceRecords make_records(const ServiceFacts& service,
                                          std::span<const SliceFacts* const> slices);

// The label of an endpoint or pod without a hostname: "10-0-0-1", "fd00--1".
[[nodiscard]] std::string address_label(const IpAddress& address);
[[nodiscard]] std::optional<IpAddress> parse_address_label(std::string_view label);

// "4.3.2.1.in-addr.arpa." and its kin under ip6.arpa: the address of a whole such name, nothing for
// all others.
[[nodiscard]] std::optional<IpAddress> parse_reverse_name(const Name& name);
[[nodiscard]] Name reverse_name(const IpAddress& address);

}  // namespace sluice::dns
