// See tables.h. Messages are read attribute by attribute: libnl's objects cost several allocations
// each, and a routing table may hold a million.
#include "dataplane/netlink/tables.h"

#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "dataplane/netlink/netlink_private.h"

namespace sluice::netlink {
namespace {

// What a dump collects, with the error that ended it.
template <class Item>
struct Collected {
    std::vector<Item> items;
    std::size_t most = 0;
    bool too_many = false;

    void add(Item item) {
        if (items.size() >= most) {
            too_many = true;
        } else {
            items.push_back(std::move(item));
        }
    }
};

std::optional<IpAddress> address_in(const nlattr* attribute, int family) {
    if (attribute == nullptr) return std::nullopt;
    const int length = nla_len(attribute);
    if (family == AF_INET && length == 4) {
        std::uint32_t v4_be = 0;
        std::memcpy(&v4_be, nla_data(attribute), sizeof v4_be);
        return IpAddress::from_v4_be(v4_be);
    }
    if (family == AF_INET6 && length == 16) {
        IpAddress out;
        std::memcpy(out.bytes.data(), nla_data(attribute), out.bytes.size());
        return out;
    }
    return std::nullopt;
}

int int_in(const nlattr* attribute) {
    return attribute != nullptr && nla_len(attribute) >= static_cast<int>(sizeof(std::uint32_t))
               ? static_cast<int>(nla_get_u32(attribute))
               : 0;
}

template <class Fixed>
const Fixed* fixed_part(nlmsghdr* header) {
    return nlmsg_datalen(header) < static_cast<int>(sizeof(Fixed))
               ? nullptr
               : static_cast<const Fixed*>(nlmsg_data(header));
}

// One dump; `type` is the request's, Fixed its header, `read` a function (nlmsghdr*, Collected&).
template <class Item, class Fixed, class Read>
Result<std::vector<Item>> dump(int type, const Fixed& request, std::size_t most, const char* what,
                               Read read) {
    SLUICE_TRY_ASSIGN(const Socket socket, open_route_socket());
    struct Context {
        Collected<Item> collected;
        Read read;
    } context{{{}, most, false}, read};
    const auto callback = [](nl_msg* message, void* argument) -> int {
        auto* const to = static_cast<Context*>(argument);
        to->read(nlmsg_hdr(message), to->collected);
        return NL_OK;
    };
    if (const int status =
            nl_socket_modify_cb(socket.get(), NL_CB_VALID, NL_CB_CUSTOM, callback, &context);
        status < 0) {
        return netlink_error(status, "set the callback for a dump");
    }
    Fixed fixed = request;
    if (const int status = nl_send_simple(socket.get(), type, NLM_F_DUMP, &fixed, sizeof fixed);
        status < 0) {
        return netlink_error(status, std::string("ask for the ") + what);
    }
    if (const int status = nl_recvmsgs_default(socket.get()); status < 0) {
        return netlink_error(status, std::string("list the ") + what);
    }
    if (context.collected.too_many) {
        return make_error(Code::kResourceExhausted, "netlink: more than {} {}", most, what);
    }
    std::sort(context.collected.items.begin(), context.collected.items.end());
    return std::move(context.collected.items);
}

void read_address(nlmsghdr* header, Collected<TableAddress>& out) {
    const auto* const fixed = fixed_part<ifaddrmsg>(header);
    if (header->nlmsg_type != RTM_NEWADDR || fixed == nullptr) return;
    nlattr* attributes[IFA_MAX + 1] = {};
    if (nlmsg_parse(header, sizeof *fixed, attributes, IFA_MAX, nullptr) < 0) return;
    const auto flags = attributes[IFA_FLAGS] != nullptr
                           ? static_cast<std::uint32_t>(int_in(attributes[IFA_FLAGS]))
                           : fixed->ifa_flags;
    const bool usable = (flags & IFA_F_TENTATIVE) == 0 || (flags & IFA_F_OPTIMISTIC) != 0;
    if (!usable || (flags & IFA_F_DADFAILED) != 0) return;
    // On a point-to-point link IFA_ADDRESS is the other end's.
    const nlattr* const own =
        attributes[IFA_LOCAL] != nullptr ? attributes[IFA_LOCAL] : attributes[IFA_ADDRESS];
    const auto address = address_in(own, fixed->ifa_family);
    if (!address) return;
    out.add({static_cast<int>(fixed->ifa_index), *address, fixed->ifa_prefixlen});
}

void read_next_hops(nlattr* multipath, int family, const TableRoute& base,
                    Collected<TableRoute>& out) {
    auto* hop = static_cast<rtnexthop*>(nla_data(multipath));
    int left = nla_len(multipath);
    while (left >= static_cast<int>(sizeof *hop) && hop->rtnh_len >= sizeof *hop &&
           hop->rtnh_len <= left) {
        if ((hop->rtnh_flags & RTNH_F_DEAD) == 0) {
            nlattr* attributes[RTA_MAX + 1] = {};
            TableRoute route = base;
            route.ifindex = hop->rtnh_ifindex;
            if (nla_parse(attributes, RTA_MAX,
                          reinterpret_cast<nlattr*>(RTNH_DATA(hop)),  // NOLINT: the ABI's idiom
                          hop->rtnh_len - static_cast<int>(sizeof *hop), nullptr) == 0 &&
                attributes[RTA_VIA] == nullptr) {
                route.gateway = address_in(attributes[RTA_GATEWAY], family).value_or(IpAddress{});
                out.add(route);
            }
        }
        const int step = static_cast<int>(RTNH_ALIGN(hop->rtnh_len));
        if (step > left) break;
        left -= step;
        hop = RTNH_NEXT(hop);
    }
}

void read_route(nlmsghdr* header, Collected<TableRoute>& out) {
    const auto* const fixed = fixed_part<rtmsg>(header);
    if (header->nlmsg_type != RTM_NEWROUTE || fixed == nullptr ||
        fixed->rtm_table != RT_TABLE_MAIN ||
        (fixed->rtm_flags & (RTM_F_CLONED | RTNH_F_DEAD)) != 0) {
        return;
    }
    const bool nowhere = fixed->rtm_type == RTN_UNREACHABLE || fixed->rtm_type == RTN_BLACKHOLE ||
                         fixed->rtm_type == RTN_PROHIBIT || fixed->rtm_type == RTN_THROW;
    if (!nowhere && fixed->rtm_type != RTN_UNICAST) return;
    nlattr* attributes[RTA_MAX + 1] = {};
    if (nlmsg_parse(header, sizeof *fixed, attributes, RTA_MAX, nullptr) < 0) return;
    TableRoute route;
    route.destination.bits = fixed->rtm_dst_len;
    if (fixed->rtm_family == AF_INET) route.destination.address = IpAddress::from_v4_be(0);
    if (attributes[RTA_DST] != nullptr) {
        const auto destination = address_in(attributes[RTA_DST], fixed->rtm_family);
        if (!destination) return;
        route.destination.address = *destination;
    }
    route.metric = static_cast<std::uint32_t>(int_in(attributes[RTA_PRIORITY]));
    if (nowhere) {
        out.add(route);
        return;
    }
    // An IPv4 route by an IPv6 gateway has another Ethernet header than its family says.
    if (attributes[RTA_VIA] != nullptr) return;
    if (attributes[RTA_MULTIPATH] != nullptr) {
        read_next_hops(attributes[RTA_MULTIPATH], fixed->rtm_family, route, out);
        return;
    }
    route.ifindex = int_in(attributes[RTA_OIF]);
    route.gateway = address_in(attributes[RTA_GATEWAY], fixed->rtm_family).value_or(IpAddress{});
    if (route.ifindex != 0) out.add(route);
}

void read_neighbour(nlmsghdr* header, Collected<TableNeighbour>& out) {
    constexpr unsigned kKnown =
        NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE;
    const auto* const fixed = fixed_part<ndmsg>(header);
    if (header->nlmsg_type != RTM_NEWNEIGH || fixed == nullptr ||
        (fixed->ndm_state & kKnown) == 0 || (fixed->ndm_flags & NTF_PROXY) != 0) {
        return;
    }
    nlattr* attributes[NDA_MAX + 1] = {};
    if (nlmsg_parse(header, sizeof *fixed, attributes, NDA_MAX, nullptr) < 0) return;
    const auto address = address_in(attributes[NDA_DST], fixed->ndm_family);
    TableNeighbour neighbour;
    if (!address || attributes[NDA_LLADDR] == nullptr ||
        nla_len(attributes[NDA_LLADDR]) != static_cast<int>(neighbour.mac.size())) {
        return;
    }
    neighbour.ifindex = fixed->ndm_ifindex;
    neighbour.address = *address;
    std::memcpy(neighbour.mac.data(), nla_data(attributes[NDA_LLADDR]), neighbour.mac.size());
    // NOARP entries are the kernel's own, of multicast and loopback.
    if (fixed->ndm_state == NUD_NOARP) return;
    neighbour.permanent = (fixed->ndm_state & NUD_PERMANENT) != 0;
    out.add(neighbour);
}

class Watch final : public TableWatch {
public:
    explicit Watch(Socket socket) : socket_(std::move(socket)) {}

