#include "dataplane/dpdk/runtime/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <optional>
#include <set>
#include <string_view>

#include "api/abi/affinity.h"
#include "dataplane/dpdk/shared/segment.h"

namespace sluice::dpdk {
namespace {

// A device's name of the kernel is kept in 16 bytes with its end (IFNAMSIZ).
constexpr std::size_t kMaxDeviceName = 15;
constexpr std::size_t kMaxInterfaceName = 63;
constexpr std::size_t kMaxAddresses = 64;

std::optional<std::uint32_t> number(std::string_view text, std::uint32_t least, std::uint32_t most) {
    std::uint32_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || value < least || value > most) return {};
    return value;
}

bool device_name(std::string_view name) {
    return !name.empty() && name.size() <= kMaxDeviceName && name != "." && name != ".." &&
           std::none_of(name.begin(), name.end(), [](unsigned char c) {
               return c <= ' ' || c == '/' || c == ':' || c == ',' || c > '~';
           });
}

Result<ExceptionPath> parse_exception(std::string_view text) {
    using Kind = ExceptionPath::Kind;
    if (text == "none") return ExceptionPath{};
    ExceptionPath out;
    const auto colon = text.find(':');
    const auto kind = text.substr(0, colon);
    if (kind == "tap") out.kind = Kind::kTap;
    if (kind == "virtio-user") out.kind = Kind::kVirtioUser;
    if (out.kind == Kind::kNone || colon == std::string_view::npos) {
        return make_error(Code::kInvalidArgument, "exception: \"{}\" is not tap:NAME, virtio-user:NAME or none",
                          text);
    }
    out.name = text.substr(colon + 1);
    if (!device_name(out.name)) {
        return make_error(Code::kInvalidArgument, "exception: \"{}\" cannot be the name of a network device", out.name);
    }
    return out;
}

Result<InterfaceAddress> parse_address(std::string_view text) {
    const auto slash = text.find('/');
    auto address = IpAddress::parse(text.substr(0, slash));
    if (!address) return address.error().with_context("address");
    const std::uint32_t most = address->is_v4() ? 32 : 128;
    std::optional<std::uint32_t> length;
    if (slash != std::string_view::npos) length = number(text.substr(slash + 1), 0, most);
    if (!length || address->is_unspecified() || address->is_multicast()) {
        return make_error(Code::kInvalidArgument,
                          "address: \"{}\" is not ADDRESS/LENGTH of a host, with a length up to {}", text, most);
    }
    return InterfaceAddress{*address, static_cast<std::uint8_t>(*length)};
}

Result<std::uint16_t> parse_number(std::string_view field, std::string_view text, std::uint32_t least,
                                   std::uint32_t most) {
    const auto value = number(text, least, most);
    if (!value) {
        return make_error(Code::kInvalidArgument, "{}: \"{}\" is not a number from {} to {}", field, text, least, most);
    }
    return static_cast<std::uint16_t>(*value);
}

Result<Place> parse_role(std::string_view text) {
    if (text == "uplink") return Place::kUplink;
    if (text == "pod") return Place::kPod;
    if (text == "kernel-peer") return Place::kKernel;
    return make_error(Code::kInvalidArgument, "role: \"{}\" is not uplink, pod or kernel-peer", text);
}

Result<void> set_field(std::string_view field, std::string_view value, PortOption* port) {
    if (field == "interface") {
        if (value.empty() || value.size() > kMaxInterfaceName) {
            return make_error(Code::kInvalidArgument, "interface: a name has 1 to {} characters", kMaxInterfaceName);
        }
        port->interface = value;
    } else if (field == "role") {
        SLUICE_TRY_ASSIGN(port->place, parse_role(value));
    } else if (field == "address") {
        if (port->addresses.size() == kMaxAddresses) {
            return make_error(Code::kInvalidArgument, "address: more than {} of one interface", kMaxAddresses);
        }
        SLUICE_TRY_ASSIGN(const auto address, parse_address(value));
        port->addresses.push_back(address);
    } else if (field == "vlan") {
        SLUICE_TRY_ASSIGN(port->vlan, parse_number(field, value, 1, 4094));
    } else if (field == "mtu") {
        SLUICE_TRY_ASSIGN(port->mtu, parse_number(field, value, kMinMtu, kMaxMtu));
    } else if (field == "announce") {
        if (value != "on" && value != "off") {
            return make_error(Code::kInvalidArgument, "announce: \"{}\" is not on or off", value);
        }
        port->announce = value == "on";
    } else if (field == "exception") {
        SLUICE_TRY_ASSIGN(port->exception, parse_exception(value));
    } else {
        return make_error(Code::kInvalidArgument,
                          "\"{}\" is none of interface, role, address, vlan, mtu, announce, exception", field);
    }
    return {};
}

// What the options mean together.
Result<void> check(const Options& options) {
    std::set<std::string> names;
    std::set<std::string> devices;
    std::set<std::pair<std::string, std::uint16_t>> places;
    for (const auto& port : options.ports) {
        const auto kernel = port.exception.name;
        if (!names.insert(port.interface).second) {
            return make_error(Code::kInvalidArgument, "--port: two interfaces are called {}", port.interface);
        }
        if (!places.emplace(port.device, port.vlan).second) {
            return make_error(Code::kInvalidArgument, "--port {}: given twice for VLAN {}", port.device, port.vlan);
        }
        if (!kernel.empty() && !devices.insert(kernel).second) {
            return make_error(Code::kInvalidArgument, "--port {}: exception: {} is another port's already",
                              port.device, kernel);
        }
        if (!kernel.empty() && port.vlan != 0) {
            return make_error(Code::kInvalidArgument,
                              "--port {}: exception: belongs to the port as a whole, not to a VLAN; the kernel sees "
                              "the tags",
                              port.device);
        }
    }
    for (const auto* path : {&options.socket, &options.state_directory}) {
        if (path->empty() || path->front() != '/') {
            return make_error(Code::kInvalidArgument, "{}: \"{}\" is not an absolute path",
                              path == &options.socket ? "--socket" : "--state-dir", *path);
        }
    }
    return {};
}

}  // namespace

