// See model.h.
#include "agent/compile/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

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

// Ranges that cannot be read are left out. If then a family has none although the service names some, its load-balancer
// addresses are closed rather than open to all. Returns the families that are.
std::vector<IpFamily> read_sources(const corev1::ServiceSpec& spec, ServiceFacts* facts) {
    bool unreadable = false;
    std::vector<IpFamily> everybody;
    for (const auto& text : spec.loadbalancersourceranges()) {
        if (facts->sources.size() >= kMaxSourceRangesPerService) {
            facts->notes.push_back(
                fmt::format("service {}: spec.loadBalancerSourceRanges: more than {}; the rest is left out",
                            facts->key, kMaxSourceRangesPerService));
            break;
        }
        const auto range = IpPrefix::parse(trim(text), true);
        if (!range) {
            unreadable = true;
            facts->notes.push_back(fmt::format("service {}: spec.loadBalancerSourceRanges: {}; left out",
                                               facts->key, range.error().message));
            continue;
        }
        if (range->bits == 0) everybody.push_back(range->family());
        facts->sources.push_back(*range);
    }
    std::vector<IpFamily> closed;
    for (const IpFamily family : {IpFamily::kIpv4, IpFamily::kIpv6}) {
        const auto of_family = [&](const IpPrefix& range) { return range.family() == family; };
        if (unreadable && std::none_of(facts->sources.begin(), facts->sources.end(), of_family)) {
            closed.push_back(family);
        }
        if (std::find(everybody.begin(), everybody.end(), family) != everybody.end()) {
            std::erase_if(facts->sources, of_family);
        }
    }
    return closed;
}

void read_load_balancer_ips(const corev1::Service& service, ServiceFacts* facts) {
    const std::vector<IpFamily> closed = read_sources(service.spec(), facts);
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
        if (std::find(closed.begin(), closed.end(), address->family()) != closed.end()) {
            facts->notes.push_back(
                fmt::format("service {}: spec.loadBalancerSourceRanges: none for {} can be read; that "
                            "load-balancer address is not answered here", facts->key,
                            address->to_string()));
            continue;
        }
        facts->load_balancer_ips.push_back(*address);
    }
}

// By link a packet does not say which endpoint was chosen: the endpoint's node has to choose the same. What each node
// draws or remembers for itself would send packets to and fro between nodes.
void read_link(ServiceFacts* facts) {
    const char* lacks = nullptr;
    if (facts->choice == image::Choice::kRandom) {
        lacks = "needs a consistent hash, by which all nodes choose alike";
    } else if (facts->affinity_timeout_s != 0) {
        lacks = "cannot be with sessionAffinity ClientIP, which each node remembers for itself";
    }
    if (lacks == nullptr) {
        facts->forwarding = image::Forwarding::kLink;
        return;
    }
    facts->forwarding = image::Forwarding::kNat;
    facts->notes.push_back(fmt::format("service {}: annotation {}: \"link\" {}; nat is used", facts->key,
                                       kForwardingAnnotation, lacks));
}

// REQUIRES: the affinity is known.
void read_annotations(const corev1::Service& service, ServiceFacts* facts) {
    const auto& annotations = service.metadata().annotations();
    if (const auto hash = annotations.find(kHashAnnotation); hash != annotations.end()) {
        if (hash->second == "tuple") {
            facts->choice = image::Choice::kTuple;
        } else if (hash->second == "client") {
            facts->choice = image::Choice::kClient;
        } else {
            facts->notes.push_back(
                fmt::format("service {}: annotation {}: \"{}\" is neither tuple nor client; endpoints are "
                            "chosen at random", facts->key, kHashAnnotation, hash->second));
        }
    }
    if (const auto how = annotations.find(kForwardingAnnotation); how != annotations.end()) {
        if (how->second == "nat") {
            facts->forwarding = image::Forwarding::kNat;
        } else if (how->second == "tunnel") {
            facts->forwarding = image::Forwarding::kTunnel;
        } else if (how->second == "option") {
            facts->forwarding = image::Forwarding::kOption;
        } else if (how->second == "link") {
            read_link(facts);
        } else {
            facts->notes.push_back(
                fmt::format("service {}: annotation {}: \"{}\" is none of nat, tunnel, option, link; the "
                            "node's default is used", facts->key, kForwardingAnnotation, how->second));
        }
    }
}

std::uint32_t read_weight(const discoveryv1::EndpointSlice& slice, std::vector<std::string>* notes) {
    const auto& annotations = slice.metadata().annotations();
    const auto found = annotations.find(kWeightAnnotation);
    if (found == annotations.end()) return 1;
    const std::string& text = found->second;
    std::uint32_t weight = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), weight);
    if (error == std::errc() && end == text.data() + text.size() && weight >= 1 &&
        weight <= kMaxWeight) {
        return weight;
    }
    notes->push_back(fmt::format("endpointslice {}/{}: annotation {}: \"{}\" is no number from 1 to {}; 1 is used",
                                 slice.metadata().namespace_(), slice.metadata().name(),
                                 kWeightAnnotation, text, kMaxWeight));
    return 1;
}

