#include "tests/walks/objects.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace sluice::walks {
namespace {

constexpr int kServices = 12;
constexpr int kSlices = 18;
constexpr const char* kZones[] = {"", "a", "b"};

}  // namespace

void Maker::add_external(corev1::ServiceSpec& spec, corev1::Service& out) {
    const bool six = spec.clusterips_size() > 0 && one_in(3);
    const auto address = [&](int number) {
        return six ? fmt::format("2001:db8::{}", number) : fmt::format("198.51.100.{}", number);
    };
    // Four addresses for twelve services.
    if (one_in(2)) spec.add_externalips(address(1 + below(4)));
    if (spec.type() != "LoadBalancer") return;
    auto* ingress = out.mutable_status()->mutable_loadbalancer()->add_ingress();
    ingress->set_ip(address(1 + below(6)));
    if (one_in(5)) ingress->set_ipmode(one_in(2) ? "VIP" : "Proxy");
    if (one_in(2)) {
        for (int i = 1 + below(3); i > 0; --i) {
            spec.add_loadbalancersourceranges(
                one_in(4) ? fmt::format("2001:db8:{}::/48", below(4))
                          : fmt::format("10.{}.0.0/{}", below(4), one_in(3) ? 14 : 16));
        }
    }
}

corev1::Service Maker::service(int number) {
    corev1::Service out;
    auto& metadata = *out.mutable_metadata();
    metadata.set_namespace_("d");
    metadata.set_name(fmt::format("s{}", number));
    // Ages differ and change, so that claims change hands.
    metadata.mutable_creationtimestamp()->set_seconds(1000 + below(3));
    auto& spec = *out.mutable_spec();
    spec.set_type(std::vector<std::string>{"ClusterIP", "ClusterIP", "NodePort", "LoadBalancer",
                                           "LoadBalancer",
                                           "ExternalName"}[static_cast<std::size_t>(below(6))]);
    spec.set_clusterip(one_in(12) ? "None" : fmt::format("10.96.0.{}", number + 1));
    if (one_in(3) && spec.clusterip() != "None") {
        spec.add_clusterips(spec.clusterip());
        spec.add_clusterips(fmt::format("fd00:96::{}", number + 1));
    }
    for (int port = 0; port <= below(3); ++port) {
        auto* each = spec.add_ports();
        each->set_name(fmt::format("p{}", port));
        each->set_port(80 + port);
        each->set_protocol(one_in(4) ? "UDP" : "TCP");
        if (spec.type() != "ClusterIP")
            each->set_nodeport(30000 + (one_in(3) ? below(4) : number * 4 + port));
    }
    add_external(spec, out);
    if (one_in(3)) spec.set_internaltrafficpolicy("Local");
    if (one_in(2)) spec.set_externaltrafficpolicy(one_in(2) ? "Local" : "Cluster");
    if (one_in(4)) spec.set_sessionaffinity("ClientIP");
    auto& annotations = *metadata.mutable_annotations();
    if (one_in(2))
        annotations["sluice.dev/consistent-hash"] = one_in(6)   ? "nonsense"
                                                    : one_in(2) ? "tuple"
                                                                : "client";
    if (one_in(3))
        annotations["sluice.dev/forwarding"] = one_in(3) ? "nat" : one_in(2) ? "tunnel" : "option";
    if (one_in(15))
        (*metadata.mutable_labels())["service.kubernetes.io/service-proxy-name"] = "other";
    return out;
}

discoveryv1::EndpointSlice Maker::slice(int number) {
    discoveryv1::EndpointSlice out;
    auto& metadata = *out.mutable_metadata();
    metadata.set_namespace_("d");
    metadata.set_name(fmt::format("e{}", number));
    // Slices move from one service to another, and lose their label.
    if (!one_in(10)) {
        (*metadata.mutable_labels())["kubernetes.io/service-name"] =
            fmt::format("s{}", one_in(4) ? below(kServices) : number % kServices);
    }
    if (one_in(15)) (*metadata.mutable_labels())["service.kubernetes.io/headless"] = "";
    if (one_in(4))
        (*metadata.mutable_annotations())["sluice.dev/weight"] =
            one_in(8) ? "0" : std::to_string(1 + below(5));
    const bool six = one_in(4);
    out.set_addresstype(six ? "IPv6" : "IPv4");
    for (int port = 0; port < 3; ++port) {
        if (one_in(8)) continue;
        auto* each = out.add_ports();
        each->set_name(fmt::format("p{}", port));
        each->set_port(8080 + port);
        each->set_protocol(one_in(5) ? "UDP" : "TCP");
    }
    const bool hinted = one_in(2);
    for (int i = one_in(5) ? 0 : below(7); i > 0; --i) {
        auto* each = out.add_endpoints();
        const int host = 1 + below(30);
        each->add_addresses(six ? fmt::format("fd00:1::{}", host) : fmt::format("10.1.0.{}", host));
        if (one_in(5)) each->mutable_conditions()->set_ready(false);
        if (one_in(6)) each->mutable_conditions()->set_terminating(true);
        if (one_in(6)) each->mutable_conditions()->set_serving(one_in(2));
        each->set_nodename(one_in(3) ? "n1" : "n2");
        if (hinted) each->mutable_hints()->add_forzones()->set_name(one_in(2) ? "a" : "b");
        if (one_in(10)) each->mutable_hints()->add_fornodes()->set_name(one_in(2) ? "n1" : "n2");
        if (one_in(2)) {
            each->mutable_targetref()->set_namespace_("d");
            each->mutable_targetref()->set_name(
                fmt::format("pod-{}", one_in(5) ? below(100) : host));
        }
    }
    return out;
}

void Maker::change(Objects& objects, compile::State& state) {
    const int what = below(20);
    if (what < 6) {
        const int number = below(kServices);
        auto made = service(number);
        state.upsert(made);
        objects.services.insert_or_assign(fmt::format("d/s{}", number), std::move(made));
    } else if (what < 8) {
        const std::string key = fmt::format("d/s{}", below(kServices));
        state.remove_service(key);
        objects.services.erase(key);
    } else if (what < 9) {
        objects.zone = kZones[below(3)];
        state.set_zone(objects.zone);
    } else if (what < 17) {
        const int number = below(kSlices);
        auto made = slice(number);
        state.upsert(made);
        objects.slices.insert_or_assign(fmt::format("d/e{}", number), std::move(made));
    } else {
        const std::string key = fmt::format("d/e{}", below(kSlices));
        state.remove_slice(key);
        objects.slices.erase(key);
    }
}

void Maker::tell_all(const Objects& objects, compile::State& state) {
    std::vector<const corev1::Service*> services;
    std::vector<const discoveryv1::EndpointSlice*> slices;
    for (const auto& [key, each] : objects.services) services.push_back(&each);
    for (const auto& [key, each] : objects.slices) slices.push_back(&each);
    std::shuffle(services.begin(), services.end(), random_);
    std::shuffle(slices.begin(), slices.end(), random_);
    if (one_in(2)) state.set_zone(objects.zone);
    for (const auto* each : slices) state.upsert(*each);
    for (const auto* each : services) state.upsert(*each);
    state.set_zone(objects.zone);
}

}  // namespace sluice::walks