    Result<void> begin() {
        nl_sock* const socket = socket_.get();
        nl_socket_disable_seq_check(socket);
        const auto on_message = [](nl_msg* message, void* argument) -> int {
            auto* const changes = static_cast<TableChanges*>(argument);
            switch (nlmsg_hdr(message)->nlmsg_type) {
                case RTM_NEWADDR:
                case RTM_DELADDR: changes->addresses = true; break;
                case RTM_NEWROUTE:
                case RTM_DELROUTE: changes->routes = true; break;
                case RTM_NEWNEIGH:
                case RTM_DELNEIGH: changes->neighbours = true; break;
                default: changes->links = true; break;
            }
            return NL_OK;
        };
        if (const int status =
                nl_socket_modify_cb(socket, NL_CB_VALID, NL_CB_CUSTOM, on_message, &changes_);
            status < 0) {
            return netlink_error(status, "set the callback for changes");
        }
        if (const int status = nl_socket_add_memberships(socket, RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR,
                                                         RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE,
                                                         RTNLGRP_IPV6_ROUTE, RTNLGRP_NEIGH, 0);
            status < 0) {
            return netlink_error(status, "subscribe to changes of tables");
        }
        if (const int status = nl_socket_set_nonblocking(socket); status < 0) {
            return netlink_error(status, "make the watch non-blocking");
        }
        return {};
    }

