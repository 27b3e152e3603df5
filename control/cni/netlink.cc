// The Network of network.h through libnl: requests are built attribute by attribute, because
// libnl's objects would fetch and cache every link of the node for each question about one.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/nsfs.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/handlers.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <utility>

#include "api/base/fd.h"
#include "control/cni/network.h"

namespace sluice::cni {
namespace {

constexpr long kNsfsMagic = 0x6e736673;
// The dumps asked for are of one link each; more than this is not what this plugin made.
constexpr std::size_t kMaxEntries = 4096;

struct SocketDeleter {
    void operator()(nl_sock* socket) const { nl_socket_free(socket); }
};
using Socket = std::unique_ptr<nl_sock, SocketDeleter>;

struct MessageDeleter {
    void operator()(nl_msg* message) const { nlmsg_free(message); }
};
using Message = std::unique_ptr<nl_msg, MessageDeleter>;

// The thread is in `there` while this lives. A thread that could not come back would act on the
// wrong namespace, so that this is the end of the program.
class Inside {
public:
    static Result<Inside> enter(int there, int back) {
        if (::setns(there, CLONE_NEWNET) != 0) {
            return errno_error(errno, "cannot enter the pod's network namespace");
        }
        return Inside(back);
    }
    Inside(Inside&& other) noexcept : back_(std::exchange(other.back_, -1)) {}
    Inside& operator=(Inside&&) = delete;
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;
    ~Inside() {
        if (back_ >= 0) SLUICE_ASSERT(::setns(back_, CLONE_NEWNET) == 0);
    }

private:
    explicit Inside(int back) : back_(back) {}
    int back_;
};

Result<Socket> open_socket() {
    Socket socket(nl_socket_alloc());
    if (!socket) return make_error(Code::kResourceExhausted, "no memory for a netlink socket");
    // Acknowledgements are asked for one by one, where a request changes something.
    nl_socket_disable_auto_ack(socket.get());
    if (const int status = nl_connect(socket.get(), NETLINK_ROUTE); status < 0) {
        return make_error(Code::kUnavailable, "cannot open a netlink socket: {}",
                          nl_geterror(status));
    }
    // With it the kernel sends the entries of the link that a dump asks for, and not the whole
    // table.
    const int on = 1;
    ::setsockopt(nl_socket_get_fd(socket.get()), SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on,
                 sizeof on);
    return socket;
}

// A request under construction. Any attribute that does not fit makes send() fail, so that callers
// need not look.
class Request {
public:
    template <class Header>
    Request(int type, int flags, const Header& header) : message_(nlmsg_alloc_simple(type, flags)) {
        failed_ = !message_ || nlmsg_append(message_.get(), const_cast<Header*>(&header),
                                            sizeof header, NLMSG_ALIGNTO) < 0;
    }
    void put(int attribute, const void* data, std::size_t size) {
        failed_ = failed_ || nla_put(message_.get(), attribute, static_cast<int>(size), data) < 0;
    }
    void put_u32(int attribute, std::uint32_t value) { put(attribute, &value, sizeof value); }
    void put_text(int attribute, const std::string& text) {
        put(attribute, text.c_str(), text.size() + 1);
    }
    void put_address(int attribute, const IpAddress& address) {
        if (address.is_v4()) {
            put_u32(attribute, address.v4_be());
        } else {
            put(attribute, address.bytes.data(), address.bytes.size());
        }
    }
    void put_mac(int attribute, const Mac& mac) {
        put(attribute, mac.bytes.data(), mac.bytes.size());
    }
    template <class Body>
    void nest(int attribute, Body&& body) {
        if (failed_) return;
        nlattr* const start = nla_nest_start(message_.get(), attribute);
        if (start == nullptr) {
            failed_ = true;
            return;
        }
        body();
        if (!failed_) nla_nest_end(message_.get(), start);
    }
    template <class Header>
    void append(const Header& header) {
        failed_ = failed_ || nlmsg_append(message_.get(), const_cast<Header*>(&header),
                                          sizeof header, NLMSG_ALIGNTO) < 0;
    }
    [[nodiscard]] nl_msg* message() const { return failed_ ? nullptr : message_.get(); }

private:
    Message message_;
    bool failed_ = false;
};

using OnMessage = std::function<void(nlmsghdr*)>;

int on_valid(nl_msg* message, void* argument) {
    (*static_cast<OnMessage*>(argument))(nlmsg_hdr(message));
    return NL_OK;
}

int on_error(sockaddr_nl*, nlmsgerr* error, void* argument) {
    *static_cast<int*>(argument) = -error->error;
    return NL_STOP;
}

// 0, the errno that the kernel answered, or EIO when the exchange itself failed.
int exchange(nl_sock* socket, const Request& request, bool acknowledged, OnMessage on_message) {
    if (request.message() == nullptr) return EMSGSIZE;
    int error = 0;
    nl_socket_modify_cb(socket, NL_CB_VALID, NL_CB_CUSTOM, on_valid, &on_message);
    nl_socket_modify_err_cb(socket, NL_CB_CUSTOM, on_error, &error);
    int status = nl_send_auto(socket, request.message());
    if (status >= 0) status = acknowledged ? nl_wait_for_ack(socket) : nl_recvmsgs_default(socket);
    nl_socket_modify_cb(socket, NL_CB_VALID, NL_CB_DEFAULT, nullptr, nullptr);
    nl_socket_modify_err_cb(socket, NL_CB_DEFAULT, nullptr, nullptr);
    if (error != 0) return error;
    return status < 0 ? EIO : 0;
}

int change(nl_sock* socket, const Request& request) {
    return exchange(socket, request, true, [](nlmsghdr*) {});
}

constexpr int kChange = NLM_F_REQUEST | NLM_F_ACK;
constexpr int kCreate = kChange | NLM_F_CREATE | NLM_F_EXCL;
constexpr int kDump = NLM_F_REQUEST | NLM_F_DUMP;

unsigned char family_of(const IpAddress& address) {
    return address.is_v4() ? AF_INET : AF_INET6;
}

IpAddress address_of(nlattr* attribute) {
    IpAddress out;
    if (nla_len(attribute) == 4) return IpAddress::from_v4_be(nla_get_u32(attribute));
    if (nla_len(attribute) == 16) std::memcpy(out.bytes.data(), nla_data(attribute), 16);
    return out;
}

Mac mac_of(nlattr* attribute) {
    Mac mac;
    if (nla_len(attribute) == static_cast<int>(mac.bytes.size())) {
        std::memcpy(mac.bytes.data(), nla_data(attribute), mac.bytes.size());
    }
    return mac;
}

std::string text_of(nlattr* attribute) {
    const auto* const data = static_cast<const char*>(nla_data(attribute));
    return {data, ::strnlen(data, static_cast<std::size_t>(nla_len(attribute)))};
}

Link parse_link(nlmsghdr* header) {
    Link link;
    std::array<nlattr*, IFLA_MAX + 1> attributes{};
    if (nlmsg_parse(header, sizeof(ifinfomsg), attributes.data(), IFLA_MAX, nullptr) < 0)
        return link;
    const auto* const info = static_cast<const ifinfomsg*>(nlmsg_data(header));
    link.ifindex = info->ifi_index;
    link.up = (info->ifi_flags & IFF_UP) != 0;
    if (attributes[IFLA_MTU] != nullptr) link.mtu = nla_get_u32(attributes[IFLA_MTU]);
    if (attributes[IFLA_IFALIAS] != nullptr) link.alias = text_of(attributes[IFLA_IFALIAS]);
    if (attributes[IFLA_ADDRESS] != nullptr) link.mac = mac_of(attributes[IFLA_ADDRESS]);
    if (attributes[IFLA_LINK] != nullptr) {
        link.peer_ifindex = static_cast<int>(nla_get_u32(attributes[IFLA_LINK]));
    }
    std::array<nlattr*, IFLA_INFO_MAX + 1> kind{};
    if (attributes[IFLA_LINKINFO] != nullptr &&
        nla_parse_nested(kind.data(), IFLA_INFO_MAX, attributes[IFLA_LINKINFO], nullptr) == 0 &&
        kind[IFLA_INFO_KIND] != nullptr) {
        link.kind = text_of(kind[IFLA_INFO_KIND]);
    }
    return link;
}

class KernelNetwork final : public Network {
public:
    static Result<std::unique_ptr<Network>> open(const std::string& netns_path);

