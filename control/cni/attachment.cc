#include "control/cni/attachment.h"

#include <algorithm>

#include "api/base/log.h"

namespace sluice::cni {
namespace {

constexpr std::string_view kComponent = "cni";
constexpr std::uint8_t kFullV4 = 32;
constexpr std::uint8_t kFullV6 = 128;
constexpr std::uint8_t kLinkLocalV6 = 64;

// FNV-1a (Fowler, Noll, Vo), 64 bits: names must be the same in every build and on every machine.
std::uint64_t hash_of(const AttachmentId& id) {
    std::uint64_t hash = 0xcbf29ce484222325;
    const std::string text = id.container_id + '\n' + id.ifname;
    for (const char c : text) {
        hash ^= static_cast<unsigned char>(c);
        hash *= 0x100000001b3;
    }
    // The last bytes of the text reach only the low bits of FNV; folding brings them into what is
    // kept.
    return hash ^ (hash >> 29) ^ (hash << 17);
}

IpAddress gateway(const IpAddress& address) {
    auto parsed = IpAddress::parse(address.is_v4() ? kGatewayV4 : kGatewayV6);
    SLUICE_ASSERT(parsed);
    return *parsed;
}

std::uint8_t full_bits(const IpAddress& address) {
    return address.is_v4() ? kFullV4 : kFullV6;
}

bool has_v6(const std::vector<IpAddress>& addresses) {
    return std::any_of(addresses.begin(), addresses.end(),
                       [](const IpAddress& address) { return !address.is_v4(); });
}

Allocator::IsAlive by_link() {
    return [](const AttachmentId& id) { return link_exists(host_link_name(id)); };
}

Result<Link> require_link(Network& network, Side side, const std::string& name) {
    SLUICE_TRY_ASSIGN(auto link, network.find_link(side, name));
    if (!link) {
        return make_error(Code::kFailedPrecondition, "the {} has no link {}", side_name(side),
                          name);
    }
    return *link;
}

Result<void> apply(Network& network, Side side, int ifindex, const EndLayout& layout) {
    for (const LinkAddress& address : layout.addresses) {
        SLUICE_TRY(network.add_address(side, ifindex, address));
    }
    for (const Neighbour& neighbour : layout.neighbours) {
        SLUICE_TRY(network.add_neighbour(side, ifindex, neighbour));
    }
    for (const Route& route : layout.routes) {
        SLUICE_TRY(network.add_route(side, ifindex, route));
    }
    return {};
}

// From the veth on; what fails here is undone by attach().
Result<Attached> furnish(Network& network, Allocator& allocator, const Config& config,
                         const AttachmentId& id) {
    Attached attached;
    attached.host_name = host_link_name(id);
    SLUICE_TRY_ASSIGN(const Link host, require_link(network, Side::kHost, attached.host_name));
    SLUICE_TRY_ASSIGN(const Link pod, require_link(network, Side::kPod, id.ifname));
    SLUICE_TRY_ASSIGN(const Link loopback, require_link(network, Side::kPod, "lo"));
    SLUICE_TRY(network.set_alias(host.ifindex, host_link_alias(config.name, id)));
    SLUICE_TRY_ASSIGN(attached.addresses, allocator.allocate(id, config.pod_cidrs, by_link()));
    const Layout layout = layout_of(id, attached.addresses);
    if (has_v6(attached.addresses)) {
        SLUICE_TRY(network.enable_ipv6(Side::kHost, attached.host_name));
        SLUICE_TRY(network.enable_ipv6(Side::kPod, id.ifname));
    }
    SLUICE_TRY(network.set_up(Side::kPod, loopback.ifindex));
    SLUICE_TRY(network.set_up(Side::kPod, pod.ifindex));
    SLUICE_TRY(apply(network, Side::kPod, pod.ifindex, layout.pod));
    SLUICE_TRY(network.set_up(Side::kHost, host.ifindex));
    SLUICE_TRY(apply(network, Side::kHost, host.ifindex, layout.host));
    attached.host_mac = host.mac;
    attached.pod_mac = pod.mac;
    attached.mtu = pod.mtu;
    return attached;
}

// Deletes the link if it is the attachment's; one that another program made under the name stays. A
// link without an alias is a half-made one of ours: set_alias is the first step after its making.
Result<void> remove_link(Network& network, const Config& config, const AttachmentId& id) {
    const std::string name = host_link_name(id);
    SLUICE_TRY_ASSIGN(const auto link, network.find_link(Side::kHost, name));
    if (!link) return {};
    if (link->kind != "veth" ||
        (!link->alias.empty() && link->alias != host_link_alias(config.name, id))) {
        log::warn(kComponent, "link={} alias=\"{}\" is not of container={} and stays", name,
                  link->alias, id.container_id);
        return {};
    }
    SLUICE_TRY_ASSIGN(const bool deleted, network.delete_link(name));
    log::debug(kComponent, "container={} link={} deleted={}", id.container_id, name, deleted);
    return {};
}

template <class Item, class Describe>
Result<void> check_all(Side side, std::string_view what, const std::vector<Item>& wanted,
                       const std::vector<Item>& found, const Describe& describe) {
    for (const Item& item : wanted) {
        if (std::find(found.begin(), found.end(), item) == found.end()) {
            return make_error(Code::kFailedPrecondition, "the {}'s link has no {} {}",
                              side_name(side), what, describe(item));
        }
    }
    return {};
}

Result<void> check_end(Network& network, Side side, const Link& link, const EndLayout& layout) {
    if (!link.up) {
        return make_error(Code::kFailedPrecondition, "the {}'s link is down", side_name(side));
    }
    SLUICE_TRY_ASSIGN(const auto addresses, network.addresses(side, link.ifindex));
    SLUICE_TRY(check_all(side, "address", layout.addresses, addresses, [](const LinkAddress& item) {
        return fmt::format("{}/{}", item.address.to_string(), item.bits);
    }));
    SLUICE_TRY_ASSIGN(const auto neighbours, network.neighbours(side, link.ifindex));
    SLUICE_TRY(check_all(
        side, "permanent neighbour", layout.neighbours, neighbours, [](const Neighbour& item) {
            return fmt::format("{} at {}", item.address.to_string(), item.mac.to_string());
        }));
    SLUICE_TRY_ASSIGN(const auto routes, network.routes(side, link.ifindex));
    return check_all(side, "route to", layout.routes, routes, [](const Route& item) {
        return item.gateway ? fmt::format("{} via {}", item.destination.to_string(),
                                          item.gateway->to_string())
                            : item.destination.to_string();
    });
}

}  // namespace

std::string host_link_name(const AttachmentId& id) {
    return fmt::format("slc{:012x}", hash_of(id) & 0xffffffffffff);
}

std::string host_link_alias(const std::string& network, const AttachmentId& id) {
    return fmt::format("{} {}/{}/{}", kPluginType, network, id.container_id, id.ifname);
}

Mac mac_of(const AttachmentId& id, Side side) {
    const std::uint64_t hash = hash_of(id);
    Mac mac;
    mac.bytes[0] = side == Side::kHost ? 0x06 : 0x02;
    for (std::size_t i = 1; i < mac.bytes.size(); ++i) {
        mac.bytes[i] = static_cast<std::uint8_t>(hash >> (8 * i));
    }
    return mac;
}

Layout layout_of(const AttachmentId& id, const std::vector<IpAddress>& addresses) {
    Layout layout;
    const Mac host_mac = mac_of(id, Side::kHost);
    const Mac pod_mac = mac_of(id, Side::kPod);
    for (const IpAddress& address : addresses) {
        const IpAddress via = gateway(address);
        const bool v4 = address.is_v4();
        const IpPrefix all{v4 ? IpAddress::from_v4_be(0) : IpAddress{}, 0};
        layout.pod.addresses.push_back({address, full_bits(address), false});
        layout.pod.neighbours.push_back({via, host_mac});
        // IPv6 reaches a link-local gateway by its link; IPv4 must be told.
        if (v4) layout.pod.routes.push_back({{via, kFullV4}, std::nullopt});
        layout.pod.routes.push_back({all, via});
        // The gateway's scope is the link, so that the node is never known by it elsewhere.
        layout.host.addresses.push_back({via, v4 ? kFullV4 : kLinkLocalV6, true});
        layout.host.neighbours.push_back({address, pod_mac});
        layout.host.routes.push_back({{address, full_bits(address)}, std::nullopt});
    }
    return layout;
}

Result<Attached> attach(Network& network, Allocator& allocator, const Config& config,
                        const AttachmentId& id) {
    PairSpec spec{host_link_name(id), id.ifname, mac_of(id, Side::kHost), mac_of(id, Side::kPod),
                  config.mtu};
    if (auto made = network.create_pair(spec); !made) {
        if (made.error().code != Code::kAlreadyExists) return made.error();
        SLUICE_TRY_ASSIGN(const auto host, network.find_link(Side::kHost, spec.host_name));
        if (host && host->alias == host_link_alias(config.name, id)) {
            return make_error(Code::kAlreadyExists,
                              "container {} has {} already (the host's link {})", id.container_id,
                              id.ifname, spec.host_name);
        }
        if (host) {
            return make_error(Code::kAlreadyExists, "the host has a link {} of another owner: {}",
                              spec.host_name, host->alias);
        }
        return make_error(Code::kAlreadyExists, "the pod has a link {} already", id.ifname);
    }
    auto attached = furnish(network, allocator, config, id);
    if (attached) return attached;
    // The first error is the one to report; what the way back meets is only said in the log.
    if (auto deleted = network.delete_link(spec.host_name); !deleted) {
        log::error(kComponent, "container={} cannot undo: {}", id.container_id,
                   deleted.error().to_string());
    }
    if (auto released = allocator.release(id, by_link()); !released) {
        log::error(kComponent, "container={} cannot undo: {}", id.container_id,
                   released.error().to_string());
    }
    return attached;
}

Result<void> detach(Network& network, Allocator& allocator, const Config& config,
                    const AttachmentId& id) {
    // The link first: an address is given to another pod only when no route leads to the old one.
    SLUICE_TRY(remove_link(network, config, id));
    SLUICE_TRY_ASSIGN(const std::size_t released, allocator.release(id, by_link()));
    log::debug(kComponent, "container={} addresses_released={}", id.container_id, released);
    return {};
}

Result<void> check(Network& network, Allocator& allocator, const Config& config,
                   const AttachmentId& id) {
    SLUICE_TRY_ASSIGN(const auto addresses, allocator.addresses_of(id));
    std::vector<IpAddress> previous = config.previous.value_or(std::vector<IpAddress>());
    for (const IpAddress& address : previous) {
        if (std::find(addresses.begin(), addresses.end(), address) == addresses.end()) {
            return make_error(Code::kFailedPrecondition, "{} is not container {}'s",
                              address.to_string(), id.container_id);
        }
    }
    if (addresses.size() != config.pod_cidrs.size() || previous.size() != addresses.size()) {
        return make_error(Code::kFailedPrecondition,
                          "container {} has {} addresses; prevResult has {} and podCIDRs {} ranges",
                          id.container_id, addresses.size(), previous.size(),
                          config.pod_cidrs.size());
    }
    const std::string host_name = host_link_name(id);
    SLUICE_TRY_ASSIGN(const Link host, require_link(network, Side::kHost, host_name));
    SLUICE_TRY_ASSIGN(const Link pod, require_link(network, Side::kPod, id.ifname));
    SLUICE_TRY_ASSIGN(const Link loopback, require_link(network, Side::kPod, "lo"));
    if (host.alias != host_link_alias(config.name, id)) {
        return make_error(Code::kFailedPrecondition, "the host's link {} belongs to \"{}\"",
                          host_name, host.alias);
    }
    if (host.peer_ifindex != pod.ifindex || pod.peer_ifindex != host.ifindex) {
        return make_error(Code::kFailedPrecondition, "{} of the host and {} of the pod are no pair",
                          host_name, id.ifname);
    }
    if (host.mac != mac_of(id, Side::kHost) || pod.mac != mac_of(id, Side::kPod)) {
        return make_error(Code::kFailedPrecondition, "the hardware address of {} or {} was changed",
                          host_name, id.ifname);
    }
    if (config.mtu && (pod.mtu != *config.mtu || host.mtu != *config.mtu)) {
        return make_error(Code::kFailedPrecondition, "the mtu of {} is {}, of {} {}, not {}",
                          host_name, host.mtu, id.ifname, pod.mtu, *config.mtu);
    }
    if (!loopback.up) return make_error(Code::kFailedPrecondition, "the pod's lo is down");
    const Layout layout = layout_of(id, addresses);
    SLUICE_TRY(check_end(network, Side::kPod, pod, layout.pod));
    return check_end(network, Side::kHost, host, layout.host);
}

Result<std::vector<LinkAddress>> attach_loopback(Network& network) {
    SLUICE_TRY_ASSIGN(const Link link, require_link(network, Side::kPod, "lo"));
    SLUICE_TRY(network.set_up(Side::kPod, link.ifindex));
    return network.addresses(Side::kPod, link.ifindex);
}

Result<void> check_loopback(Network& network) {
    SLUICE_TRY_ASSIGN(const Link link, require_link(network, Side::kPod, "lo"));
    if (!link.up) return make_error(Code::kFailedPrecondition, "the pod's lo is down");
    return {};
}

Result<void> collect(Network& network, Allocator& allocator, const Config& config) {
    std::vector<AttachmentId> valid = config.valid_attachments;
    std::sort(valid.begin(), valid.end());
    SLUICE_TRY_ASSIGN(const auto owners, allocator.owners());
    std::optional<Error> first;
    for (const AttachmentId& owner : owners) {
        if (std::binary_search(valid.begin(), valid.end(), owner)) continue;
        // One that resists does not keep the others.
        auto done = detach(network, allocator, config, owner);
        if (!done && !first) first = done.error();
    }
    if (first) return *first;
    return {};
}

}  // namespace sluice::cni