Result<PortOption> parse_port(std::string_view text) {
    PortOption port;
    auto comma = text.find(',');
    port.device = text.substr(0, comma);
    if (port.device.empty()) return make_error(Code::kInvalidArgument, "--port: the device's name is missing");
    while (comma != std::string_view::npos) {
        text.remove_prefix(comma + 1);
        comma = text.find(',');
        const auto field = text.substr(0, comma);
        const auto equals = field.find('=');
        if (equals == std::string_view::npos) {
            return make_error(Code::kInvalidArgument, "--port {}: \"{}\" is not FIELD=VALUE", port.device, field);
        }
        if (auto set = set_field(field.substr(0, equals), field.substr(equals + 1), &port); !set) {
            return set.error().with_context(fmt::format("--port {}", port.device));
        }
    }
    if (port.interface.empty()) {
        port.interface = port.vlan == 0 ? port.device : fmt::format("{}.{}", port.device, port.vlan);
    }
    const bool v6 = std::any_of(port.addresses.begin(), port.addresses.end(),
                                [](const auto& entry) { return !entry.address.is_v4(); });
    if (v6 && port.mtu != 0 && port.mtu < kMinMtuV6) {
        return make_error(Code::kInvalidArgument, "--port {}: mtu: IPv6 needs at least {}", port.device, kMinMtuV6);
    }
    return port;
}

std::uint32_t most_flows_of(const Options& options, std::uint32_t lcores) {
    return options.flows_max != 0 ? options.flows_max
                                  : std::max({options.flows, kDefaultMostFlows / lcores, kMinFlows});
}

std::uint32_t flows_of(const Options& options, std::uint32_t lcores) {
    return options.flows != 0 ? options.flows
                              : std::min(std::max(kDefaultFlows / lcores, kMinFlows), most_flows_of(options, lcores));
}

