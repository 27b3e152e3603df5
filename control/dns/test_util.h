// Objects and answers in few words, for the tests of this folder.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "api/kubernetes/core/v1/service.pb.h"
#include "api/kubernetes/discovery/v1/endpointslice.pb.h"
#include "control/dns/message.h"
#include "control/dns/zone.h"

namespace sluice::dns::testing {

namespace corev1 = ::k8s::io::api::core::v1;
namespace discoveryv1 = ::k8s::io::api::discovery::v1;

inline Name name(std::string_view text) {
    return *Name::parse(text);
}
inline IpAddress ip(std::string_view text) {
    return *IpAddress::parse(text);
}

inline corev1::Service service(const std::string& namespace_name, const std::string& service_name,
                               const std::vector<std::string>& cluster_ips) {
    corev1::Service out;
    out.mutable_metadata()->set_name(service_name);
    out.mutable_metadata()->set_namespace_(namespace_name);
    out.mutable_spec()->set_type("ClusterIP");
    out.mutable_spec()->set_clusterip(cluster_ips.front());
    for (const auto& address : cluster_ips) out.mutable_spec()->add_clusterips(address);
    return out;
}

inline void add_port(corev1::Service* out, const std::string& port_name, int number,
                     const std::string& protocol = "TCP") {
    auto* port = out->mutable_spec()->add_ports();
    port->set_name(port_name);
    port->set_port(number);
    port->set_protocol(protocol);
}

inline discoveryv1::EndpointSlice slice(const std::string& namespace_name,
                                        const std::string& service_name,
                                        const std::string& family = "IPv4") {
    discoveryv1::EndpointSlice out;
    out.mutable_metadata()->set_namespace_(namespace_name);
    (*out.mutable_metadata()->mutable_labels())["kubernetes.io/service-name"] = service_name;
    out.set_addresstype(family);
    return out;
}

inline discoveryv1::Endpoint* add_endpoint(discoveryv1::EndpointSlice* out,
                                           const std::string& address,
                                           const std::string& hostname = "") {
    auto* endpoint = out->add_endpoints();
    endpoint->add_addresses(address);
    if (!hostname.empty()) endpoint->set_hostname(hostname);
    return endpoint;
}

inline void add_port(discoveryv1::EndpointSlice* out, const std::string& port_name, int number,
                     const std::string& protocol = "TCP") {
    auto* port = out->add_ports();
    port->set_name(port_name);
    port->set_port(number);
    port->set_protocol(protocol);
}

// The data of a record as zone files write it, for the types that this server makes.
inline std::string data_text(const Record& record) {
    const auto number = [&](std::size_t at) {
        return (static_cast<unsigned>(static_cast<std::uint8_t>(record.rdata[at])) << 8U) |
               static_cast<std::uint8_t>(record.rdata[at + 1]);
    };
    switch (record.type) {
        case type::kA: {
            std::uint32_t value = 0;
            std::copy_n(record.rdata.data(), 4, reinterpret_cast<char*>(&value));
            return "A " + IpAddress::from_v4_be(value).to_string();
        }
        case type::kAaaa: {
            IpAddress address;
            std::copy_n(record.rdata.data(), 16, reinterpret_cast<char*>(address.bytes.data()));
            return "AAAA " + address.to_string();
        }
        case type::kCname: return "CNAME " + target_of(record).to_string();
        case type::kPtr: return "PTR " + target_of(record).to_string();
        case type::kNs: return "NS " + target_of(record).to_string();
        case type::kSrv:
            return fmt::format("SRV {} {} {} {}", number(0), number(2), number(4),
                               Name::from_wire(record.rdata.substr(6)).to_string());
        case type::kTxt: return "TXT " + record.rdata.substr(1);
        case type::kSoa: return "SOA";
        default: return fmt::format("TYPE{}", record.type);
    }
}

// Sorted, so that the rotation does not show.
inline std::vector<std::string> texts(const std::vector<Record>& records) {
    std::vector<std::string> out;
    for (const auto& record : records) out.push_back(data_text(record));
    std::sort(out.begin(), out.end());
    return out;
}

}  // namespace sluice::dns::testing
