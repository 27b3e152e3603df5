// publish: writes services from a JSON file into a DPDK engine's state directory, as an agent would.
//
//   {"node": {"addresses": ["192.0.2.1"], "masquerade": ["192.0.2.1"], "cluster_cidrs": [...], "service_cidrs": [...]},
//    "services": [{"name": "default/web", "protocol": "TCP", "port": 80, "cluster_ip": "10.96.0.10",
//                  "node_port": 30080, "external_ip": "192.0.2.50", "forwarding": "nat" | "tunnel",
//                  "backends": [{"address": "10.0.0.1", "port": 8080, "local": false}]}]}
//
// With a service's name it goes on to change that one's backends, so many times and so often.
#include <algorithm>
#include <boost/json.hpp>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "dataplane/dpdk/client/dpdk_client.h"

namespace {

namespace json = boost::json;
using namespace sluice;  // NOLINT: one program, one file

std::string text(const json::object& object, const char* key, const char* otherwise = "") {
    const auto* value = object.if_contains(key);
    return value == nullptr ? otherwise : std::string(value->as_string());
}
std::uint16_t number(const json::object& object, const char* key) {
    const auto* value = object.if_contains(key);
    return value == nullptr ? std::uint16_t{0} : static_cast<std::uint16_t>(value->as_int64());
}
json::array list(const json::object& object, const char* key) {
    const auto* value = object.if_contains(key);
    return value == nullptr ? json::array{} : value->as_array();
}

image::Node read_node(const json::object& object) {
    image::Node out;
    for (const auto& entry : list(object, "addresses")) {
        out.nodeport_addresses.push_back(IpAddress::parse(std::string(entry.as_string())).value());
    }
    std::sort(out.nodeport_addresses.begin(), out.nodeport_addresses.end());
    for (const auto& entry : list(object, "masquerade")) {
        const auto address = IpAddress::parse(std::string(entry.as_string())).value();
        (address.is_v4() ? out.masquerade_v4 : out.masquerade_v6) = address;
    }
    for (const auto& [key, into] : {std::pair{"cluster_cidrs", &out.cluster_cidrs},
                                    std::pair{"service_cidrs", &out.service_cidrs}}) {
        for (const auto& entry : list(object, key)) {
            into->push_back(IpPrefix::parse(std::string(entry.as_string())).value());
        }
    }
    return out;
}

image::Service read_service(const json::object& object) {
    image::Service out;
    std::vector<image::Backend> backends;
    for (const auto& entry : list(object, "backends")) {
        const auto& backend = entry.as_object();
        const auto* local = backend.if_contains("local");
        backends.push_back({IpAddress::parse(text(backend, "address")).value(), number(backend, "port"),
                            local != nullptr && local->as_bool(), false, ""});
    }
    std::sort(backends.begin(), backends.end());
    out.internal.backends = out.external.backends = out.inside.backends = std::move(backends);
    out.port = number(object, "port");
    const auto address = IpAddress::parse(text(object, "cluster_ip")).value();
    out.key = {text(object, "name"), "", parse_protocol(text(object, "protocol", "TCP")).value(), address.family()};
    const auto forwarding =
        text(object, "forwarding") == "tunnel" ? image::Forwarding::kTunnel : image::Forwarding::kNat;
    out.frontends.push_back({address, out.port, image::Scope::kAddress, false, false, false, image::Forwarding::kNat});
    if (const auto external = text(object, "external_ip"); !external.empty()) {
        out.frontends.push_back({IpAddress::parse(external).value(), out.port, image::Scope::kAddress, true, true,
                                 false, image::Forwarding::kNat});
    }
    if (const auto port = number(object, "node_port"); port != 0) {
        const bool masquerade = forwarding == image::Forwarding::kNat;
        out.frontends.push_back({IpAddress{}, port, image::Scope::kNodePort, true, masquerade, false, forwarding});
    }
    std::sort(out.frontends.begin(), out.frontends.end());
    return out;
}

// What to do after the state of the file is in force: nothing, or `count` changes in steady time.
struct Churn {
    std::string service;
    std::uint32_t count = 0;
    std::uint32_t per_second = 1;
};

// Each service of the name has all its backends and its first one alone, by turns; at the end all of them.
Result<void> churn(dataplane::Engine& engine, const std::vector<image::Service>& services, const Churn& what) {
    using Clock = std::chrono::steady_clock;
    std::vector<image::Service> whole;
    for (const auto& service : services) {
        if (service.key.service == what.service && service.internal.backends.size() > 1) whole.push_back(service);
    }
    if (whole.empty()) return make_error(Code::kInvalidArgument, "{}: no service of two backends", what.service);
    std::printf("publishing\n");
    std::fflush(stdout);
    const auto begin = Clock::now();
    auto longest = Clock::duration::zero();
    for (std::uint32_t i = 0; i < what.count; ++i) {
        std::this_thread::sleep_until(begin + std::chrono::nanoseconds(std::chrono::seconds(i)) / what.per_second);
        image::Service changed = whole[i / 2 % whole.size()];
        if (i % 2 == 0) {
            for (auto* set : {&changed.internal, &changed.external, &changed.inside}) set->backends.resize(1);
        }
        const auto before = Clock::now();
        image::Change change;
        change.upserts.push_back(std::move(changed));
        SLUICE_TRY(engine.apply(change));
        longest = std::max(longest, Clock::now() - before);
        engine.reclaim();
    }
    const std::chrono::duration<double> took = Clock::now() - begin;
    const std::chrono::duration<double, std::micro> slowest = longest;
    std::printf("{\"publishes\":%u,\"seconds\":%.3f,\"slowest_us\":%.1f}\n", what.count, took.count(), slowest.count());
    return {};
}

int publish(const std::string& socket, const std::string& directory, const std::string& file, const Churn& what) {
    std::ifstream source(file);
    const std::string content((std::istreambuf_iterator<char>(source)), std::istreambuf_iterator<char>());
    const auto root = json::parse(content).as_object();
    std::vector<image::Service> services;
    for (const auto& entry : list(root, "services")) services.push_back(read_service(entry.as_object()));
    const auto& node = root.at("node").as_object();
    dpdk::DpdkOptions options;
    options.socket = socket;
    options.state_directory = directory;
    auto engine = dpdk::open_dpdk_engine(options);
    auto done = engine ? (*engine)->replace_all(read_node(node), services) : Result<void>(engine.error());
    if (done && what.count != 0) done = churn(**engine, services, what);
    if (!done) std::fprintf(stderr, "publish: %s\n", done.error().to_string().c_str());
    return done ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4 && argc != 7) {
        std::fputs("usage: publish SOCKET STATE_DIRECTORY FILE [SERVICE COUNT PER_SECOND]\n", stderr);
        return 2;
    }
    try {
        Churn what;
        if (argc == 7) {
            what = {argv[4], static_cast<std::uint32_t>(std::stoul(argv[5])),
                    static_cast<std::uint32_t>(std::max(1UL, std::stoul(argv[6])))};
        }
        return publish(argv[1], argv[2], argv[3], what);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "publish: %s: %s\n", argv[3], error.what());
        return 1;
    }
}
