// See model.h.
#include "agent/compile/model.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/kubernetes/core/v1/service.pb.h"
#include "api/kubernetes/discovery/v1/endpointslice.pb.h"

namespace sluice::compile {
namespace {

constexpr char kServiceNameLabel[] = "kubernetes.io/service-name";
constexpr char kHeadlessLabel[] = "service.kubernetes.io/headless";
constexpr char kProxyNameLabel[] = "service.kubernetes.io/service-proxy-name";

std::optional<std::uint16_t> port_number(std::int32_t value) {
    if (value < 1 || value > 65'535) return std::nullopt;
    return static_cast<std::uint16_t>(value);
}

std::string_view trim(std::string_view text) {
    const auto first = text.find_first_not_of(" \t\r\n");
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

// An address that a service may be reached at: unspecified, loopback and multicast ones would take over
// traffic that is no service's.
std::optional<IpAddress> usable_address(const std::string& text, const char* field,
                                        ServiceFacts* facts) {
    auto address = IpAddress::parse_sloppy(text);
    if (!address) {
        facts->notes.push_back(fmt::format("service {}: {}: {}; left out", facts->key, field,
                                           address.error().message));
        return std::nullopt;
    }
    if (address->is_unspecified() || address->is_loopback() || address->is_multicast()) {
        facts->notes.push_back(fmt::format(
            "service {}: {}: {} is unspecified, loopback or multicast; left out", facts->key, field,
            text));
        return std::nullopt;
    }
    return *address;
}

void read_cluster_ips(const corev1::ServiceSpec& spec, ServiceFacts* facts) {
    const auto add = [&](const std::string& text) {
        if (text.empty() || text == "None") return;
        const auto address = usable_address(text, "spec.clusterIPs", facts);
        if (!address) return;
        const bool taken = std::any_of(
            facts->cluster_ips.begin(), facts->cluster_ips.end(),
            [&](const IpAddress& other) { return other.family() == address->family(); });
        if (!taken) facts->cluster_ips.push_back(*address);
    };
    if (spec.clusterips_size() == 0) add(spec.clusterip());
    for (const auto& text : spec.clusterips()) {
        add(text);
        if (facts->cluster_ips.size() == 2) break;
    }
}

void read_ports(const corev1::ServiceSpec& spec, ServiceFacts* facts) {
    for (const auto& port : spec.ports()) {
        if (facts->ports.size() >= kMaxPortsPerService) {
            facts->notes.push_back(fmt::format("service {}: spec.ports: more than {}; the rest is left out",
                                               facts->key, kMaxPortsPerService));
            return;
        }
        ServicePort out;
        out.name = port.name();
        if (!port.protocol().empty()) {
            const auto protocol = parse_protocol(port.protocol());
            if (!protocol) {
                facts->notes.push_back(fmt::format("service {}: spec.ports[{}].protocol: {}; left out",
                                                   facts->key, port.name(),
                                                   protocol.error().message));
                continue;
            }
            out.protocol = *protocol;
        }
        const auto number = port_number(port.port());
        const auto node_port = port.nodeport() == 0 ? std::optional<std::uint16_t>(0)
                                                    : port_number(port.nodeport());
        if (!number || !node_port) {
            facts->notes.push_back(
                fmt::format("service {}: spec.ports[{}]: port {} or nodePort {} is not in 1-65535; "
                            "left out", facts->key, port.name(), port.port(), port.nodeport()));
            continue;
        }
        out.port = *number;
        out.node_port = *node_port;
        const bool taken = std::any_of(
            facts->ports.begin(), facts->ports.end(), [&](const ServicePort& other) {
                return other.name == out.name && other.protocol == out.protocol;
            });
        if (taken) {
            facts->notes.push_back(
                fmt::format("service {}: spec.ports: name \"{}\" appears twice for {}; the second is "
                            "left out", facts->key, out.name, protocol_name(out.protocol)));
            continue;
        }
        facts->ports.push_back(std::move(out));
    }
}

// True if the ranges, read for the family, let everyone in. The image has no source ranges, so anything
// narrower keeps the load-balancer address unprogrammed: closed rather than open to all.
bool open_to_all(const corev1::ServiceSpec& spec, IpFamily family) {
    if (spec.loadbalancersourceranges_size() == 0) return true;
    for (const auto& text : spec.loadbalancersourceranges()) {
        const auto range = IpPrefix::parse(trim(text), true);
        if (range && range->family() == family && range->bits == 0) return true;
    }
    return false;
}

void read_load_balancer_ips(const corev1::Service& service, ServiceFacts* facts) {
    for (const auto& ingress : service.status().loadbalancer().ingress()) {
        if (ingress.ip().empty()) continue;
        if (ingress.has_ipmode() && ingress.ipmode() != "VIP") continue;
        if (facts->load_balancer_ips.size() >= kMaxAddressesPerService) {
            facts->notes.push_back(
                fmt::format("service {}: status.loadBalancer.ingress: more than {}; the rest is left out",
                            facts->key, kMaxAddressesPerService));
            return;
        }
        const auto address = usable_address(ingress.ip(), "status.loadBalancer.ingress", facts);
        if (!address) continue;
        if (!open_to_all(service.spec(), address->family())) {
            facts->notes.push_back(
                fmt::format("service {}: spec.loadBalancerSourceRanges cannot be enforced by this version; "
                            "its load-balancer address {} is not answered here", facts->key,
                            address->to_string()));
            continue;
        }
        facts->load_balancer_ips.push_back(*address);
    }
}

Endpoint read_endpoint(const discoveryv1::Endpoint& endpoint, const IpAddress& address,
                       const std::string& node_name) {
    Endpoint out;
    out.address = address;
    const auto& conditions = endpoint.conditions();
    out.ready = !conditions.has_ready() || conditions.ready();
    out.serving = !conditions.has_serving() || conditions.serving();
    out.terminating = conditions.has_terminating() && conditions.terminating();
    out.local = endpoint.has_nodename() && endpoint.nodename() == node_name;
    out.has_node_hints = endpoint.hints().fornodes_size() > 0;
    for (const auto& hint : endpoint.hints().fornodes()) {
        if (hint.name() == node_name) out.hinted_to_this_node = true;
    }
    for (const auto& hint : endpoint.hints().forzones()) {
        if (out.zone_hints.size() >= kMaxHintsPerEndpoint) break;
        out.zone_hints.push_back(hint.name());
    }
    if (endpoint.has_targetref() && !endpoint.targetref().name().empty()) {
        out.target = endpoint.targetref().namespace_() + "/" + endpoint.targetref().name();
    }
    return out;
}

}  // namespace

std::optional<ServiceFacts> read_service(const corev1::Service& service) {
    const auto& spec = service.spec();
    if (spec.type() == "ExternalName") return std::nullopt;
    if (spec.clusterip().empty() && spec.clusterips_size() == 0) return std::nullopt;
    if (spec.clusterip() == "None") return std::nullopt;
    if (service.metadata().labels().contains(kProxyNameLabel)) return std::nullopt;

    ServiceFacts facts;
    facts.key = service.metadata().namespace_() + "/" + service.metadata().name();
    facts.created_s = service.metadata().creationtimestamp().seconds();
    read_cluster_ips(spec, &facts);
    if (facts.cluster_ips.empty() && facts.notes.empty()) return std::nullopt;
    read_ports(spec, &facts);
    for (const auto& text : spec.externalips()) {
        if (facts.external_ips.size() >= kMaxAddressesPerService) {
            facts.notes.push_back(fmt::format("service {}: spec.externalIPs: more than {}; the rest is left "
                                              "out", facts.key, kMaxAddressesPerService));
            break;
        }
        const auto address = usable_address(text, "spec.externalIPs", &facts);
        if (address) facts.external_ips.push_back(*address);
    }
    read_load_balancer_ips(service, &facts);
    facts.internal_local = spec.internaltrafficpolicy() == "Local";
    facts.external_local = spec.externaltrafficpolicy() == "Local";
    if (spec.sessionaffinity() == "ClientIP") {
        const auto& client_ip = spec.sessionaffinityconfig().clientip();
        const bool given = client_ip.has_timeoutseconds() && client_ip.timeoutseconds() > 0;
        facts.affinity_timeout_s = given ? static_cast<std::uint32_t>(client_ip.timeoutseconds())
                                         : kDefaultAffinityTimeoutS;
    }
    return facts;
}

std::optional<Slice> read_slice(const discoveryv1::EndpointSlice& slice,
                                const std::string& node_name) {
    const auto& labels = slice.metadata().labels();
    const auto label = labels.find(kServiceNameLabel);
    if (label == labels.end() || label->second.empty()) return std::nullopt;
    if (labels.contains(kHeadlessLabel)) return std::nullopt;

    Slice out;
    if (slice.addresstype() == "IPv4") {
        out.family = IpFamily::kIpv4;
    } else if (slice.addresstype() == "IPv6") {
        out.family = IpFamily::kIpv6;
    } else {
        return std::nullopt;
    }
    out.service = slice.metadata().namespace_() + "/" + label->second;
    for (const auto& port : slice.ports()) {
        if (out.ports.size() >= kMaxPortsPerService) break;
        if (!port.has_name() || !port.has_port()) continue;
        const auto number = port_number(port.port());
        if (!number) continue;
        SlicePort entry{port.name(), Protocol::kTcp, *number};
        if (port.has_protocol() && !port.protocol().empty()) {
            const auto protocol = parse_protocol(port.protocol());
            if (!protocol) continue;
            entry.protocol = *protocol;
        }
        out.ports.push_back(std::move(entry));
    }
    const auto count = std::min<std::size_t>(static_cast<std::size_t>(slice.endpoints_size()),
                                             kMaxEndpointsPerSlice);
    out.endpoints.reserve(count);
    for (const auto& endpoint : slice.endpoints()) {
        if (out.endpoints.size() >= kMaxEndpointsPerSlice) break;
        if (endpoint.addresses_size() == 0) continue;
        const auto address = IpAddress::parse_sloppy(endpoint.addresses(0));
        if (!address || address->family() != out.family || address->is_unspecified()) continue;
        out.endpoints.push_back(read_endpoint(endpoint, *address, node_name));
    }
    return out;
}

}  // namespace sluice::compile
