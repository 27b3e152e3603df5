#include "agent/cli/engine_commands.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <netinet/in.h>

#include <atomic>
#include <boost/json.hpp>
#include <csignal>
#include <filesystem>
#include <iterator>

#include "agent/cli/arguments.h"
#include "agent/cli/render_internal.h"
#include "dataplane/dpdk/client/calls.h"

namespace sluice::cli {
namespace {

namespace json = boost::json;

volatile std::sig_atomic_t stopping = 0;

void stop(int /*signal*/) {
    stopping = 1;
}

Result<std::uint8_t> protocol_number(const std::string& text) {
    if (text.empty()) return std::uint8_t{0};
    if (text == "icmp") return std::uint8_t{IPPROTO_ICMP};
    if (text == "icmpv6") return std::uint8_t{IPPROTO_ICMPV6};
    SLUICE_TRY_ASSIGN(const Protocol protocol, parse_protocol_argument(text));
    return static_cast<std::uint8_t>(protocol);
}

json::object port_json(const dpdk::PortState& port) {
    return {{"name", port.name}, {"interface", port.interface}, {"driver", port.driver}, {"mac", port.mac},
            {"mtu", port.mtu}, {"linkUp", port.link_up}, {"received", port.received},
            {"receivedBytes", port.received_bytes}, {"sent", port.sent}, {"sentBytes", port.sent_bytes},
            {"missed", port.missed}, {"sendFailed", port.send_failed}, {"noBuffer", port.no_buffer},
            {"offloads", json::array(port.offloads.begin(), port.offloads.end())}, {"queues", port.queues}};
}

json::object lcore_json(const dpdk::LcoreState& lcore) {
    return {{"index", lcore.index}, {"lcore", lcore.lcore}, {"busyCycles", lcore.busy_cycles},
            {"idleCycles", lcore.idle_cycles}, {"packets", lcore.packets}, {"bursts", lcore.bursts},
            {"dispatched", lcore.dispatched}, {"dispatchFailed", lcore.dispatch_failed}};
}

json::object engine_json(const dpdk::EngineState& engine) {
    json::object out{{"version", engine.version}, {"pid", engine.pid}, {"memory", engine.memory},
                     {"image", engine.image}, {"draining", engine.draining},
                     {"uptimeSeconds", engine.uptime_seconds}, {"cyclesPerSecond", engine.cycles_per_second}};
    json::array ports, lcores;
    for (const auto& port : engine.ports) ports.push_back(port_json(port));
    for (const auto& lcore : engine.lcores) lcores.push_back(lcore_json(lcore));
    out["ports"] = std::move(ports);
    out["lcores"] = std::move(lcores);
    json::object routing;
    for (const auto& counter : dpdk::kRoutingCounters) routing[counter.name] = engine.routing.*counter.field;
    out["routing"] = std::move(routing);
    out["missing"] = json::array(engine.missing.begin(), engine.missing.end());
    return out;
}

}  // namespace

std::string render_engine(const dpdk::EngineState& engine, Format format) {
    if (format == Format::kJson) return finish(engine_json(engine));
    std::string out = fmt::format("Engine            DPDK, sluice-dpdk {}, process {}, up {} s, {}{}\n", engine.version,
                                  engine.pid, engine.uptime_seconds, engine.memory,
                                  engine.draining ? ", draining" : "");
    std::vector<std::vector<std::string>> rows{{"PORT", "INTERFACE", "DRIVER", "LINK", "MTU", "QUEUES", "RECEIVED",
                                                "SENT", "MISSED", "SEND FAILED"}};
    for (const auto& port : engine.ports) {
        rows.push_back({port.name, port.interface, port.driver, port.link_up ? "up" : "down", std::to_string(port.mtu),
                        std::to_string(port.queues), std::to_string(port.received), std::to_string(port.sent),
                        std::to_string(port.missed), std::to_string(port.send_failed)});
    }
    out += table(rows);
    rows = {{"LCORE", "BUSY", "PACKETS", "BURSTS", "DISPATCHED", "LOST"}};
    for (const auto& lcore : engine.lcores) {
        const auto cycles = static_cast<double>(lcore.busy_cycles) + static_cast<double>(lcore.idle_cycles);
        rows.push_back({std::to_string(lcore.lcore),
                        fmt::format("{:.1f}%", cycles > 0 ? 100 * static_cast<double>(lcore.busy_cycles) / cycles : 0),
                        std::to_string(lcore.packets), std::to_string(lcore.bursts), std::to_string(lcore.dispatched),
                        std::to_string(lcore.dispatch_failed)});
    }
    out += table(rows);
    rows = {{"ROUTING", "", ""}};
    for (const auto& counter : dpdk::kRoutingCounters) {
        const std::uint64_t value = engine.routing.*counter.field;
        if (value != 0) rows.push_back({std::string(counter.name), std::to_string(value), std::string(counter.help)});
    }
    if (rows.size() > 1) out += table(rows);
    for (const std::string& what : engine.missing) out += fmt::format("Missing: {}\n", what);
    return out;
}

Result<std::string> engine_status(const std::string& socket, const dataplane::ImageStatus& tables, Format format) {
    const auto engine = dpdk::EngineCalls::to(socket)->status();
    const std::string text = render_status(tables, format);
    if (format == Format::kTable) {
        return text + (engine ? render_engine(*engine, format)
                              : fmt::format("Engine            DPDK: {}\n", engine.error().message));
    }
    json::object out = json::parse(text).as_object();
    if (engine) {
        out["engine"] = engine_json(*engine);
    } else {
        out["engineError"] = engine.error().message;
    }
    return finish(out);
}

Result<dpdk::CaptureOptions> capture_options(const CaptureCommand& command) {
    dpdk::CaptureOptions out;
    std::error_code error;
    out.file = std::filesystem::absolute(command.file, error).string();
    if (command.file.empty() || error) {
        return make_error(Code::kInvalidArgument, "\"{}\" is no path of a file", command.file);
    }
    const auto target = [](const std::string& text, std::string* address, std::uint16_t* port) -> Result<void> {
        if (text.empty()) return {};
        SLUICE_TRY_ASSIGN(const Target parsed, parse_target(text));
        *address = parsed.address.to_string();
        *port = parsed.port;
        return {};
    };
    SLUICE_TRY(target(command.source, &out.source, &out.source_port));
    SLUICE_TRY(target(command.destination, &out.destination, &out.destination_port));
    SLUICE_TRY_ASSIGN(out.protocol, protocol_number(command.protocol));
    out.max_packets = command.packets;
    out.seconds = command.seconds;
    out.snap_length = command.snap_length;
    return out;
}

Result<std::string> capture(const CaptureCommand& command) {
    SLUICE_TRY_ASSIGN(const auto options, capture_options(command));
    struct sigaction action {};
    action.sa_handler = stop;
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
    dpdk::CaptureState last;
    SLUICE_TRY(dpdk::EngineCalls::to(command.socket)->capture(options, [&](const dpdk::CaptureState& state) {
        last = state;
        return stopping == 0;
    }));
    if (command.format == Format::kJson) {
        return finish(json::object{{"file", options.file}, {"packets", last.packets}, {"missed", last.missed}});
    }
    const std::string missed =
        last.missed != 0 ? fmt::format(", {} missed: they came faster than they were written", last.missed) : "";
    return fmt::format("{} packets in {}{}\n", last.packets, options.file, missed);
}

Result<std::string> drain(const DrainCommand& command) {
    const auto calls = dpdk::EngineCalls::to(command.socket);
    if (command.undo) {
        SLUICE_TRY(calls->undo_drain());
        return std::string("new flows are taken again\n");
    }
    auto left = calls->drain(command.idle_s, std::chrono::seconds(command.timeout_s));
    if (!left) {
        return left.error().code == Code::kDeadlineExceeded
                   ? make_error(Code::kDeadlineExceeded,
                                "flows are in use after {} s; draining goes on, `sluice drain --undo` ends it",
                                command.timeout_s)
                   : left.error();
    }
    return std::string("drained: no flow is in use\n");
}

}  // namespace sluice::cli
