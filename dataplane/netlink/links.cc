// Lists links and watches them through libnl.
#include "dataplane/netlink/links.h"

#include <linux/if_arp.h>
#include <linux/rtnetlink.h>
#include <netlink/cache.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/route.h>
#include <netlink/socket.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "dataplane/netlink/netlink_private.h"

namespace sluice::netlink {

// libnl's errors are its own numbers; the sentence carries its text.
Error netlink_error(int status, std::string_view what) {
    return make_error(Code::kUnavailable, "netlink: cannot {}: {}", what, nl_geterror(status));
}

Result<Socket> open_route_socket() {
    Socket socket(nl_socket_alloc());
    if (!socket) {
        return make_error(Code::kResourceExhausted, "netlink: no memory for a socket");
    }
    if (const int status = nl_connect(socket.get(), NETLINK_ROUTE); status < 0) {
        return netlink_error(status, "open a route socket");
    }
    return socket;
}

IpAddress to_address(nl_addr* address) {
    IpAddress out;
    const unsigned length = nl_addr_get_len(address);
    if (length == 4) {
        std::uint32_t v4_be = 0;
        std::memcpy(&v4_be, nl_addr_get_binary_addr(address), sizeof v4_be);
        return IpAddress::from_v4_be(v4_be);
    }
    if (length == out.bytes.size()) {
        std::memcpy(out.bytes.data(), nl_addr_get_binary_addr(address), out.bytes.size());
    }
    return out;
}

namespace {

struct CacheDeleter {
    void operator()(nl_cache* cache) const { nl_cache_free(cache); }
};
using Cache = std::unique_ptr<nl_cache, CacheDeleter>;

using Links = std::map<int, Link>;

Result<Links> read_links(nl_sock* socket) {
    nl_cache* raw = nullptr;
    if (const int status = rtnl_link_alloc_cache(socket, AF_UNSPEC, &raw); status < 0) {
        return netlink_error(status, "list the links");
    }
    const Cache cache(raw);
    Links links;
    for (nl_object* object = nl_cache_get_first(raw); object != nullptr;
         object = nl_cache_get_next(object)) {
        auto* const entry = reinterpret_cast<rtnl_link*>(object);  // NOLINT: libnl's own idiom
        if (links.size() >= kMaxLinks) {
            return make_error(Code::kResourceExhausted,
                              "netlink: more than {} links in this network namespace", kMaxLinks);
        }
        Link link;
        link.ifindex = rtnl_link_get_ifindex(entry);
        const char* const name = rtnl_link_get_name(entry);
        const char* const kind = rtnl_link_get_type(entry);
        link.name = name != nullptr ? name : "";
        link.kind = kind != nullptr ? kind : "";
        const unsigned flags = rtnl_link_get_flags(entry);
        link.up = (flags & IFF_UP) != 0;
        link.loopback = (flags & IFF_LOOPBACK) != 0;
        link.ethernet = rtnl_link_get_arptype(entry) == ARPHRD_ETHER;
        link.master_ifindex = rtnl_link_get_master(entry);
        link.mtu = rtnl_link_get_mtu(entry);
        links.emplace(link.ifindex, std::move(link));
    }
    for (auto& [ifindex, link] : links) {
        if (const auto master = links.find(link.master_ifindex);
            link.master_ifindex != 0 && master != links.end()) {
            link.master_kind = master->second.kind;
            link.master_name = master->second.name;
        }
    }
    return links;
}

Result<void> read_addresses(nl_sock* socket, Links& links) {
    nl_cache* raw = nullptr;
    if (const int status = rtnl_addr_alloc_cache(socket, &raw); status < 0) {
        return netlink_error(status, "list the addresses");
    }
    const Cache cache(raw);
    for (nl_object* object = nl_cache_get_first(raw); object != nullptr;
         object = nl_cache_get_next(object)) {
        auto* const entry = reinterpret_cast<rtnl_addr*>(object);  // NOLINT: libnl's own idiom
        const auto link = links.find(rtnl_addr_get_ifindex(entry));
        nl_addr* const local = rtnl_addr_get_local(entry);
        if (link == links.end() || local == nullptr ||
            rtnl_addr_get_scope(entry) != RT_SCOPE_UNIVERSE) {
            continue;
        }
        link->second.addresses.push_back(to_address(local));
        const auto full_bits = static_cast<int>(nl_addr_get_len(local) * 8);
        if (rtnl_addr_get_prefixlen(entry) < full_bits) {
            link->second.has_subnet = true;
        }
    }
    for (auto& [ifindex, link] : links) {
        std::sort(link.addresses.begin(), link.addresses.end());
    }
    return {};
}

// A route table may hold a million routes; only default ones are parsed, and none is kept.
int on_route(nl_msg* message, void* argument) {
    auto& links = *static_cast<Links*>(argument);
    nlmsghdr* const header = nlmsg_hdr(message);
    if (header->nlmsg_type != RTM_NEWROUTE ||
        nlmsg_datalen(header) < static_cast<int>(sizeof(rtmsg))) {
        return NL_OK;
    }
    const auto* const route_header = static_cast<const rtmsg*>(nlmsg_data(header));
    if (route_header->rtm_dst_len != 0 || route_header->rtm_table != RT_TABLE_MAIN ||
        route_header->rtm_type != RTN_UNICAST) {
        return NL_OK;
    }
    rtnl_route* route = nullptr;
    if (rtnl_route_parse(header, &route) < 0) {
        return NL_OK;
    }
    const int hops = rtnl_route_get_nnexthops(route);
    for (int i = 0; i < hops; ++i) {
        const auto link = links.find(rtnl_route_nh_get_ifindex(rtnl_route_nexthop_n(route, i)));
        if (link != links.end()) {
            link->second.has_default_route = true;
        }
    }
    rtnl_route_put(route);
    return NL_OK;
}

Result<void> read_default_routes(nl_sock* socket, Links& links) {
    if (const int status =
            nl_socket_modify_cb(socket, NL_CB_VALID, NL_CB_CUSTOM, on_route, &links);
        status < 0) {
        return netlink_error(status, "set the callback for routes");
    }
    for (const int family : {AF_INET, AF_INET6}) {
        rtmsg request{};
        request.rtm_family = static_cast<unsigned char>(family);
        if (const int status = nl_send_simple(socket, RTM_GETROUTE, NLM_F_DUMP, &request,
                                              sizeof request);
            status < 0) {
            return netlink_error(status, "ask for the routes");
        }
        if (const int status = nl_recvmsgs_default(socket); status < 0) {
            return netlink_error(status, "list the routes");
        }
    }
    return {};
}

}  // namespace

Result<std::vector<Link>> list_links() {
    SLUICE_TRY_ASSIGN(const Socket socket, open_route_socket());
    SLUICE_TRY_ASSIGN(Links links, read_links(socket.get()));
    SLUICE_TRY(read_addresses(socket.get(), links));
    SLUICE_TRY(read_default_routes(socket.get(), links));
    std::vector<Link> out;
    out.reserve(links.size());
    for (auto& [ifindex, link] : links) {
        out.push_back(std::move(link));
    }
    return out;
}

struct Monitor::Impl {
    Socket socket;
    bool changed = false;
};

Monitor::Monitor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Monitor::Monitor(Monitor&& other) noexcept = default;
Monitor& Monitor::operator=(Monitor&& other) noexcept = default;
Monitor::~Monitor() = default;

Result<Monitor> Monitor::create() {
    auto impl = std::make_unique<Impl>();
    SLUICE_TRY_ASSIGN(impl->socket, open_route_socket());
    nl_sock* const socket = impl->socket.get();
    nl_socket_disable_seq_check(socket);
    const auto on_change = [](nl_msg*, void* argument) -> int {
        *static_cast<bool*>(argument) = true;
        return NL_OK;
    };
    if (const int status =
            nl_socket_modify_cb(socket, NL_CB_VALID, NL_CB_CUSTOM, on_change, &impl->changed);
        status < 0) {
        return netlink_error(status, "set the callback for changes");
    }
    if (const int status = nl_socket_add_memberships(
            socket, RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE,
            RTNLGRP_IPV6_ROUTE, 0);
        status < 0) {
        return netlink_error(status, "subscribe to link changes");
    }
    if (const int status = nl_socket_set_nonblocking(socket); status < 0) {
        return netlink_error(status, "make the monitor non-blocking");
    }
    return Monitor(std::move(impl));
}

int Monitor::fd() const { return nl_socket_get_fd(impl_->socket.get()); }

Result<bool> Monitor::drain() {
    // Bounded, so that a storm of route changes cannot hold the caller; the fd stays readable for the next call.
    constexpr int kMaxReads = 1024;
    impl_->changed = false;
    for (int i = 0; i < kMaxReads; ++i) {
        const int status = nl_recvmsgs_default(impl_->socket.get());
        if (status == -NLE_AGAIN) {
            break;
        }
        // ENOBUFS reads as NLE_NOMEM: messages were lost, so anything may have changed.
        if (status == -NLE_NOMEM || status == -NLE_DUMP_INTR) {
            impl_->changed = true;
            continue;
        }
        if (status < 0) {
            return netlink_error(status, "read link changes");
        }
    }
    return impl_->changed;
}

}  // namespace sluice::netlink
