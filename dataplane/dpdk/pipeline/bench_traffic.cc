#include "dataplane/dpdk/pipeline/bench_traffic.h"

#include <fmt/format.h>

#include <algorithm>

namespace sluice::dpdk::bench {
namespace {

constexpr std::uint32_t kClientPorts = 16384;  // of each client's address, beyond the range of the SNAT ports

std::string service_address(const Shape& shape, std::uint32_t number) {
    if (shape.mode == Mode::kNat) {
        return shape.v6 ? fmt::format("fd00::{:x}", number + 1)
                        : fmt::format("10.96.{}.{}", (number + 1) / 256, (number + 1) % 256);
    }
    return shape.v6 ? fmt::format("2001:db8:ff::{:x}", number + 1)
                    : fmt::format("203.0.{}.{}", (number + 1) / 256, (number + 1) % 256);
}

image::Service make_service(const Shape& shape, std::uint32_t number) {
    image::Service out;
    out.key = {fmt::format("default/s{}", number), "http", Protocol::kTcp,
               shape.v6 ? IpFamily::kIpv6 : IpFamily::kIpv4};
    out.port = 80;
    const std::uint32_t backends = shape.services == 1 ? 64 : 5;
    for (std::uint32_t i = 0; i < backends; ++i) {
        const std::uint32_t host = (number * backends + i) % 250 + 1;
        const std::string at = shape.v6 ? fmt::format("fd02::{:x}", host) : fmt::format("10.244.2.{}", host);
        out.internal.backends.push_back(
            {ip_of(at), static_cast<std::uint16_t>(8000 + number % 1000), false, false, ""});
    }
    std::sort(out.internal.backends.begin(), out.internal.backends.end());
    out.external = out.internal;
    out.inside = out.internal;
    const bool external = shape.mode != Mode::kNat;
    out.frontends = {{ip_of(service_address(shape, number)), 80, image::Scope::kAddress, external, external, false,
                      shape.mode == Mode::kTunnel ? image::Forwarding::kTunnel : image::Forwarding::kNat}};
    return out;
}

}  // namespace

const char* name_of(Mode mode) {
    return mode == Mode::kNat ? "nat" : mode == Mode::kSnat ? "snat" : "tunnel";
}

std::uint16_t interface_of(const Shape& shape) {
    return shape.mode == Mode::kNat ? kPods : kUplink;
}

std::unique_ptr<World> make_world(const Shape& shape) {
    std::vector<image::Service> services;
    services.reserve(shape.services);
    for (std::uint32_t i = 0; i < shape.services; ++i) services.push_back(make_service(shape, i));
    const image::Node node = world_node();
    image::Capacities least;
    least.counter_rows = 8;
    auto world = std::make_unique<World>(1, node, std::max(1U << 16U, shape.flows * 2),
                                         image::capacities_for(image::usage_of(node, services), least));
    for (const image::Service& service : services) world->upsert(service);
    return world;
}

Templates make_templates(const Shape& shape, std::size_t first, std::size_t count, std::uint8_t tcp_flags) {
    Templates out;
    Spec spec;
    spec.tcp_flags = tcp_flags;
    spec.payload = "";
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t number = first + i;
        const std::size_t client = number / kClientPorts;
        const std::size_t high = client / 250;
        const std::size_t low = client % 250 + 1;
        if (shape.mode == Mode::kNat) {
            spec.src = shape.v6 ? fmt::format("fd01::{:x}:{:x}", high + 1, low)
                                : fmt::format("10.244.{}.{}", 128 + high, low);
        } else {
            spec.src = shape.v6 ? fmt::format("2001:db8:1::{:x}:{:x}", high + 1, low)
                                : fmt::format("198.18.{}.{}", high, low);
        }
        spec.sport = static_cast<std::uint16_t>(32768 + number % kClientPorts);
        spec.dst = service_address(shape, static_cast<std::uint32_t>(number % shape.services));
        const Bytes frame = packets::build(spec);
        if (out.stride == 0) {
            out.length = static_cast<std::uint32_t>(frame.size());
            out.stride = (out.length + 63) / 64 * 64;
            out.bytes.resize(count * out.stride);
        }
        std::memcpy(out.bytes.data() + i * out.stride, frame.data(), frame.size());
    }
    return out;
}

}  // namespace sluice::dpdk::bench
