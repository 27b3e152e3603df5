// See node.h.
#include "agent/sync/node.h"

#include <algorithm>

#include "api/kubernetes/core/v1/node.pb.h"

namespace sluice::sync {
namespace {

bool fit_for_nodeports(const IpAddress& address) {
    return !address.is_loopback() && !address.is_unspecified() && !address.is_link_local() &&
           !address.is_multicast();
}

// Addresses of the links that keep() accepts, those with a default route first: their first address is what the kernel
// would choose towards the outside.
template <class Keep>
std::vector<IpAddress> link_addresses(const std::vector<netlink::Link>& links, const Keep& keep) {
    std::vector<IpAddress> out;
    for (const bool with_route : {true, false}) {
        for (const auto& link : links) {
            if (link.has_default_route != with_route || link.loopback || !keep(link)) continue;
            for (const auto& address : link.addresses) {
                if (fit_for_nodeports(address)) out.push_back(address);
            }
        }
    }
    return out;
}

bool contains(const std::vector<IpAddress>& addresses, const IpAddress& address) {
    return std::find(addresses.begin(), addresses.end(), address) != addresses.end();
}

// The first address of the family in the first list that has one and that the machine owns.
IpAddress masquerade_address(IpFamily family, const std::vector<IpAddress>& preferred,
                             const std::vector<IpAddress>& outward,
                             const std::vector<IpAddress>& all) {
    for (const auto& address : preferred) {
        if (address.family() == family && contains(all, address)) return address;
    }
    for (const auto* list : {&outward, &all}) {
        for (const auto& address : *list) {
            if (address.family() == family) return address;
        }
    }
    return {};
}

}  // namespace

NodeObject read_node(const ::k8s::io::api::core::v1::Node& node) {
    NodeObject out;
    for (const char* type : {"InternalIP", "ExternalIP"}) {
        for (const auto& entry : node.status().addresses()) {
            if (entry.type() != type) continue;
            const auto address = IpAddress::parse(entry.address());
            if (address && fit_for_nodeports(*address) && !contains(out.addresses, *address)) {
                out.addresses.push_back(*address);
            }
        }
    }
    const auto zone = node.metadata().labels().find(kZoneLabel);
    if (zone != node.metadata().labels().end()) out.zone = zone->second;
    auto cidrs = node.spec().podcidrs();
    if (cidrs.empty() && !node.spec().podcidr().empty()) cidrs.Add(std::string(node.spec().podcidr()));
    for (const auto& text : cidrs) {
        if (auto cidr = IpPrefix::parse(text, true)) out.pod_cidrs.push_back(*cidr);
    }
    out.eligible = !node.metadata().has_deletiontimestamp();
    for (const auto& taint : node.spec().taints()) {
        if (taint.key() == kAutoscalerTaint) out.eligible = false;
    }
    return out;
}

Result<NodePortAddresses> NodePortAddresses::parse(const std::vector<std::string>& texts) {
    NodePortAddresses out;
    for (const auto& text : texts) {
        if (text == "primary") {
            if (texts.size() == 1) return out;
            return make_error(Code::kInvalidArgument,
                              "--nodeport-addresses: \"primary\" stands alone or not at all");
        }
        auto range = IpPrefix::parse(text);
        if (!range) return range.error().with_context("--nodeport-addresses");
        out.ranges.push_back(*range);
    }
    return out;
}

image::Node make_node(const NodeInputs& inputs) {
    image::Node node;
    node.service_cidrs = inputs.service_cidrs;
    switch (inputs.detect.mode) {
        case DetectLocal::Mode::kNone: break;
        case DetectLocal::Mode::kClusterCidr: node.cluster_cidrs = inputs.detect.cidrs; break;
        case DetectLocal::Mode::kNodeCidr:
            if (inputs.object != nullptr) node.cluster_cidrs = inputs.object->pod_cidrs;
            break;
        case DetectLocal::Mode::kBridgeInterface:
            node.detect_by_device = true;
            node.pod_bridge = inputs.detect.bridge;
            break;
        case DetectLocal::Mode::kInterfaceNamePrefix:
            node.detect_by_device = true;
            node.pod_prefix = inputs.detect.prefix;
            break;
    }
    node.masquerade_all = inputs.masquerade_all;
    node.beside_kube_proxy = inputs.beside_kube_proxy;

    const auto all = link_addresses(inputs.links, [](const netlink::Link&) { return true; });
    auto outward = link_addresses(inputs.links, [](const netlink::Link& link) {
        return netlink::classify(link) == netlink::Role::kNode;
    });
    const std::vector<IpAddress> none;
    auto named = inputs.object != nullptr ? inputs.object->addresses : none;
    if (inputs.bind_address) {
        std::erase_if(named, [&](const IpAddress& a) { return a.family() == inputs.bind_address->family(); });
        named.insert(named.begin(), *inputs.bind_address);
    }
    const auto& primary = !named.empty() ? named : !outward.empty() ? outward : all;

    const auto& ranges = inputs.nodeports.ranges;
    if (ranges.empty()) {
        node.nodeport_addresses = primary;
    } else {
        for (const auto& address : all) {
            const auto of_family = [&](const IpPrefix& r) { return r.family() == address.family(); };
            const bool listed = std::any_of(ranges.begin(), ranges.end(), of_family);
            const bool inside = std::any_of(ranges.begin(), ranges.end(),
                                            [&](const IpPrefix& r) { return r.contains(address); });
            if (inside || !listed) node.nodeport_addresses.push_back(address);
        }
    }
    std::sort(node.nodeport_addresses.begin(), node.nodeport_addresses.end());
    node.nodeport_addresses.erase(
        std::unique(node.nodeport_addresses.begin(), node.nodeport_addresses.end()),
        node.nodeport_addresses.end());
    node.masquerade_v4 = masquerade_address(IpFamily::kIpv4, named, outward, all);
    node.masquerade_v6 = masquerade_address(IpFamily::kIpv6, named, outward, all);
    std::sort(node.service_cidrs.begin(), node.service_cidrs.end());
    std::sort(node.cluster_cidrs.begin(), node.cluster_cidrs.end());
    return node;
}

}  // namespace sluice::sync
