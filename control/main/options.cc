#include "control/main/options.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <functional>
#include <optional>

#include "api/base/host_port.h"

namespace sluice::control {
namespace {

constexpr int kMaxHostBits = 20;
constexpr int kMinHostBits = 3;
constexpr std::size_t kMaxDnsName = 253;
constexpr std::size_t kMaxDnsLabel = 63;

std::vector<std::string_view> split(std::string_view text, char separator) {
    std::vector<std::string_view> parts;
    while (true) {
        const std::size_t end = text.find(separator);
        parts.push_back(text.substr(0, end));
        if (end == std::string_view::npos) return parts;
        text.remove_prefix(end + 1);
    }
}

std::optional<std::uint16_t> parse_port(std::string_view text) {
    std::uint16_t port = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
    if (error != std::errc{} || end != text.data() + text.size() || text.empty()) {
        return std::nullopt;
    }
    return port;
}

bool is_dns_label(std::string_view label) {
    if (label.empty() || label.size() > kMaxDnsLabel) return false;
    const auto is_alphanumeric = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    };
    return is_alphanumeric(label.front()) && is_alphanumeric(label.back()) &&
           std::all_of(label.begin(), label.end(),
                       [&](char c) { return is_alphanumeric(c) || c == '-'; });
}

bool is_dns_name(std::string_view name) {
    if (name.empty() || name.size() > kMaxDnsName) return false;
    if (name.starts_with("*.")) name.remove_prefix(2);
    const auto labels = split(name, '.');
    return std::all_of(labels.begin(), labels.end(), is_dns_label);
}

}  // namespace

std::string Endpoint::to_string() const {
    return host_and_port(address, port);
}

Result<Endpoint> parse_listen(std::string_view text) {
    const auto refuse = [&](std::string_view why) {
        return make_error(Code::kInvalidArgument,
                          "--listen \"{}\": {}; expected ADDRESS:PORT, such as {} or [::1]:6443",
                          text, why, kDefaultListen);
    };
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) return refuse("there is no port");
    std::string_view host = text.substr(0, colon);
    const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
    if (bracketed) host = host.substr(1, host.size() - 2);
    const auto address = IpAddress::parse(host);
    if (!address) return refuse("the host is not an IP address");
    if (address->is_v4() == bracketed) return refuse("IPv6 addresses, and only they, need brackets");
    const auto port = parse_port(text.substr(colon + 1));
    if (!port) return refuse("the port is not a number from 0 to 65535");
    if (address->is_multicast()) return refuse("nothing can listen on a multicast address");
    return Endpoint{*address, *port};
}

namespace {

// The ranges of one flag, at most one a family. `check` says what is wrong with a range; empty: nothing.
Result<std::vector<IpPrefix>> parse_ranges(
    const char* flag, std::string_view text,
    const std::function<std::string_view(const IpPrefix&)>& check) {
    const auto refuse = [&](std::string_view part, std::string_view why) {
        return make_error(Code::kInvalidArgument, "{} \"{}\": {}", flag, part, why);
    };
    std::vector<IpPrefix> ranges;
    for (const std::string_view part : split(text, ',')) {
        auto range = IpPrefix::parse(part);
        if (!range) return refuse(part, range.error().message);
        if (const auto why = check(*range); !why.empty()) return refuse(part, why);
        ranges.push_back(*range);
    }
    if (ranges.size() > 2) return refuse(text, "at most two ranges can be given");
    if (ranges.size() == 2 && ranges[0].family() == ranges[1].family()) {
        return refuse(text, "two ranges must be of different families");
    }
    return ranges;
}

bool is_special(const IpPrefix& range) {
    return range.address.is_loopback() || range.address.is_multicast() ||
           range.address.is_link_local() || first_address(range).is_loopback();
}

}  // namespace

