// See plan.h.
#include "agent/network/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <optional>
#include <set>

#include "api/kubernetes/core/v1/node.pb.h"

namespace sluice::network {
namespace {

constexpr char kTable[] = "sluice-pods";

bool overlap(const IpPrefix& a, const IpPrefix& b) {
    return a.family() == b.family() && (a.contains(b.address) || b.contains(a.address));
}

bool plausible(const IpPrefix& range) {
    const IpAddress& address = range.address;
    const std::uint8_t least = range.family() == IpFamily::kIpv4 ? kMinPodBitsV4 : kMinPodBitsV6;
    return range.bits >= least && !address.is_loopback() && !address.is_unspecified() &&
           !address.is_link_local() && !address.is_multicast();
}

bool usable(const IpAddress& address) {
    return !address.is_loopback() && !address.is_unspecified() && !address.is_link_local() &&
           !address.is_multicast();
}

// What keeps the range from being routed; empty if nothing does.
std::string conflict(const IpPrefix& range, const std::map<IpPrefix, std::string>& taken,
                     const PodNodes& nodes, const std::vector<netlink::Link>& links) {
    for (const auto& [other, owner] : taken) {
        if (overlap(range, other)) {
            return fmt::format("its range {} overlaps {} of node {}", range.to_string(),
                               other.to_string(), owner);
        }
    }
    for (const auto& [name, node] : nodes) {
        for (const IpAddress& address : node.addresses) {
            if (range.contains(address)) {
                return fmt::format("its range {} holds the address {} of node {}",
                                   range.to_string(), address.to_string(), name);
            }
        }
    }
    for (const auto& link : links) {
        for (const IpAddress& address : link.addresses) {
            if (range.contains(address)) {
                return fmt::format("its range {} holds the address {} of {} on this node",
                                   range.to_string(), address.to_string(), link.name);
            }
        }
    }
    return "";
}

// The route to the range, or what is in its way.
tl::expected<netlink::Route, std::string> route_to(const IpPrefix& range, const PodNode& node,
                                                   const FindHop& find_hop) {
    const auto address =
        std::find_if(node.addresses.begin(), node.addresses.end(),
                     [&](const IpAddress& one) { return one.family() == range.family(); });
    if (address == node.addresses.end()) {
        return tl::unexpected(fmt::format("it has no InternalIP of the family of its range {}",
                                          range.to_string()));
    }
    const auto hop = find_hop(*address);
    if (!hop) {
        return tl::unexpected(fmt::format("its address {}: {}", address->to_string(),
                                          hop.error().message));
    }
    if (hop->local) {
        return tl::unexpected(
            fmt::format("its address {} is this machine's own", address->to_string()));
    }
    if (!hop->direct) {
        return tl::unexpected(fmt::format(
            "its address {} is not on a link of this node, and a router between does not know the "
            "ranges of pods",
            address->to_string()));
    }
    return netlink::Route{range, false, *address, hop->ifindex};
}

std::string list_of(const std::set<std::string>& items) {
    return fmt::format("{}", fmt::join(items, ", "));
}

}  // namespace

PodNode read_pod_node(const ::k8s::io::api::core::v1::Node& node) {
    PodNode out;
    for (const auto& entry : node.status().addresses()) {
        if (entry.type() != "InternalIP") continue;
        const auto address = IpAddress::parse(entry.address());
        if (address && usable(*address)) out.addresses.push_back(*address);
    }
    std::vector<std::string> texts(node.spec().podcidrs().begin(), node.spec().podcidrs().end());
    if (texts.empty() && !node.spec().podcidr().empty()) texts.push_back(node.spec().podcidr());
    std::set<IpFamily> families;
    for (const std::string& text : texts) {
        const auto range = IpPrefix::parse(text);
        if (!range) {
            out.problem = fmt::format("spec.podCIDRs: {}", range.error().message);
        } else if (!plausible(*range)) {
            out.problem = fmt::format("spec.podCIDRs: {} is no range for pods", text);
        } else if (!families.insert(range->family()).second) {
            out.problem = fmt::format("spec.podCIDRs: {} is the second range of its family", text);
        } else {
            out.ranges.push_back(*range);
            continue;
        }
        out.ranges.clear();
        return out;
    }
    return out;
}

std::string render_cni(const CniConfig& config) {
    namespace json = boost::json;
    json::array ranges;
    for (const IpPrefix& range : config.ranges) ranges.emplace_back(range.to_string());
    json::object plugin{{"type", "sluice-cni"}, {"podCIDRs", std::move(ranges)}};
    if (config.mtu > 0) plugin["mtu"] = config.mtu;
    if (!config.data_dir.empty()) plugin["dataDir"] = config.data_dir;
    return json::serialize(json::object{{"cniVersion", "1.0.0"},
                                        {"name", "sluice"},
                                        {"plugins", json::array{std::move(plugin)}}}) +
           "\n";
}

std::uint32_t mtu_of(const PodNode& own, const std::vector<netlink::Link>& links) {
    for (const IpAddress& address : own.addresses) {
        for (const auto& link : links) {
            if (std::find(link.addresses.begin(), link.addresses.end(), address) !=
                link.addresses.end()) {
                return std::clamp(link.mtu, kMinMtu, kMaxMtu);
            }
        }
    }
    return 0;
}

RoutePlan plan_routes(const std::string& own_name, const PodNodes& nodes,
                      const std::vector<netlink::Link>& links, const FindHop& find_hop) {
    RoutePlan out;
    std::map<IpPrefix, std::string> taken;
    if (const auto own = nodes.find(own_name); own != nodes.end()) {
        for (const IpPrefix& range : own->second.ranges) {
            taken.emplace(range, own_name);
            out.routes.push_back({range, true, {}, 0});
        }
    }
    for (const auto& [name, node] : nodes) {
        if (name == own_name) continue;
        if (!node.problem.empty()) out.problems.push_back({name, node.problem});
        for (const IpPrefix& range : node.ranges) {
            if (auto message = conflict(range, taken, nodes, links); !message.empty()) {
                out.problems.push_back({name, std::move(message)});
                continue;
            }
            taken.emplace(range, name);
            auto route = route_to(range, node, find_hop);
            if (route) {
                out.routes.push_back(*route);
            } else {
                out.problems.push_back({name, std::move(route).error()});
            }
        }
    }
    std::sort(out.routes.begin(), out.routes.end());
    return out;
}

std::string render_masquerade(const std::vector<IpPrefix>& ranges, const PodNodes& nodes) {
    std::string out = render_no_masquerade();
    out += fmt::format("add table inet {0}\n"
                       "add chain inet {0} postrouting {{ type nat hook postrouting priority "
                       "srcnat; policy accept; }}\n",
                       kTable);
    for (const IpFamily family : {IpFamily::kIpv4, IpFamily::kIpv6}) {
        std::set<std::string> from;
        for (const IpPrefix& range : ranges) {
            if (range.family() == family) from.insert(range.to_string());
        }
        if (from.empty()) continue;
        // What pods reach under their own addresses: pods and nodes.
        std::set<std::string> kept = from;
        for (const auto& [name, node] : nodes) {
            for (const IpAddress& address : node.addresses) {
                const bool inside = std::any_of(
                    ranges.begin(), ranges.end(),
                    [&](const IpPrefix& range) { return range.contains(address); });
                if (address.family() == family && !inside) kept.insert(address.to_string());
            }
        }
        kept.insert(family == IpFamily::kIpv4 ? "224.0.0.0/4" : "ff00::/8");
        out += fmt::format("add rule inet {0} postrouting {1} saddr {{ {2} }} {1} daddr != {{ {3} }} "
                           "masquerade fully-random\n",
                           kTable, family == IpFamily::kIpv4 ? "ip" : "ip6", list_of(from),
                           list_of(kept));
    }
    return out;
}

std::string render_no_masquerade() {
    // To add what is there already is no error, to delete what is not would be one.
    return fmt::format("add table inet {0}\ndelete table inet {0}\n", kTable);
}

}  // namespace sluice::network
