// The kernel's addresses, routes and neighbours of this network namespace as they are, for who
// forwards in its place, and a file descriptor that says which of them to read again. libnl stays
// behind the .cc file.
//
// links.h sorts links into roles and looks at default routes only; here everything of a kind is
// listed. Each call is one dump of messages, on a socket of its own: any thread.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "api/base/ip_address.h"
#include "api/base/result.h"

namespace sluice::netlink {

// More than these are refused rather than half listed.
inline constexpr std::size_t kMaxTableAddresses = 65'536;
inline constexpr std::size_t kMaxTableRoutes = 1U << 20U;
inline constexpr std::size_t kMaxTableNeighbours = 1U << 17U;

// The device's number; kNotFound: there is none of this name.
Result<int> device_index(const std::string& name);

// Addresses that are in use: not those still being checked for duplicates, nor duplicates.
struct TableAddress {
    int ifindex = 0;
    IpAddress address;
    std::uint8_t prefix_length = 0;
    auto operator<=>(const TableAddress&) const = default;
};
Result<std::vector<TableAddress>> list_addresses();

// Of the main table, each next hop of a route by itself. ifindex 0: nothing is sent there
// (unreachable, blackhole, prohibit, throw). Without next hops that are dead, and without what the
// kernel has only cached.
struct TableRoute {
    IpPrefix destination;
    IpAddress gateway;  // unspecified: on the link
    int ifindex = 0;
    std::uint32_t metric = 0;
    auto operator<=>(const TableRoute&) const = default;
};
Result<std::vector<TableRoute>> list_all_routes();

// Those whose link-layer address is known and of six bytes.
struct TableNeighbour {
    int ifindex = 0;
    IpAddress address;
    std::array<std::uint8_t, 6> mac{};
    bool permanent = false;  // a person's or a program's: `ip neigh add`
    auto operator<=>(const TableNeighbour&) const = default;
};
Result<std::vector<TableNeighbour>> list_neighbours();

struct TableChanges {
    bool links = false;
    bool addresses = false;
    bool routes = false;
    bool neighbours = false;
    [[nodiscard]] bool any() const { return links || addresses || routes || neighbours; }
};

// Says which tables may have changed since the last look.
class TableWatch {
public:
    // Watches the network namespace of the calling thread.
    static Result<std::unique_ptr<TableWatch>> create();
    virtual ~TableWatch() = default;
    // Readable when drain() has something to say. Owned by the watch.
    [[nodiscard]] virtual int fd() const = 0;
    // Reads what is pending without blocking, a bounded number of messages; the fd stays readable
    // if more are there. Lost messages (the kernel's buffer overflowed) count as a change of
    // everything.
    virtual Result<TableChanges> drain() = 0;
};

}  // namespace sluice::netlink
