// The node and its services, at random. Part of scenario.h.
#include <algorithm>

#include <fmt/format.h>

#include "tests/differential/scenario.h"

namespace sluice::differential {
namespace {

IpAddress ip(const std::string& text) { return *IpAddress::parse(text); }
IpPrefix prefix(const char* text) { return *IpPrefix::parse(text); }

constexpr std::size_t kServices = 14;
constexpr std::uint16_t kFewPorts = 2000;  // to 2063

}  // namespace

void Generator::make_world() {
    using Kind = oracle::Route::Kind;
    image::Node& node = world_.node;
    node.nodeport_addresses = {ip("192.0.2.1"), ip("2001:db8::1")};
    node.service_cidrs = {prefix("10.96.0.0/16"), prefix("fd00::/112")};
    if (!random_.chance(5)) {
        node.masquerade_v4 = ip("192.0.2.1");
        node.masquerade_v6 = ip("2001:db8::1");
    }
    switch (random_.below(4)) {
        case 0: break;
        case 1: node.detect_by_device = true; break;
        default:
            node.cluster_cidrs = {prefix("10.244.0.0/16"), prefix("fd01::/64"), prefix("fd02::/64"),
                                  prefix("fd03::/64")};
    }
    node.masquerade_all = random_.chance(15);
    node.beside_kube_proxy = random_.chance(10);
    if (random_.chance(40)) {
        world_.port_min = kFewPorts;
        world_.port_max = 2063;
    }
    for (const char* text : {"192.0.2.1/32", "10.244.1.1/32", "127.0.0.0/8", "2001:db8::1/128", "2001:db8::/128",
                             "fd01::1/128", "fd01::/128", "::1/128"}) {
        world_.routes.push_back({prefix(text), Kind::kLocal, 0});
    }
    for (const char* text : {"0.0.0.0/0", "192.0.2.0/24", "10.244.1.0/24", "10.244.2.0/24", "::/0", "2001:db8::/64",
                             "fd01::/64", "fd02::/64"}) {
        world_.routes.push_back({prefix(text), Kind::kForward, 1500});
    }
    world_.routes.push_back({prefix("10.244.3.0/24"), Kind::kForward, 600});
    world_.routes.push_back({prefix("fd03::/64"), Kind::kForward, 1280});
    for (const char* text : {"10.244.9.0/24", "fd09::/64", "192.0.2.0/32", "192.0.2.255/32", "10.244.1.0/32",
                             "10.244.1.255/32", "224.0.0.0/3", "0.0.0.0/8", "ff00::/8", "fe80::/10"}) {
        world_.routes.push_back({prefix(text), Kind::kNone, 0});
    }
}

std::vector<image::Backend> Generator::some_backends(bool v6, bool weights) {
    std::vector<image::Backend> out;
    const std::uint64_t count = random_.chance(8) ? 0 : 1 + random_.below(6);
    constexpr std::uint16_t kPorts[] = {8080, 80, 8443};
    for (std::uint64_t i = 0; i < count; ++i) {
        image::Backend backend;
        const std::uint64_t host = 5 + random_.below(5);
        const std::uint64_t kind = random_.below(100);
        if (kind < 40) {
            backend.address = ip(fmt::format("{}{}", v6 ? "fd02::" : "10.244.2.", host));
        } else if (kind < 75) {
            backend.address = ip(fmt::format("{}{}", v6 ? "fd01::" : "10.244.1.", host));
            backend.local = true;
        } else if (kind < 87) {
            backend.address = ip(fmt::format("{}{}", v6 ? "fd03::" : "10.244.3.", host));
        } else if (kind < 92) {
            backend.address = ip(v6 ? "2001:db8::1" : "192.0.2.1");
            backend.local = true;
        } else if (kind < 97) {
            backend.address = ip(v6 ? "2001:db8::2" : "192.0.2.2");
        } else {
            backend.address = ip(v6 ? "fd09::5" : "10.244.9.5");
        }
        backend.port = random_.pick(kPorts);
        backend.weight = weights ? static_cast<std::uint32_t>(1 + random_.below(5)) : 1;
        out.push_back(backend);
    }
    const auto place = [](const image::Backend& b) { return std::tie(b.address, b.port); };
    std::sort(out.begin(), out.end(), [&](const auto& a, const auto& b) { return place(a) < place(b); });
    out.erase(std::unique(out.begin(), out.end(), [&](const auto& a, const auto& b) { return place(a) == place(b); }),
              out.end());
    return out;
}

// As compile makes them: policies, with the sets that follow.
image::Service Generator::make_service(std::size_t number) {
    const bool v6 = number % 2 != 0;
    constexpr Protocol kProtocols[] = {Protocol::kTcp, Protocol::kUdp, Protocol::kSctp};
    image::Service out;
    out.key = {fmt::format("default/s{}", number), "p", kProtocols[number / 2 % 3],
               v6 ? IpFamily::kIpv6 : IpFamily::kIpv4};
    out.port = 80;
    const auto last = [&](std::size_t n) { return v6 ? fmt::format("{:x}", 0x10 + n) : fmt::format("{}", 10 + n); };
    constexpr image::Forwarding kDirect[] = {image::Forwarding::kTunnel, image::Forwarding::kOption,
                                             image::Forwarding::kLink};
    const auto forwarding = random_.chance(35) ? random_.pick(kDirect) : image::Forwarding::kNat;
    const bool by_link = forwarding == image::Forwarding::kLink;
    // What is remembered of a connection that could not be made is not seen: not where many cannot.
    const bool may_fail = world_.node.masquerade_v4.is_unspecified() || world_.port_min == kFewPorts;
    const bool affine = random_.chance(20) && !may_fail && !by_link;
    const bool external_local = random_.chance(30);
    const bool internal_local = random_.chance(20);
    const bool sources = random_.chance(30);
    const auto frontend = [&](const IpAddress& address, std::uint16_t port, image::Scope scope, bool external,
                              bool restricted) {
        image::Frontend one;
        one.address = address;
        one.port = port;
        one.scope = scope;
        one.external = external;
        one.masquerade = external && !external_local;
        one.restricted = restricted;
        one.forwarding = external ? forwarding : image::Forwarding::kNat;
        out.frontends.push_back(one);
    };
    // Two services of other protocols may share a ClusterIP.
    const std::uint16_t port = number % 4 < 2 ? 80 : 443;
    frontend(ip((v6 ? "fd00::" : "10.96.0.") + last(number / 4)), port, image::Scope::kAddress, false, false);
    if (random_.chance(60)) {
        frontend(ip((v6 ? "2001:db8:5::" : "203.0.113.") + last(number)), 80, image::Scope::kAddress, true, sources);
    }
    if (random_.chance(30)) {
        frontend(ip((v6 ? "2001:db8:6::" : "192.0.2.1") + last(number)), 80, image::Scope::kAddress, true, false);
    }
    if (random_.chance(60)) {
        frontend(v6 ? IpAddress{} : IpAddress::from_v4_be(0), static_cast<std::uint16_t>(30080 + number),
                 image::Scope::kNodePort, true, false);
    }
    std::sort(out.frontends.begin(), out.frontends.end());
    if (sources) {
        out.sources = {{ip(v6 ? "2001:db8:1::1" : "198.51.100.1"), ip(v6 ? "2001:db8:1::3" : "198.51.100.3")},
                       {ip(v6 ? "fd01::4" : "10.244.1.4"), ip(v6 ? "fd01::6" : "10.244.1.6")}};
        std::sort(out.sources.begin(), out.sources.end());
    }
    const std::vector<image::Backend> all = some_backends(v6, random_.chance(25));
    std::vector<image::Backend> local;
    std::copy_if(all.begin(), all.end(), std::back_inserter(local), [](const auto& b) { return b.local; });
    const bool only_elsewhere = local.empty() && !all.empty();
    out.internal = {internal_local ? local : all, internal_local && only_elsewhere};
    out.external = {external_local ? local : all, external_local && only_elsewhere};
    out.inside = {all, false};
    // In the affinity's clock these are far from any sum of the time steps.
    constexpr std::uint32_t kTimeouts[] = {50, 100, 10790};
    if (affine) {
        out.affinity_timeout_s = random_.pick(kTimeouts);
    }
    // Two nodes must choose the same for what goes by link.
    if (by_link || random_.chance(30)) {
        out.choice = random_.chance(50) ? image::Choice::kTuple : image::Choice::kClient;
    }
    return out;
}

// Another service, one that changes, or one that goes.
Step Generator::change() {
    Step step;
    if (!services_.empty() && random_.chance(15)) {
        step.kind = Step::Kind::kRemove;
        const std::size_t at = random_.below(services_.size());
        step.key = services_[at].key;
        services_.erase(services_.begin() + static_cast<std::ptrdiff_t>(at));
        return step;
    }
    step.kind = Step::Kind::kUpsert;
    const std::size_t number = random_.below(kServices);
    step.service = make_service(number);
    const auto same = std::find_if(services_.begin(), services_.end(),
                                   [&](const image::Service& other) { return other.key == step.service.key; });
    if (same == services_.end()) {
        services_.push_back(step.service);
        return step;
    }
    // Mostly its endpoints alone.
    if (random_.chance(70)) {
        const image::Service fresh = step.service;
        step.service = *same;
        const bool external_local = step.service.external.backends != step.service.inside.backends;
        const bool internal_local = step.service.internal.backends != step.service.inside.backends;
        std::vector<image::Backend> all = fresh.inside.backends;
        if (random_.chance(50)) {
            all = step.service.inside.backends;
            if (!all.empty()) {
                all.erase(all.begin() + static_cast<std::ptrdiff_t>(random_.below(all.size())));
            }
        }
        std::vector<image::Backend> local;
        std::copy_if(all.begin(), all.end(), std::back_inserter(local), [](const auto& b) { return b.local; });
        step.service.inside = {all, false};
        const bool only_elsewhere = local.empty() && !all.empty();
        step.service.internal = {internal_local ? local : all, internal_local && only_elsewhere};
        step.service.external = {external_local ? local : all, external_local && only_elsewhere};
    }
    *same = step.service;
    return step;
}

Generator::Frontend Generator::some_frontend(bool v6) {
    std::vector<Frontend> all;
    for (const image::Service& service : services_) {
        if ((service.key.family == IpFamily::kIpv6) != v6) {
            continue;
        }
        for (const image::Frontend& frontend : service.frontends) {
            const bool node_port = frontend.scope == image::Scope::kNodePort;
            all.push_back({node_port ? ip(v6 ? "2001:db8::1" : "192.0.2.1") : frontend.address, frontend.port,
                           static_cast<std::uint8_t>(service.key.protocol),
                           frontend.forwarding != image::Forwarding::kNat});
        }
    }
    if (all.empty()) {
        return {ip(v6 ? "fd00::10" : "10.96.0.10"), 80, oracle::kTcp, false};
    }
    return random_.pick(all);
}

std::string describe(const image::Service& service) {
    std::string out = fmt::format("{}/{}", service.key.display(), static_cast<int>(service.key.protocol));
    for (const image::Frontend& frontend : service.frontends) {
        out += fmt::format(" [{}]:{}{}{}{}{}{}", frontend.address.to_string(), frontend.port,
                           frontend.scope == image::Scope::kNodePort ? " nodeport" : "",
                           frontend.external ? " external" : "", frontend.masquerade ? " masquerade" : "",
                           frontend.restricted ? " restricted" : "",
                           frontend.forwarding == image::Forwarding::kTunnel   ? " tunnel"
                           : frontend.forwarding == image::Forwarding::kOption ? " option"
                           : frontend.forwarding == image::Forwarding::kLink   ? " link"
                                                                               : "");
    }
    const auto set = [&](const char* name, const image::BackendSet& backends) {
        out += fmt::format("\n      {}{}:", name, backends.when_empty_drop ? " (empty: drop)" : "");
        for (const image::Backend& backend : backends.backends) {
            out += fmt::format(" [{}]:{}{}*{}", backend.address.to_string(), backend.port,
                               backend.local ? " local" : "", backend.weight);
        }
    };
    set("internal", service.internal);
    set("external", service.external);
    set("inside", service.inside);
    for (const image::AddressRange& range : service.sources) {
        out += fmt::format("\n      sources {} to {}", range.first.to_string(), range.last.to_string());
    }
    return out + fmt::format("\n      affinity {} s, choice {}", service.affinity_timeout_s,
                             static_cast<int>(service.choice));
}

}  // namespace sluice::differential