    Result<void> create_pair(const PairSpec& spec) override;
    Result<bool> delete_link(const std::string& name) override;
    Result<std::optional<Link>> find_link(Side side, const std::string& name) override;
    Result<void> set_alias(int host_ifindex, const std::string& alias) override;
    Result<void> set_up(Side side, int ifindex) override;
    Result<void> enable_ipv6(Side side, const std::string& name) override;
    Result<void> add_address(Side side, int ifindex, const LinkAddress& address) override;
    Result<void> add_neighbour(Side side, int ifindex, const Neighbour& neighbour) override;
    Result<void> add_route(Side side, int ifindex, const Route& route) override;
    Result<std::vector<LinkAddress>> addresses(Side side, int ifindex) override;
    Result<std::vector<Neighbour>> neighbours(Side side, int ifindex) override;
    Result<std::vector<Route>> routes(Side side, int ifindex) override;

private:
    nl_sock* socket(Side side) {
        nl_sock* const chosen = side == Side::kHost ? host_.get() : pod_.get();
        SLUICE_ASSERT(chosen != nullptr);
        return chosen;
    }

    Fd here_;
    Fd netns_;
    Socket host_;
    Socket pod_;
};

Result<Fd> open_netns(const std::string& path) {
    Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!fd) return errno_error(errno, "cannot open the network namespace {}", path);
    struct statfs file_system{};
    if (::fstatfs(fd.get(), &file_system) != 0) return errno_error(errno, "cannot stat {}", path);
    // A plain file is what is left of a namespace that was unmounted, or was never one.
    if (file_system.f_type != kNsfsMagic) {
        return make_error(Code::kNotFound, "{} is not a network namespace", path);
    }
    if (::ioctl(fd.get(), NS_GET_NSTYPE) != CLONE_NEWNET) {
        return make_error(Code::kInvalidArgument, "{} is a namespace, but not a network namespace",
                          path);
    }
    return fd;
}

Result<std::unique_ptr<Network>> KernelNetwork::open(const std::string& netns_path) {
    auto network = std::make_unique<KernelNetwork>();
    SLUICE_TRY_ASSIGN(network->host_, open_socket());
    if (netns_path.empty()) return std::unique_ptr<Network>(std::move(network));
    SLUICE_TRY_ASSIGN(network->netns_, open_netns(netns_path));
    network->here_ = Fd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    if (!network->here_) return errno_error(errno, "cannot open /proc/thread-self/ns/net");
    struct stat here{};
    struct stat there{};
    if (::fstat(network->here_.get(), &here) != 0 || ::fstat(network->netns_.get(), &there) != 0) {
        return errno_error(errno, "cannot stat {}", netns_path);
    }
    if (here.st_ino == there.st_ino && here.st_dev == there.st_dev) {
        return make_error(Code::kInvalidArgument, "{} is the host's own network namespace",
                          netns_path);
    }
    SLUICE_TRY_ASSIGN(const auto inside,
                      Inside::enter(network->netns_.get(), network->here_.get()));
    SLUICE_TRY_ASSIGN(network->pod_, open_socket());
    return std::unique_ptr<Network>(std::move(network));
}

Result<void> KernelNetwork::create_pair(const PairSpec& spec) {
    Request request(RTM_NEWLINK, kCreate, ifinfomsg{});
    request.put_text(IFLA_IFNAME, spec.host_name);
    request.put_mac(IFLA_ADDRESS, spec.host_mac);
    if (spec.mtu) request.put_u32(IFLA_MTU, *spec.mtu);
    request.nest(IFLA_LINKINFO, [&] {
        request.put_text(IFLA_INFO_KIND, "veth");
        request.nest(IFLA_INFO_DATA, [&] {
            request.nest(VETH_INFO_PEER, [&] {
                request.append(ifinfomsg{});
                request.put_text(IFLA_IFNAME, spec.pod_name);
                request.put_mac(IFLA_ADDRESS, spec.pod_mac);
                if (spec.mtu) request.put_u32(IFLA_MTU, *spec.mtu);
                request.put_u32(IFLA_NET_NS_FD, static_cast<std::uint32_t>(netns_.get()));
            });
        });
    });
    if (const int error = change(host_.get(), request); error != 0) {
        return errno_error(error, "cannot make the veth {} with its peer {} in the pod",
                           spec.host_name, spec.pod_name);
    }
    return {};
}

Result<bool> KernelNetwork::delete_link(const std::string& name) {
    Request request(RTM_DELLINK, kChange, ifinfomsg{});
    request.put_text(IFLA_IFNAME, name);
    const int error = change(host_.get(), request);
    if (error == ENODEV) return false;
    if (error != 0) return errno_error(error, "cannot delete the link {}", name);
    return true;
}

Result<std::optional<Link>> KernelNetwork::find_link(Side side, const std::string& name) {
    Request request(RTM_GETLINK, NLM_F_REQUEST, ifinfomsg{});
    request.put_text(IFLA_IFNAME, name);
    std::optional<Link> found;
    const int error = exchange(socket(side), request, false,
                               [&](nlmsghdr* header) { found = parse_link(header); });
    if (error == ENODEV) return std::optional<Link>();
    if (error != 0)
        return errno_error(error, "cannot look for the {}'s link {}", side_name(side), name);
    return found;
}

Result<void> KernelNetwork::set_alias(int host_ifindex, const std::string& alias) {
    ifinfomsg header{};
    header.ifi_index = host_ifindex;
    Request request(RTM_SETLINK, kChange, header);
    request.put(IFLA_IFALIAS, alias.data(), alias.size());
    if (const int error = change(host_.get(), request); error != 0) {
        return errno_error(error, "cannot name the host's link {}", host_ifindex);
    }
    return {};
}

Result<void> KernelNetwork::set_up(Side side, int ifindex) {
    ifinfomsg header{};
    header.ifi_index = ifindex;
    header.ifi_flags = IFF_UP;
    header.ifi_change = IFF_UP;
    const Request request(RTM_SETLINK, kChange, header);
    if (const int error = change(socket(side), request); error != 0) {
        return errno_error(error, "cannot set the {}'s link {} up", side_name(side), ifindex);
    }
    return {};
}

Result<void> KernelNetwork::enable_ipv6(Side side, const std::string& name) {
    std::optional<Inside> inside;
    if (side == Side::kPod) {
        SLUICE_TRY_ASSIGN(auto entered, Inside::enter(netns_.get(), here_.get()));
        inside.emplace(std::move(entered));
    }
    const std::string path = "/proc/sys/net/ipv6/conf/" + name + "/disable_ipv6";
    const Fd reader(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!reader) {
        // Not an errno_error: ENOENT would read as if the container were gone.
        return make_error(Code::kUnavailable,
                          "podCIDRs has an IPv6 range, but the {} has no IPv6: cannot open {}: {}",
                          side_name(side), path, std::strerror(errno));
    }
    char now = 0;
    if (::read(reader.get(), &now, 1) == 1 && now == '0') return {};
    // A read-only /proc/sys matters only where something has to be written.
    const Fd writer(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!writer || ::write(writer.get(), "0", 1) != 1) {
        return errno_error(errno, "cannot enable IPv6 by {} of the {}", path, side_name(side));
    }
    return {};
}

Result<void> KernelNetwork::add_address(Side side, int ifindex, const LinkAddress& address) {
    ifaddrmsg header{};
    header.ifa_family = family_of(address.address);
    header.ifa_prefixlen = address.bits;
    header.ifa_index = static_cast<std::uint32_t>(ifindex);
    header.ifa_scope = address.link_scope ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
    if (!address.address.is_v4()) header.ifa_flags = IFA_F_NODAD;
    Request request(RTM_NEWADDR, kCreate, header);
    request.put_address(IFA_LOCAL, address.address);
    request.put_address(IFA_ADDRESS, address.address);
    if (const int error = change(socket(side), request); error != 0) {
        return errno_error(error, "cannot add the address {}/{} to the {}'s link",
                           address.address.to_string(), address.bits, side_name(side));
    }
    return {};
}

Result<void> KernelNetwork::add_neighbour(Side side, int ifindex, const Neighbour& neighbour) {
    ndmsg header{};
    header.ndm_family = family_of(neighbour.address);
    header.ndm_ifindex = ifindex;
    header.ndm_state = NUD_PERMANENT;
    Request request(RTM_NEWNEIGH, kChange | NLM_F_CREATE | NLM_F_REPLACE, header);
    request.put_address(NDA_DST, neighbour.address);
    request.put_mac(NDA_LLADDR, neighbour.mac);
    if (const int error = change(socket(side), request); error != 0) {
        return errno_error(error, "cannot add the neighbour {} to the {}'s link",
                           neighbour.address.to_string(), side_name(side));
    }
    return {};
}

Result<void> KernelNetwork::add_route(Side side, int ifindex, const Route& route) {
    rtmsg header{};
    header.rtm_family = family_of(route.destination.address);
    header.rtm_dst_len = route.destination.bits;
    header.rtm_table = RT_TABLE_MAIN;
    header.rtm_protocol = RTPROT_STATIC;
    header.rtm_type = RTN_UNICAST;
    header.rtm_scope = route.gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
    Request request(RTM_NEWROUTE, kCreate, header);
    if (route.destination.bits != 0) request.put_address(RTA_DST, route.destination.address);
    if (route.gateway) request.put_address(RTA_GATEWAY, *route.gateway);
    request.put_u32(RTA_OIF, static_cast<std::uint32_t>(ifindex));
    if (const int error = change(socket(side), request); error != 0) {
        return errno_error(error, "cannot add the route to {} on the {}'s side",
                           route.destination.to_string(), side_name(side));
    }
    return {};
}

Result<std::vector<LinkAddress>> KernelNetwork::addresses(Side side, int ifindex) {
    ifaddrmsg header{};
    header.ifa_index = static_cast<std::uint32_t>(ifindex);
    const Request request(RTM_GETADDR, kDump, header);
    std::vector<LinkAddress> found;
    const int error = exchange(socket(side), request, false, [&](nlmsghdr* message) {
        std::array<nlattr*, IFA_MAX + 1> attributes{};
        if (message->nlmsg_type != RTM_NEWADDR || found.size() >= kMaxEntries ||
            nlmsg_parse(message, sizeof(ifaddrmsg), attributes.data(), IFA_MAX, nullptr) < 0) {
            return;
        }
        const auto* const info = static_cast<const ifaddrmsg*>(nlmsg_data(message));
        nlattr* const own =
            attributes[IFA_LOCAL] != nullptr ? attributes[IFA_LOCAL] : attributes[IFA_ADDRESS];
        if (own == nullptr || info->ifa_index != static_cast<std::uint32_t>(ifindex)) return;
        found.push_back({address_of(own), info->ifa_prefixlen, info->ifa_scope == RT_SCOPE_LINK});
    });
    if (error != 0)
        return errno_error(error, "cannot list the addresses of the {}'s link", side_name(side));
    return found;
}

Result<std::vector<Neighbour>> KernelNetwork::neighbours(Side side, int ifindex) {
    Request request(RTM_GETNEIGH, kDump, ndmsg{});
    request.put_u32(NDA_IFINDEX, static_cast<std::uint32_t>(ifindex));
    std::vector<Neighbour> found;
    const int error = exchange(socket(side), request, false, [&](nlmsghdr* message) {
        std::array<nlattr*, NDA_MAX + 1> attributes{};
        if (message->nlmsg_type != RTM_NEWNEIGH || found.size() >= kMaxEntries ||
            nlmsg_parse(message, sizeof(ndmsg), attributes.data(), NDA_MAX, nullptr) < 0) {
            return;
        }
        const auto* const info = static_cast<const ndmsg*>(nlmsg_data(message));
        if (info->ndm_ifindex != ifindex || (info->ndm_state & NUD_PERMANENT) == 0 ||
            attributes[NDA_DST] == nullptr || attributes[NDA_LLADDR] == nullptr) {
            return;
        }
        found.push_back({address_of(attributes[NDA_DST]), mac_of(attributes[NDA_LLADDR])});
    });
    if (error != 0)
        return errno_error(error, "cannot list the neighbours of the {}'s link", side_name(side));
    return found;
}

Result<std::vector<Route>> KernelNetwork::routes(Side side, int ifindex) {
    std::vector<Route> found;
    for (const IpAddress& any : {IpAddress::from_v4_be(0), IpAddress{}}) {
        const unsigned char family = family_of(any);
        rtmsg header{};
        header.rtm_family = family;
        header.rtm_table = RT_TABLE_MAIN;
        header.rtm_type = RTN_UNICAST;
        Request request(RTM_GETROUTE, kDump, header);
        request.put_u32(RTA_OIF, static_cast<std::uint32_t>(ifindex));
        const int error = exchange(socket(side), request, false, [&](nlmsghdr* message) {
            std::array<nlattr*, RTA_MAX + 1> attributes{};
            if (message->nlmsg_type != RTM_NEWROUTE || found.size() >= kMaxEntries ||
                nlmsg_parse(message, sizeof(rtmsg), attributes.data(), RTA_MAX, nullptr) < 0) {
                return;
            }
            const auto* const info = static_cast<const rtmsg*>(nlmsg_data(message));
            if (attributes[RTA_OIF] == nullptr ||
                nla_get_u32(attributes[RTA_OIF]) != static_cast<std::uint32_t>(ifindex) ||
                info->rtm_table != RT_TABLE_MAIN || info->rtm_type != RTN_UNICAST) {
                return;
            }
            Route route;
            route.destination.bits = info->rtm_dst_len;
            route.destination.address = any;
            if (attributes[RTA_DST] != nullptr) {
                route.destination.address = address_of(attributes[RTA_DST]);
            }
            if (attributes[RTA_GATEWAY] != nullptr)
                route.gateway = address_of(attributes[RTA_GATEWAY]);
            found.push_back(route);
        });
        // A kernel without the family has no routes of it.
        if (error != 0 && error != EAFNOSUPPORT && error != EOPNOTSUPP) {
            return errno_error(error, "cannot list the routes of the {}'s link", side_name(side));
        }
    }
    return found;
}

}  // namespace

std::string_view side_name(Side side) {
    return side == Side::kHost ? "host" : "pod";
}

std::string Mac::to_string() const {
    return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", bytes[0], bytes[1], bytes[2],
                       bytes[3], bytes[4], bytes[5]);
}

Result<std::unique_ptr<Network>> open_network(const std::string& netns_path) {
    return KernelNetwork::open(netns_path);
}

bool link_exists(const std::string& name) {
    return ::if_nametoindex(name.c_str()) != 0;
}

}  // namespace sluice::cni