Result<std::vector<IpPrefix>> parse_service_cidrs(std::string_view text) {
    return parse_ranges(
        "--service-cluster-ip-range", text, [](const IpPrefix& range) -> std::string_view {
            const int host_bits = (range.address.is_v4() ? 32 : 128) - range.bits;
            if (host_bits > kMaxHostBits) {
                return "it is too large; use /12 or longer for IPv4, /108 or longer for IPv6";
            }
            if (host_bits < kMinHostBits) return "it has fewer than 8 addresses";
            if (is_special(range)) {
                return "loopback, link-local and multicast addresses cannot be ClusterIPs";
            }
            return {};
        });
}

Result<std::vector<IpPrefix>> parse_cluster_cidrs(std::string_view text) {
    if (text == "none") return std::vector<IpPrefix>{};
    return parse_ranges("--cluster-cidr", text, [](const IpPrefix& range) -> std::string_view {
        if (is_special(range)) {
            return "loopback, link-local and multicast addresses cannot be those of pods";
        }
        return {};
    });
}

Result<std::pair<std::uint16_t, std::uint16_t>> parse_node_ports(std::string_view text) {
    const auto refuse = [&](std::string_view why) {
        return make_error(Code::kInvalidArgument,
                          "--service-node-port-range \"{}\": {}; expected FIRST-LAST, such as {}",
                          text, why, kDefaultNodePorts);
    };
    const std::size_t dash = text.find('-');
    if (dash == std::string_view::npos) return refuse("there is no dash");
    const auto first = parse_port(text.substr(0, dash));
    const auto last = parse_port(text.substr(dash + 1));
    if (!first || !last || *first == 0) return refuse("ports are numbers from 1 to 65535");
    if (*first > *last) return refuse("the first port is above the last");
    return std::pair(*first, *last);
}

Result<Components> parse_components(std::string_view text) {
    bool has_apiserver = false;
    Components components;
    for (const std::string_view name : split(text, ',')) {
        if (name == "apiserver") {
            has_apiserver = true;
        } else if (name == "controllers") {
            components.controllers = true;
        } else if (name == "scheduler") {
            components.scheduler = true;
        } else if (name == "dns") {
            components.dns = true;
        } else {
            return make_error(Code::kInvalidArgument,
                              "--components: there is no component \"{}\"; there are apiserver, "
                              "controllers, scheduler, dns",
                              name);
        }
    }
    if (!has_apiserver) {
        return make_error(Code::kInvalidArgument,
                          "--components: \"{}\" lacks apiserver, which the others need", text);
    }
    return components;
}

Result<ServerNames> parse_tls_sans(const std::vector<std::string>& values) {
    ServerNames names;
    for (const auto& value : values) {
        if (const auto address = IpAddress::parse(value)) {
            names.addresses.push_back(*address);
        } else if (is_dns_name(value)) {
            names.dns.push_back(value);
        } else {
            return make_error(Code::kInvalidArgument,
                              "--tls-san \"{}\" is neither an IP address nor a DNS name", value);
        }
    }
    return names;
}

ServerNames server_names(const ServerNames& asked, const Endpoint& listen,
                         const std::vector<IpPrefix>& service_cidrs,
                         const std::string& host_name) {
    ServerNames names = asked;
    for (const char* name : {"localhost", "kubernetes", "kubernetes.default",
                             "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}) {
        names.dns.emplace_back(name);
    }
    if (is_dns_name(host_name)) names.dns.push_back(host_name);
    names.addresses.push_back(*IpAddress::parse("127.0.0.1"));
    names.addresses.push_back(*IpAddress::parse("::1"));
    if (!listen.address.is_unspecified()) names.addresses.push_back(listen.address);
    for (const auto& range : service_cidrs) names.addresses.push_back(first_address(range));
    return names;
}

IpAddress first_address(const IpPrefix& range) {
    IpAddress address = range.address;
    for (std::size_t i = address.bytes.size(); i-- > 0;) {
        if (++address.bytes[i] != 0) break;
    }
    return address;
}

}  // namespace sluice::control
