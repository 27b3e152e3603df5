// See records.h.
#include "control/dns/records.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include "api/kubernetes/core/v1/service.pb.h"
#include "api/kubernetes/discovery/v1/endpointslice.pb.h"

namespace sluice::dns {
namespace {

constexpr const char* kServiceNameLabel = "kubernetes.io/service-name";

std::optional<std::string> protocol_label(const std::string& protocol) {
    if (protocol.empty()) return "tcp";
    if (const auto known = parse_protocol(protocol)) return to_lower(protocol_name(*known));
    return std::nullopt;
}

// "_" stands before them, which counts.
bool is_port_name(std::string_view name) {
    return is_plain_label(name) && name.size() < kMaxLabelBytes;
}

template <class Ports>
std::vector<SliceFacts::Port> read_ports(const Ports& ports) {
    std::vector<SliceFacts::Port> out;
    for (const auto& port : ports) {
        const auto protocol = protocol_label(port.protocol());
        if (!is_port_name(port.name()) || !protocol || port.port() < 1 || port.port() > 65'535) {
            continue;
        }
        out.push_back({to_lower(port.name()), *protocol, static_cast<std::uint16_t>(port.port())});
    }
    return out;
}

bool family_then_value(const IpAddress& a, const IpAddress& b) {
    if (a.is_v4() != b.is_v4()) return a.is_v4();
    return a < b;
}

void sort_addresses(std::vector<IpAddress>* addresses) {
    std::sort(addresses->begin(), addresses->end(), family_then_value);
    addresses->erase(std::unique(addresses->begin(), addresses->end()), addresses->end());
}

using SrvKey = std::pair<std::string, std::string>;

void add_endpoints(const ServiceFacts& service, std::span<const SliceFacts* const> slices,
                   ServiceRecords* out) {
    std::map<std::string, std::vector<IpAddress>> hosts;
    std::map<SrvKey, std::set<std::pair<std::uint16_t, std::string>>> srvs;
    std::size_t count = 0;
    for (const SliceFacts* slice : slices) {
        for (const auto& endpoint : slice->endpoints) {
            if (!endpoint.ready && !service.publish_not_ready) continue;
            if (++count > kMaxEndpoints) break;
            const std::string label =
                endpoint.hostname.empty() ? address_label(endpoint.address) : endpoint.hostname;
            hosts[label].push_back(endpoint.address);
            out->addresses.push_back(endpoint.address);
            for (const auto& port : slice->ports) {
                srvs[{"_" + port.name, "_" + port.protocol}].insert({port.number, label});
            }
        }
    }
    for (auto& [label, addresses] : hosts) {
        sort_addresses(&addresses);
        out->hosts.push_back({label, std::move(addresses)});
    }
    for (const auto& [key, targets] : srvs) {
        ServiceRecords::Srv srv{key.first, key.second, {}};
        for (const auto& [port, label] : targets) {
            const auto host = static_cast<std::uint32_t>(out->find_host(label) - out->hosts.data());
            srv.targets.push_back({port, host});
        }
        std::sort(srv.targets.begin(), srv.targets.end());
        out->srvs.push_back(std::move(srv));
    }
}

std::optional<unsigned> parse_number(std::string_view text, int base, unsigned max) {
    unsigned value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (error != std::errc() || end != text.data() + text.size() || value > max)
        return std::nullopt;
    // "01" is no octet: each address has one name only.
    if (base == 10 && text.size() > 1 && text.front() == '0') return std::nullopt;
    return value;
}

constexpr char kHex[] = "0123456789abcdef";

}  // namespace

bool ServiceFacts::operator==(const ServiceFacts& other) const {
    const auto external = [](const ServiceFacts& facts) {
        return facts.external_name ? facts.external_name->wire() : std::string();
    };
    return name == other.name && namespace_name == other.namespace_name &&
           headless == other.headless && publish_not_ready == other.publish_not_ready &&
           cluster_ips == other.cluster_ips && ports == other.ports &&
           external(*this) == external(other);
}

const ServiceRecords::Host* ServiceRecords::find_host(std::string_view label) const {
    const auto at = std::lower_bound(
        hosts.begin(), hosts.end(), label,
        [](const Host& host, std::string_view wanted) { return host.label < wanted; });
    return at != hosts.end() && at->label == label ? &*at : nullptr;
}

SliceFacts slice_facts(const ::k8s::io::api::discovery::v1::EndpointSlice& slice) {
    SliceFacts facts;
    const auto& labels = slice.metadata().labels();
    const auto owner = labels.find(kServiceNameLabel);
    const bool v4 = slice.addresstype() == "IPv4";
    if (owner == labels.end() || owner->second.empty() || (!v4 && slice.addresstype() != "IPv6")) {
        return facts;
    }
    facts.service = to_lower(slice.metadata().namespace_() + "/" + owner->second);
    for (const auto& endpoint : slice.endpoints()) {
        if (endpoint.addresses().empty()) continue;
        const auto address = IpAddress::parse_sloppy(endpoint.addresses(0));
        if (!address || address->is_v4() != v4) continue;
        SliceFacts::Endpoint fact;
        fact.address = *address;
        if (is_plain_label(endpoint.hostname())) fact.hostname = to_lower(endpoint.hostname());
        fact.ready = !endpoint.conditions().has_ready() || endpoint.conditions().ready();
        facts.endpoints.push_back(std::move(fact));
    }
    facts.ports = read_ports(slice.ports());
    return facts;
}

Result<ServiceFacts> service_facts(const ::k8s::io::api::core::v1::Service& service) {
    ServiceFacts facts;
    facts.name = to_lower(service.metadata().name());
    facts.namespace_name = to_lower(service.metadata().namespace_());
    const auto refuse = [&](std::string_view why) {
        return make_error(Code::kInvalidArgument, "service {}/{}: {}", facts.namespace_name,
                          facts.name, why);
    };
    if (!is_plain_label(facts.name) || !is_plain_label(facts.namespace_name)) {
        return refuse("its name cannot stand in DNS");
    }
    const auto& spec = service.spec();
    if (spec.type() == "ExternalName") {
        auto target = Name::parse(spec.externalname());
        if (!target) return refuse("spec.externalName: " + target.error().message);
        facts.external_name = target->lower();
        return facts;
    }
    facts.publish_not_ready = spec.publishnotreadyaddresses();
    facts.headless = spec.clusterip() == "None";
    facts.ports = read_ports(spec.ports());
    if (facts.headless) return facts;
    const auto add = [&](const std::string& text) {
        if (const auto address = IpAddress::parse_sloppy(text))
            facts.cluster_ips.push_back(*address);
    };
    for (const auto& text : spec.clusterips()) add(text);
    if (spec.clusterips().empty()) add(spec.clusterip());
    return facts;
}

ServiceRecords make_records(const ServiceFacts& service,
                            std::span<const SliceFacts* const> slices) {
    ServiceRecords out;
    out.name = service.name;
    out.namespace_name = service.namespace_name;
    out.headless = service.headless;
    out.external_name = service.external_name;
    if (service.external_name) return out;
    if (service.headless) {
        add_endpoints(service, slices, &out);
    } else {
        out.addresses = service.cluster_ips;
        if (!out.addresses.empty()) {
            for (const auto& port : service.ports) {
                out.srvs.push_back({"_" + port.name, "_" + port.protocol, {{port.number, 0}}});
            }
        }
    }
    sort_addresses(&out.addresses);
    out.v4_count = static_cast<std::size_t>(
        std::count_if(out.addresses.begin(), out.addresses.end(),
                      [](const IpAddress& address) { return address.is_v4(); }));
    return out;
}

std::string address_label(const IpAddress& address) {
    std::string label = address.to_string();
    std::replace(label.begin(), label.end(), address.is_v4() ? '.' : ':', '-');
    return label;
}

std::optional<IpAddress> parse_address_label(std::string_view label) {
    for (const char separator : {'.', ':'}) {
        std::string text(label);
        std::replace(text.begin(), text.end(), '-', separator);
        const auto address = IpAddress::parse(text);
        if (address && address->is_v4() == (separator == '.')) return *address;
    }
    return std::nullopt;
}

std::optional<IpAddress> parse_reverse_name(const Name& name) {
    const auto labels = name.labels();
    if (labels.size() < 2 || !equal_ignoring_case(labels.back(), "arpa")) return std::nullopt;
    const std::string_view family = labels[labels.size() - 2];
    IpAddress address;
    if (labels.size() == 6 && equal_ignoring_case(family, "in-addr")) {
        address.bytes[10] = address.bytes[11] = 0xff;
        for (std::size_t i = 0; i < 4; ++i) {
            const auto octet = parse_number(labels[i], 10, 255);
            if (!octet) return std::nullopt;
            address.bytes[15 - i] = static_cast<std::uint8_t>(*octet);
        }
        return address;
    }
    if (labels.size() != 34 || !equal_ignoring_case(family, "ip6")) return std::nullopt;
    for (std::size_t i = 0; i < 32; ++i) {
        const auto digit = parse_number(labels[i], 16, 15);
        if (labels[i].size() != 1 || !digit) return std::nullopt;
        address.bytes[15 - i / 2] |= static_cast<std::uint8_t>(*digit << (i % 2 == 0 ? 0U : 4U));
    }
    return address;
}

Name reverse_name(const IpAddress& address) {
    std::string text;
    if (address.is_v4()) {
        for (std::size_t i = 15; i > 11; --i) text += fmt::format("{}.", address.bytes[i]);
        text += "in-addr.arpa";
    } else {
        for (std::size_t i = 16; i-- > 0;) {
            text += {kHex[address.bytes[i] & 0xfU], '.', kHex[address.bytes[i] >> 4U], '.'};
        }
        text += "ip6.arpa";
    }
    return *Name::parse(text);
}

}  // namespace sluice::dns
