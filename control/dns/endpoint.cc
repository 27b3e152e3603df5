// See endpoint.h.
#include "control/dns/endpoint.h"

#include <net/if.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>

#include "api/base/host_port.h"

namespace sluice::dns {
namespace {

constexpr std::size_t kMaxResolvConfServers = 3;

std::optional<std::uint16_t> parse_port(std::string_view text) {
    std::uint16_t port = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return port;
}

// "fe80::1%eth0" in its two parts.
std::optional<Endpoint> parse_host(std::string_view text) {
    Endpoint out;
    const std::size_t percent = text.find('%');
    const auto address = IpAddress::parse(text.substr(0, percent));
    if (!address) return std::nullopt;
    out.address = *address;
    if (percent != std::string_view::npos) {
        out.zone = text.substr(percent + 1);
        if (out.zone.empty() || out.zone.size() >= IF_NAMESIZE || out.address.is_v4())
            return std::nullopt;
    }
    return out;
}

std::string_view next_word(std::string_view* line) {
    constexpr std::string_view kSpace = " \t\r";
    const std::size_t begin = std::min(line->find_first_not_of(kSpace), line->size());
    const std::size_t end = std::min(line->find_first_of(kSpace, begin), line->size());
    const std::string_view word = line->substr(begin, end - begin);
    line->remove_prefix(end);
    return word;
}

}  // namespace

std::string Endpoint::to_string() const {
    std::string host = address.to_string();
    if (!zone.empty()) host += "%" + zone;
    return host_and_port(host, port);
}

Result<Endpoint> parse_endpoint(std::string_view flag, std::string_view text,
                                std::uint16_t default_port) {
    const auto refuse = [&](std::string_view why) {
        return make_error(Code::kInvalidArgument,
                          "{} \"{}\": {}; expected ADDRESS:PORT, such as 127.0.0.1:53 or [::1]:53",
                          flag, text, why);
    };
    std::string_view host = text;
    std::optional<std::string_view> port_text;
    if (text.starts_with('[')) {
        const std::size_t close = text.find(']');
        if (close == std::string_view::npos) return refuse("a bracket is not closed");
        host = text.substr(1, close - 1);
        const std::string_view rest = text.substr(close + 1);
        if (!rest.empty() && rest.front() != ':') return refuse("after the bracket stands no port");
        if (!rest.empty()) port_text = rest.substr(1);
    } else if (const std::size_t colon = text.find(':');
               colon != std::string_view::npos && text.rfind(':') == colon) {
        host = text.substr(0, colon);
        port_text = text.substr(colon + 1);
    }
    auto endpoint = parse_host(host);
    if (!endpoint) return refuse("the host is not an IP address");
    if (endpoint->address.is_v4() && text.starts_with('[')) return refuse("brackets are for IPv6");
    if (!port_text && default_port == 0) return refuse("there is no port");
    endpoint->port = default_port;
    if (port_text) {
        const auto port = parse_port(*port_text);
        if (!port) return refuse("the port is not a number from 0 to 65535");
        endpoint->port = *port;
    }
    if (endpoint->address.is_multicast()) return refuse("it is a multicast address");
    return *endpoint;
}

Result<std::vector<Endpoint>> parse_endpoints(std::string_view flag, std::string_view text,
                                              std::size_t limit, std::uint16_t default_port) {
    std::vector<Endpoint> out;
    while (true) {
        const std::size_t comma = text.find(',');
        SLUICE_TRY_ASSIGN(auto endpoint, parse_endpoint(flag, text.substr(0, comma), default_port));
        if (endpoint.port != 0 && std::find(out.begin(), out.end(), endpoint) != out.end()) {
            return make_error(Code::kInvalidArgument, "{}: {} is named twice", flag,
                              endpoint.to_string());
        }
        if (out.size() == limit) {
            return make_error(Code::kInvalidArgument, "{}: at most {} can be given", flag, limit);
        }
        out.push_back(std::move(endpoint));
        if (comma == std::string_view::npos) return out;
        text.remove_prefix(comma + 1);
    }
}

std::vector<Endpoint> parse_resolv_conf(std::string_view text) {
    std::vector<Endpoint> out;
    while (!text.empty() && out.size() < kMaxResolvConfServers) {
        const std::size_t end = text.find('\n');
        std::string_view line = text.substr(0, end);
        text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
        if (next_word(&line) != "nameserver") continue;
        auto endpoint = parse_host(next_word(&line));
        if (!endpoint || endpoint->address.is_multicast()) continue;
        endpoint->port = kDnsPort;
        if (std::find(out.begin(), out.end(), *endpoint) == out.end()) out.push_back(*endpoint);
    }
    return out;
}

Result<SocketAddress> to_socket_address(const Endpoint& endpoint) {
    SocketAddress out;
    if (endpoint.address.is_v4()) {
        sockaddr_in v4{};
        v4.sin_family = AF_INET;
        v4.sin_port = htons(endpoint.port);
        v4.sin_addr.s_addr = endpoint.address.v4_be();
        std::memcpy(&out.storage, &v4, sizeof v4);
        out.size = sizeof v4;
        return out;
    }
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(endpoint.port);
    std::memcpy(&v6.sin6_addr, endpoint.address.bytes.data(), 16);
    if (!endpoint.zone.empty()) {
        v6.sin6_scope_id = ::if_nametoindex(endpoint.zone.c_str());
        if (v6.sin6_scope_id == 0) {
            unsigned index = 0;
            const char* end = endpoint.zone.data() + endpoint.zone.size();
            const auto [stop, error] = std::from_chars(endpoint.zone.data(), end, index);
            if (error != std::errc() || stop != end) {
                return make_error(Code::kNotFound, "{}: there is no interface {}",
                                  endpoint.to_string(), endpoint.zone);
            }
            v6.sin6_scope_id = index;
        }
    }
    std::memcpy(&out.storage, &v6, sizeof v6);
    out.size = sizeof v6;
    return out;
}

Endpoint from_socket_address(const sockaddr_storage& storage) {
    Endpoint out;
    if (storage.ss_family == AF_INET) {
        sockaddr_in v4{};
        std::memcpy(&v4, &storage, sizeof v4);
        out.address = IpAddress::from_v4_be(v4.sin_addr.s_addr);
        out.port = ntohs(v4.sin_port);
    } else if (storage.ss_family == AF_INET6) {
        sockaddr_in6 v6{};
        std::memcpy(&v6, &storage, sizeof v6);
        std::memcpy(out.address.bytes.data(), &v6.sin6_addr, 16);
        out.port = ntohs(v6.sin6_port);
    }
    return out;
}

}  // namespace sluice::dns
