// See static_config.h.
#include "dataplane/dpdk/routing/static_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/dpdk/routing/check.h"
#include "dataplane/dpdk/routing/discovery.h"

namespace sluice::dpdk {
namespace {

std::vector<std::string_view> words_of(std::string_view text) {
    std::vector<std::string_view> out;
    while (!text.empty()) {
        const std::size_t begin = text.find_first_not_of(" \t");
        if (begin == std::string_view::npos) break;
        const std::size_t end = std::min(text.find_first_of(" \t", begin), text.size());
        out.push_back(text.substr(begin, end - begin));
        text.remove_prefix(end);
    }
    return out;
}

// The words behind the first, in pairs; each of `known` at most once.
Result<std::map<std::string_view, std::string_view>> pairs_of(
    const std::vector<std::string_view>& words, std::initializer_list<std::string_view> known) {
    std::map<std::string_view, std::string_view> out;
    for (std::size_t i = 1; i < words.size(); i += 2) {
        if (std::find(known.begin(), known.end(), words[i]) == known.end()) {
            return make_error(Code::kInvalidArgument, "\"{}\" is none of {}", words[i],
                              fmt::join(known, ", "));
        }
        if (i + 1 == words.size()) {
            return make_error(Code::kInvalidArgument, "nothing follows \"{}\"", words[i]);
        }
        if (!out.emplace(words[i], words[i + 1]).second) {
            return make_error(Code::kInvalidArgument, "\"{}\" stands twice", words[i]);
        }
    }
    return out;
}

Result<std::uint16_t> interface_named(std::string_view name,
                                      std::span<const Interface> interfaces) {
    for (std::size_t i = 0; i < interfaces.size(); ++i) {
        if (interfaces[i].name == name) return static_cast<std::uint16_t>(i);
    }
    return make_error(Code::kInvalidArgument, "there is no interface {}", name);
}

Result<std::uint16_t> interface_with(const IpAddress& address,
                                     std::span<const Interface> interfaces) {
    std::optional<std::uint16_t> found;
    for (std::size_t i = 0; i < interfaces.size(); ++i) {
        if (!on_link(interfaces[i], address)) continue;
        if (found) {
            return make_error(Code::kInvalidArgument, "{} may be on {} and on {}: say which by dev",
                              address.to_string(), interfaces[*found].name, interfaces[i].name);
        }
        found = static_cast<std::uint16_t>(i);
    }
    if (!found) {
        return make_error(Code::kInvalidArgument,
                          "no interface has {} on its link: say which by dev", address.to_string());
    }
    return *found;
}

Result<Route> read_route(std::string_view text, std::span<const Interface> interfaces) {
    const auto words = words_of(text);
    if (words.empty()) return make_error(Code::kInvalidArgument, "there is no prefix");
    SLUICE_TRY_ASSIGN(const auto pairs, pairs_of(words, {"via", "dev", "metric"}));
    Route route;
    if (const auto via = pairs.find("via"); via != pairs.end()) {
        SLUICE_TRY_ASSIGN(route.gateway, IpAddress::parse(via->second));
    }
    if (words[0] == "default") {
        const bool v4 = route.gateway.is_v4() || !pairs.contains("via");
        route.prefix = IpPrefix{v4 ? IpAddress::from_v4_be(0) : IpAddress{}, 0};
    } else {
        SLUICE_TRY_ASSIGN(route.prefix, IpPrefix::parse(words[0]));
    }
    if (const auto metric = pairs.find("metric"); metric != pairs.end()) {
        const std::string_view number = metric->second;
        const auto read =
            std::from_chars(number.data(), number.data() + number.size(), route.metric);
        if (read.ec != std::errc{} || read.ptr != number.data() + number.size()) {
            return make_error(Code::kInvalidArgument, "metric \"{}\" is not a number below 2^32",
                              number);
        }
    }
    if (const auto dev = pairs.find("dev"); dev != pairs.end()) {
        SLUICE_TRY_ASSIGN(route.interface, interface_named(dev->second, interfaces));
    } else if (pairs.contains("via")) {
        SLUICE_TRY_ASSIGN(route.interface, interface_with(route.gateway, interfaces));
    } else {
        return make_error(Code::kInvalidArgument, "there is neither via nor dev");
    }
    SLUICE_TRY(check_route(route, interfaces));
    return route;
}

Result<Neighbour> read_neighbour(std::string_view text, std::span<const Interface> interfaces) {
    const auto words = words_of(text);
    if (words.empty()) return make_error(Code::kInvalidArgument, "there is no address");
    SLUICE_TRY_ASSIGN(const auto pairs, pairs_of(words, {"lladdr", "dev"}));
    Neighbour neighbour;
    SLUICE_TRY_ASSIGN(neighbour.address, IpAddress::parse(words[0]));
    const auto lladdr = pairs.find("lladdr");
    if (lladdr == pairs.end()) return make_error(Code::kInvalidArgument, "there is no lladdr");
    SLUICE_TRY_ASSIGN(neighbour.mac, parse_mac(lladdr->second));
    neighbour.resolved = true;
    if (const auto dev = pairs.find("dev"); dev != pairs.end()) {
        SLUICE_TRY_ASSIGN(neighbour.interface, interface_named(dev->second, interfaces));
    } else {
        SLUICE_TRY_ASSIGN(neighbour.interface, interface_with(neighbour.address, interfaces));
    }
    if (neighbour.address.is_unspecified()) {
        return make_error(Code::kInvalidArgument, "{} is nobody's address",
                          neighbour.address.to_string());
    }
    SLUICE_TRY(check_neighbour(neighbour, interfaces));
    return neighbour;
}

}  // namespace

Result<Route> parse_route(std::string_view text, std::span<const Interface> interfaces) {
    auto out = read_route(text, interfaces);
    if (!out) return out.error().with_context(fmt::format("route \"{}\"", text));
    return out;
}

Result<Neighbour> parse_neighbour(std::string_view text, std::span<const Interface> interfaces) {
    auto out = read_neighbour(text, interfaces);
    if (!out) return out.error().with_context(fmt::format("neighbour \"{}\"", text));
    return out;
}

}  // namespace sluice::dpdk