// Which of the slice's lists of zones is that of the endpoint; a new one is added.
std::uint16_t read_zones(const discoveryv1::Endpoint& endpoint, Slice* slice) {
    std::vector<std::string> zones;
    for (const auto& hint : endpoint.hints().forzones()) {
        if (zones.size() >= kMaxHintsPerEndpoint) break;
        zones.push_back(hint.name());
    }
    if (zones.empty()) return 0;
    std::sort(zones.begin(), zones.end());
    const auto known = std::find(slice->zone_hints.begin(), slice->zone_hints.end(), zones);
    const auto index = known - slice->zone_hints.begin();
    if (known == slice->zone_hints.end()) slice->zone_hints.push_back(std::move(zones));
    return static_cast<std::uint16_t>(index + 1);
}

void read_target(const discoveryv1::Endpoint& endpoint, const std::string& slice_namespace,
                 Slice* slice) {
    const auto& target = endpoint.targetref();
    if (target.name().empty()) return;
    if (target.namespace_() != slice_namespace || target.name().find('/') != std::string::npos) {
        slice->targets += target.namespace_() + "/";
    }
    slice->targets += target.name();
}

void read_endpoint(const discoveryv1::Endpoint& endpoint, const IpAddress& address,
                   const std::string& node_name, const std::string& slice_namespace, Slice* slice) {
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
    out.zones = read_zones(endpoint, slice);
    read_target(endpoint, slice_namespace, slice);
    out.target_end = static_cast<std::uint32_t>(slice->targets.size());
    slice->endpoints.push_back(out);
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
    if (spec.type() == "LoadBalancer" && facts.external_local && spec.healthchecknodeport() != 0) {
        const auto port = port_number(spec.healthchecknodeport());
        facts.health_check_port = port.value_or(0);
        if (!port) {
            facts.notes.push_back(fmt::format("service {}: spec.healthCheckNodePort: {} is not in 1-65535; "
                                              "left out", facts.key, spec.healthchecknodeport()));
        }
    }
    if (spec.sessionaffinity() == "ClientIP") {
        const auto& client_ip = spec.sessionaffinityconfig().clientip();
        const bool given = client_ip.has_timeoutseconds() && client_ip.timeoutseconds() > 0;
        facts.affinity_timeout_s = given ? static_cast<std::uint32_t>(client_ip.timeoutseconds())
                                         : kDefaultAffinityTimeoutS;
    }
    read_annotations(service, &facts);
    return facts;
}

std::optional<OwnedSlice> read_slice(const discoveryv1::EndpointSlice& slice,
                                     const std::string& node_name,
                                     std::vector<std::string>* notes) {
    const auto& labels = slice.metadata().labels();
    const auto label = labels.find(kServiceNameLabel);
    if (label == labels.end() || label->second.empty()) return std::nullopt;
    if (labels.contains(kHeadlessLabel)) return std::nullopt;

    OwnedSlice owned;
    Slice& out = owned.slice;
    if (slice.addresstype() == "IPv4") {
        out.family = IpFamily::kIpv4;
    } else if (slice.addresstype() == "IPv6") {
        out.family = IpFamily::kIpv6;
    } else {
        return std::nullopt;
    }
    owned.service = slice.metadata().namespace_() + "/" + label->second;
    out.weight = read_weight(slice, notes);
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
        read_endpoint(endpoint, *address, node_name, slice.metadata().namespace_(), &out);
    }
    // Kept for long: nothing beyond what is used.
    out.endpoints.shrink_to_fit();
    out.ports.shrink_to_fit();
    out.zone_hints.shrink_to_fit();
    out.targets.shrink_to_fit();
    return owned;
}

std::string Slice::target_of(std::size_t endpoint, std::string_view slice_namespace) const {
    const std::size_t begin = endpoint == 0 ? 0 : endpoints[endpoint - 1].target_end;
    const std::string_view text =
        std::string_view(targets).substr(begin, endpoints[endpoint].target_end - begin);
    if (text.empty() || text.find('/') != std::string_view::npos) return std::string(text);
    return fmt::format("{}/{}", slice_namespace, text);
}

bool Slice::hinted_to_zone(const Endpoint& endpoint, const std::string& zone) const {
    if (endpoint.zones == 0) return false;
    const auto& zones = zone_hints[endpoint.zones - std::size_t{1}];
    return std::binary_search(zones.begin(), zones.end(), zone);
}

}  // namespace sluice::compile