Result<Command> parse_command_line(const std::vector<std::string>& arguments) {
    Command out;
    Options& options = out.options;
    options.socket = kDefaultSocket;
    options.state_directory = kDefaultStateDirectory;
    options.affinity_entries = SLUICE_AFFINITY_DEFAULT_ENTRIES;
    options.affinity_entries_max = kDefaultMostAffinityEntries;
    const auto dashes = std::find(arguments.begin(), arguments.end(), "--");
    if (dashes != arguments.end()) options.eal.assign(dashes + 1, arguments.end());

    CLI::App app{"Forwards Kubernetes Service traffic on DPDK, by the tables that an agent writes", "sluice-dpdk"};
    std::vector<std::string> ports;
    std::string level = "info";
    bool version = false;
    app.add_option("--socket", options.socket, "unix socket that agents drive the engine by")->capture_default_str();
    app.add_option("--state-dir", options.state_directory, "directory on a tmpfs with tables and flows")
        ->capture_default_str();
    app.add_option("--port", ports,
                   "DEVICE[,interface=NAME][,role=uplink|pod|kernel-peer][,address=ADDRESS/LENGTH]...[,vlan=ID]"
                   "[,mtu=BYTES][,announce=on|off][,exception=tap:NAME|virtio-user:NAME|none]; DEVICE is EAL's name "
                   "or number of a port. Once for each port, and for each VLAN of one")
        ->allow_extra_args(false);
    app.add_option("--route", options.routes, "PREFIX [via ADDRESS] dev INTERFACE [metric N]")->allow_extra_args(false);
    app.add_option("--neighbour", options.neighbours, "ADDRESS lladdr MAC dev INTERFACE")->allow_extra_args(false);
    const auto flows_or_0 = [](const std::string& text) {
        const auto value = number(text, 0, kMaxFlows);
        return value && (*value == 0 || *value >= kMinFlows)
                   ? std::string{}
                   : fmt::format("\"{}\" is not 0 or a number from {} to {}", text, kMinFlows, kMaxFlows);
    };
    app.add_option("--flows", options.flows,
                   "flows that each lcore has room for, each family; the tables double when they are half full; 0: "
                   "524288 in all")
        ->check(flows_or_0);
    app.add_option("--flows-max", options.flows_max, "flows that they may grow to; 0: 4194304 in all")
        ->check(flows_or_0);
    const auto* entries =
        app.add_option("--affinity-entries", options.affinity_entries,
                       "clients that keep their backend; the table doubles when it is half full")
            ->check(CLI::Range(kMinAffinityEntries, kMaxAffinityEntries))
            ->capture_default_str();
    const auto* entries_max =
        app.add_option("--affinity-entries-max", options.affinity_entries_max, "clients that it may grow to")
            ->check(CLI::Range(kMinAffinityEntries, kMaxAffinityEntries))
            ->capture_default_str();
    app.add_option("--idle-sleep-us", options.idle_sleep_us,
                   "how long a lcore without traffic sleeps between looks at its ports; 0: never")
        ->check(CLI::Range(0U, kMaxIdleSleepUs))
        ->capture_default_str();
    app.add_flag("--take-over", options.take_over, "have the running engine hand over its ports and flows");
    app.add_option("--log-level", level, "trace, debug, info, warn, error, off")->capture_default_str();
    app.add_flag("--version", version, "print the version");
    app.footer("EAL's own arguments follow after `--`, such as -l 0,1 --no-pci --vdev=net_af_packet0,iface=eth0.");
    try {
        std::vector<std::string> own(arguments.begin(), dashes);
        std::reverse(own.begin(), own.end());  // CLI11 takes them from the end
        app.parse(own);
    } catch (const CLI::CallForHelp&) {
        return Command{true, app.help(), {}};
    } catch (const CLI::ParseError& error) {
        return make_error(Code::kInvalidArgument, "{}", error.what());
    }
    if (version) return Command{true, "sluice-dpdk " SLUICE_VERSION "\n", {}};
    auto parsed = log::parse_level(level);
    if (!parsed) return parsed.error().with_context("--log-level");
    options.log_level = *parsed;
    for (const auto& text : ports) {
        SLUICE_TRY_ASSIGN(auto port, parse_port(text));
        options.ports.push_back(std::move(port));
    }
    if (options.flows_max != 0 && options.flows_max < options.flows) {
        return make_error(Code::kInvalidArgument, "--flows-max: {} is less than the {} of --flows", options.flows_max,
                          options.flows);
    }
    // As of flows: what was not asked for gives way to what was.
    if (entries->count() == 0) {
        options.affinity_entries = std::min(options.affinity_entries, options.affinity_entries_max);
    } else if (entries_max->count() == 0) {
        options.affinity_entries_max = std::max(options.affinity_entries, options.affinity_entries_max);
    } else if (options.affinity_entries_max < options.affinity_entries) {
        return make_error(Code::kInvalidArgument,
                          "--affinity-entries-max: {} is less than the {} of --affinity-entries",
                          options.affinity_entries_max, options.affinity_entries);
    }
    if (options.ports.empty()) return make_error(Code::kInvalidArgument, "--port: at least one is needed");
    SLUICE_TRY(check(options));
    return out;
}

}  // namespace sluice::dpdk
