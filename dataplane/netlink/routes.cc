// See routes.h.
#include "dataplane/netlink/routes.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netlink/addr.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "dataplane/netlink/netlink_private.h"

namespace sluice::netlink {
namespace {

struct RouteDeleter {
    void operator()(rtnl_route* route) const { rtnl_route_put(route); }
};
using RouteObject = std::unique_ptr<rtnl_route, RouteDeleter>;
struct AddressDeleter {
    void operator()(nl_addr* address) const { nl_addr_put(address); }
};
using AddressObject = std::unique_ptr<nl_addr, AddressDeleter>;

Error no_memory() { return make_error(Code::kResourceExhausted, "netlink: no memory for a route"); }

int family_of(const IpAddress& address) { return address.is_v4() ? AF_INET : AF_INET6; }

// Null without memory.
AddressObject build(const IpAddress& address, std::uint8_t bits) {
    AddressObject out;
    if (address.is_v4()) {
        const std::uint32_t v4_be = address.v4_be();
        out.reset(nl_addr_build(AF_INET, &v4_be, sizeof v4_be));
    } else {
        out.reset(nl_addr_build(AF_INET6, address.bytes.data(), address.bytes.size()));
    }
    if (out) nl_addr_set_prefixlen(out.get(), bits);
    return out;
}

AddressObject build(const IpAddress& address) {
    return build(address, address.is_v4() ? 32 : 128);
}

Result<RouteObject> to_object(const Route& route) {
    RouteObject out(rtnl_route_alloc());
    const AddressObject destination = build(route.destination.address, route.destination.bits);
    if (!out || !destination) return no_memory();
    rtnl_route_set_family(out.get(), static_cast<std::uint8_t>(family_of(route.destination.address)));
    rtnl_route_set_dst(out.get(), destination.get());
    rtnl_route_set_table(out.get(), RT_TABLE_MAIN);
    rtnl_route_set_protocol(out.get(), kRouteProtocol);
    rtnl_route_set_priority(out.get(), kRouteMetric);
    rtnl_route_set_scope(out.get(), RT_SCOPE_UNIVERSE);
    rtnl_route_set_type(out.get(), route.unreachable ? RTN_UNREACHABLE : RTN_UNICAST);
    if (route.unreachable) return out;
    rtnl_nexthop* hop = rtnl_route_nh_alloc();
    const AddressObject gateway = build(route.gateway);
    if (hop == nullptr || !gateway) {
        if (hop != nullptr) rtnl_route_nh_free(hop);
        return no_memory();
    }
    rtnl_route_nh_set_gateway(hop, gateway.get());
    rtnl_route_nh_set_ifindex(hop, route.ifindex);
    rtnl_route_add_nexthop(out.get(), hop);  // owns it from here
    return out;
}

struct Listing {
    std::uint8_t protocol = 0;
    std::vector<Route> routes;
    bool too_many = false;
};

// A route with several next hops was not made by us, whatever its protocol says; it comes back without a gateway and
// so differs from what it should be.
Route from_object(rtnl_route* object) {
    Route out;
    nl_addr* const destination = rtnl_route_get_dst(object);
    out.destination.address = to_address(destination);
    out.destination.bits = static_cast<std::uint8_t>(nl_addr_get_prefixlen(destination));
    if (nl_addr_get_len(destination) == 0 && rtnl_route_get_family(object) == AF_INET) {
        out.destination.address = IpAddress::from_v4_be(0);
    }
    out.unreachable = rtnl_route_get_type(object) == RTN_UNREACHABLE;
    if (!out.unreachable && rtnl_route_get_nnexthops(object) == 1) {
        rtnl_nexthop* const hop = rtnl_route_nexthop_n(object, 0);
        out.ifindex = rtnl_route_nh_get_ifindex(hop);
        if (nl_addr* const gateway = rtnl_route_nh_get_gateway(hop)) {
            out.gateway = to_address(gateway);
        }
    }
    return out;
}

int on_route(nl_msg* message, void* argument) {
    auto& listing = *static_cast<Listing*>(argument);
    nlmsghdr* const header = nlmsg_hdr(message);
    if (header->nlmsg_type != RTM_NEWROUTE ||
        nlmsg_datalen(header) < static_cast<int>(sizeof(rtmsg))) {
        return NL_OK;
    }
    const auto* const fixed = static_cast<const rtmsg*>(nlmsg_data(header));
    if (fixed->rtm_protocol != listing.protocol || fixed->rtm_table != RT_TABLE_MAIN) return NL_OK;
    if (listing.routes.size() >= kMaxRoutes) {
        listing.too_many = true;
        return NL_OK;
    }
    rtnl_route* parsed = nullptr;
    if (rtnl_route_parse(header, &parsed) < 0) return NL_OK;
    const RouteObject route(parsed);
    listing.routes.push_back(from_object(parsed));
    return NL_OK;
}

}  // namespace

Result<std::vector<Route>> list_routes(std::uint8_t protocol) {
    SLUICE_TRY_ASSIGN(const Socket socket, open_route_socket());
    Listing listing;
    listing.protocol = protocol;
    if (const int status =
            nl_socket_modify_cb(socket.get(), NL_CB_VALID, NL_CB_CUSTOM, on_route, &listing);
        status < 0) {
        return netlink_error(status, "set the callback for routes");
    }
    // The kernel then leaves out others' routes by itself, of which there may be a million; one that cannot sends all.
    const int strict = 1;
    ::setsockopt(nl_socket_get_fd(socket.get()), SOL_NETLINK, NETLINK_GET_STRICT_CHK, &strict,
                 sizeof strict);
    for (const int family : {AF_INET, AF_INET6}) {
        rtmsg request{};
        request.rtm_family = static_cast<unsigned char>(family);
        request.rtm_protocol = protocol;
        if (const int status = nl_send_simple(socket.get(), RTM_GETROUTE, NLM_F_DUMP, &request,
                                              sizeof request);
            status < 0) {
            return netlink_error(status, "ask for the routes");
        }
        if (const int status = nl_recvmsgs_default(socket.get()); status < 0) {
            return netlink_error(status, "list the routes");
        }
    }
    if (listing.too_many) {
        return make_error(Code::kResourceExhausted, "netlink: more than {} routes of protocol {}",
                          kMaxRoutes, protocol);
    }
    std::sort(listing.routes.begin(), listing.routes.end());
    return std::move(listing.routes);
}

Result<void> put_route(const Route& route) {
    SLUICE_TRY_ASSIGN(const Socket socket, open_route_socket());
    SLUICE_TRY_ASSIGN(const RouteObject object, to_object(route));
    const int status = rtnl_route_add(socket.get(), object.get(), NLM_F_CREATE | NLM_F_REPLACE);
    if (status < 0) {
        return netlink_error(status, "set the route to " + route.destination.to_string());
    }
    return {};
}

Result<void> remove_route(const Route& route) {
    SLUICE_TRY_ASSIGN(const Socket socket, open_route_socket());
    SLUICE_TRY_ASSIGN(const RouteObject object, to_object(route));
    const int status = rtnl_route_delete(socket.get(), object.get(), 0);
    if (status < 0 && status != -NLE_OBJ_NOTFOUND && status != -NLE_NODEV) {
        return netlink_error(status, "remove the route to " + route.destination.to_string());
    }
    return {};
}

Result<Hop> find_hop(const IpAddress& address) {
    SLUICE_TRY_ASSIGN(const Socket socket, open_route_socket());
    const AddressObject target = build(address);
    if (!target) return no_memory();
    rtnl_route* found = nullptr;
    const int status = rtnl_route_lookup(socket.get(), target.get(), &found);
    if (status < 0 || found == nullptr) {
        return make_error(Code::kNotFound, "there is no route to {}: {}", address.to_string(),
                          nl_geterror(status));
    }
    const RouteObject route(found);
    Hop out;
    out.local = rtnl_route_get_type(found) == RTN_LOCAL;
    if (rtnl_route_get_type(found) != RTN_UNICAST && !out.local) {
        return make_error(Code::kNotFound, "there is no route to {}", address.to_string());
    }
    if (rtnl_route_get_nnexthops(found) > 0) {
        rtnl_nexthop* const hop = rtnl_route_nexthop_n(found, 0);
        out.ifindex = rtnl_route_nh_get_ifindex(hop);
        out.direct = !out.local && rtnl_route_nh_get_gateway(hop) == nullptr;
    }
    return out;
}

}  // namespace sluice::netlink
