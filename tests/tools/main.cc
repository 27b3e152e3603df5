// testpeer: the servers and clients of the end-to-end tests and benchmarks.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "tests/tools/modes.h"

namespace {

using sluice::IpAddress;
using namespace sluice::testpeer;

bool read_mac(const std::string& text, std::array<std::uint8_t, 6>& mac) {
    return std::sscanf(text.c_str(), "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2], &mac[3],
                       &mac[4], &mac[5]) == 6;
}

int run(int argc, char** argv) {
    CLI::App app{"Servers that say who they are, clients that count what came back"};
    app.require_subcommand(1);

    ServeOptions serve_options;
    auto* serve_command = app.add_subcommand("serve", "answer with name, client address and port");
    serve_command->add_option("--name", serve_options.name)->required();
    serve_command->add_option("--tcp", serve_options.tcp_port);
    serve_command->add_option("--udp", serve_options.udp_port);
    serve_command->add_flag("--mute", serve_options.mute);

    LoadOptions load_options;
    std::string address;
    auto* load_command = app.add_subcommand("load", "connect or send again and again, and count");
    load_command->add_option("address", address)->required();
    load_command->add_option("port", load_options.port)->required();
    load_command->add_flag("--udp", load_options.udp);
    load_command->add_flag("--unconnected", load_options.unconnected);
    load_command->add_flag("--v4-mapped", load_options.v4_mapped);
    load_command->add_option("--seconds", load_options.seconds);
    load_command->add_option("--count", load_options.count);
    load_command->add_option("--workers", load_options.workers)->check(CLI::Range(1, 64));
    load_command->add_option("--timeout-ms", load_options.timeout_ms);
    load_command->add_option("--pause-us", load_options.pause_us);
    load_command->add_flag("--hold", load_options.hold);

    LatencyOptions latency_options;
    auto* latency_command = app.add_subcommand("latency", "time connect() or the first sendto()");
    latency_command->add_option("address", address)->required();
    latency_command->add_option("port", latency_options.port)->required();
    latency_command->add_flag("--udp", latency_options.udp);
    latency_command->add_option("--count", latency_options.count);
    latency_command->add_option("--warmup", latency_options.warmup);
    std::string against;
    latency_command->add_option("--against", against, "another address, in turn with the first");
    latency_command->add_option("--against-port", latency_options.against_port);

    FlowsOptions flows_options;
    auto* flows_command = app.add_subcommand("flows", "keep many connections and see that they live on");
    flows_command->add_option("address", address)->required();
    flows_command->add_option("port", flows_options.port)->required();
    flows_command->add_option("--count", flows_options.count)->check(CLI::Range(1, 100'000));
    flows_command->add_option("--seconds", flows_options.seconds);
    flows_command->add_option("--timeout-ms", flows_options.timeout_ms);
    flows_command->add_option("--pause-us", flows_options.pause_us);

    FloodOptions flood_options;
    std::string mac;
    auto* flood_command = app.add_subcommand("flood", "first packets from a new client each");
    flood_command->add_option("address", address)->required();
    flood_command->add_option("port", flood_options.port)->required();
    flood_command->add_option("--device", flood_options.device)->required();
    flood_command->add_option("--mac", mac, "of the next hop")->required();
    flood_command->add_option("--count", flood_options.count)->required();
    flood_command->add_option("--seed", flood_options.seed);
    flood_command->add_flag("--udp", flood_options.udp);

    std::string pass_device;
    auto* pass_command = app.add_subcommand("pass", "an XDP program on a device that passes everything");
    pass_command->add_option("device", pass_device)->required();

    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    }
    sluice::Result<void> result;
    if (serve_command->parsed()) {
        result = serve(serve_options);
    } else if (pass_command->parsed()) {
        result = pass(pass_device);
    } else {
        const auto parsed = IpAddress::parse(address);
        if (!parsed) {
            std::fprintf(stderr, "testpeer: %s\n", parsed.error().message.c_str());
            return 2;
        }
        if (!against.empty()) {
            const auto other = IpAddress::parse(against);
            if (!other) {
                std::fprintf(stderr, "testpeer: %s\n", other.error().message.c_str());
                return 2;
            }
            latency_options.against = *other;
        }
        load_options.address = latency_options.address = *parsed;
        flows_options.address = flood_options.address = *parsed;
        if (flood_command->parsed() && !read_mac(mac, flood_options.mac)) {
            std::fprintf(stderr, "testpeer: --mac: \"%s\" is no MAC address\n", mac.c_str());
            return 2;
        }
        result = load_command->parsed()    ? load(load_options)
                 : flows_command->parsed() ? flows(flows_options)
                 : flood_command->parsed() ? flood(flood_options)
                                           : latency(latency_options);
    }
    if (!result) {
        std::fprintf(stderr, "testpeer: %s\n", result.error().to_string().c_str());
        return 1;
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) { return run(argc, argv); }
