// The command line of sluice-dpdk. Values only: what a port can do is asked of the port later.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "api/base/log.h"
#include "api/base/result.h"
#include "dataplane/dpdk/routing/interfaces.h"

namespace sluice::dpdk {

inline constexpr std::uint32_t kDefaultFlows = 1U << 19U;  // in all, each family
inline constexpr std::uint32_t kMinFlows = 64;             // a lcore
inline constexpr std::uint32_t kMaxFlows = 1U << 26U;
inline constexpr std::uint32_t kDefaultMostFlows = 1U << 22U;  // in all, each family
inline constexpr std::uint32_t kMinAffinityEntries = 64;
inline constexpr std::uint32_t kMaxAffinityEntries = 1U << 24U;
inline constexpr std::uint32_t kDefaultMostAffinityEntries = 1U << 22U;
inline constexpr std::uint32_t kDefaultIdleSleepUs = 50;
inline constexpr std::uint32_t kMaxIdleSleepUs = 10'000;
inline constexpr std::uint16_t kMinMtu = 576;
inline constexpr std::uint16_t kMinMtuV6 = 1280;
inline constexpr std::uint16_t kMaxMtu = 9600;

// How frames for the node's own stack get there.
struct ExceptionPath {
    enum class Kind : std::uint8_t { kNone, kTap, kVirtioUser };
    Kind kind = Kind::kNone;
    std::string name;  // of the kernel's network device
    bool operator==(const ExceptionPath&) const = default;
};

// One --port: an interface on a device of EAL, or a VLAN of one.
struct PortOption {
    std::string device;     // EAL's name of it, or its number
    std::string interface;  // how people call it; the device's name unless given
    Place place = Place::kUplink;
    std::uint16_t vlan = 0;
    std::uint16_t mtu = 0;  // 0: the port's own
    bool announce = true;
    std::vector<InterfaceAddress> addresses;
    ExceptionPath exception;
};

struct Options {
    std::string socket;
    std::string state_directory;
    std::vector<PortOption> ports;
    std::vector<std::string> routes;      // texts that routing reads
    std::vector<std::string> neighbours;
    std::uint32_t flows = 0;              // a lcore and family; 0: the default divided by the lcores
    std::uint32_t flows_max = 0;          // that tables double up to; 0: likewise, and not below the former
    std::uint32_t affinity_entries = 0;
    std::uint32_t affinity_entries_max = 0;  // not below the former
    std::uint32_t idle_sleep_us = kDefaultIdleSleepUs;  // 0: poll without end
    bool take_over = false;
    log::Level log_level = log::Level::kInfo;
    std::vector<std::string> eal;         // what stood after `--`
};

struct Command {
    bool show = false;  // print text, and exit
    std::string text;
    Options options;
};

// Of a lcore and family: what tables have room for at first, and what they double up to. Of the two, what was not asked
// for gives way to what was.
std::uint32_t flows_of(const Options& options, std::uint32_t lcores);
std::uint32_t most_flows_of(const Options& options, std::uint32_t lcores);

// arguments: without the program's name. kInvalidArgument names the option and the field: wrong usage.
Result<Command> parse_command_line(const std::vector<std::string>& arguments);

// "net_ring0,role=uplink,address=10.0.0.1/24". kInvalidArgument names the field.
Result<PortOption> parse_port(std::string_view text);

}  // namespace sluice::dpdk