    int fd() const override { return nl_socket_get_fd(socket_.get()); }

    Result<TableChanges> drain() override {
        constexpr int kMaxReads = 1'024;
        changes_ = {};
        for (int i = 0; i < kMaxReads; ++i) {
            const int status = nl_recvmsgs_default(socket_.get());
            if (status == -NLE_AGAIN) break;
            // ENOBUFS reads as NLE_NOMEM: messages were lost.
            if (status == -NLE_NOMEM || status == -NLE_DUMP_INTR) {
                changes_ = {true, true, true, true};
                continue;
            }
            if (status < 0) return netlink_error(status, "read changes of tables");
        }
        return changes_;
    }

private:
    Socket socket_;
    TableChanges changes_;
};

}  // namespace

Result<int> device_index(const std::string& name) {
    const unsigned index = ::if_nametoindex(name.c_str());
    if (index == 0) return errno_error(errno == ENODEV ? ENOENT : errno, "network device {}", name);
    return static_cast<int>(index);
}

Result<std::vector<TableAddress>> list_addresses() {
    return dump<TableAddress>(RTM_GETADDR, ifaddrmsg{}, kMaxTableAddresses, "addresses",
                              read_address);
}

Result<std::vector<TableRoute>> list_all_routes() {
    std::vector<TableRoute> out;
    for (const int family : {AF_INET, AF_INET6}) {
        rtmsg request{};
        request.rtm_family = static_cast<unsigned char>(family);
        SLUICE_TRY_ASSIGN(auto routes,
                          dump<TableRoute>(RTM_GETROUTE, request, kMaxTableRoutes - out.size(),
                                           "routes", read_route));
        out.insert(out.end(), routes.begin(), routes.end());
    }
    return out;
}

Result<std::vector<TableNeighbour>> list_neighbours() {
    return dump<TableNeighbour>(RTM_GETNEIGH, ndmsg{}, kMaxTableNeighbours, "neighbours",
                                read_neighbour);
}

Result<std::unique_ptr<TableWatch>> TableWatch::create() {
    SLUICE_TRY_ASSIGN(Socket socket, open_route_socket());
    auto watch = std::make_unique<Watch>(std::move(socket));
    SLUICE_TRY(watch->begin());
    return std::unique_ptr<TableWatch>(std::move(watch));
}

}  // namespace sluice::netlink
