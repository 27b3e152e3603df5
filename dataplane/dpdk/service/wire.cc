#include <algorithm>

#include "api/base/ip_address.h"
#include "dataplane/dpdk/service/wire_internal.h"

namespace sluice::dpdk {
namespace {

constexpr std::uint32_t kMostPackets = 10'000'000;
constexpr std::uint32_t kMostSeconds = 3600;
constexpr std::uint32_t kMostSnapLength = 262144;
constexpr int kLastCode = 16;

Result<void> check_field(const char* name, std::uint32_t value, std::uint32_t most) {
    return value > most ? Result<void>(make_error(Code::kInvalidArgument, "{} is {}; at most {} is allowed", name,
                                                  value, most))
                        : Result<void>();
}

Result<void> check_address(const char* name, const std::string& text) {
    return text.empty() || IpAddress::parse(text)
               ? Result<void>()
               : Result<void>(make_error(Code::kInvalidArgument, "{} is \"{}\", which is no IP address", name, text));
}

}  // namespace

grpc::Status to_status(const Error& error) {
    return {static_cast<grpc::StatusCode>(error.code), error.message};
}

grpc::Status to_status(const Result<void>& result) {
    return result ? grpc::Status::OK : to_status(result.error());
}

Error error_of(const grpc::Status& status) {
    const int code = status.error_code();
    return Error{code >= 1 && code <= kLastCode ? static_cast<Code>(code) : Code::kUnknown, status.error_message(), 0};
}

void to_wire(const EngineState& state, wire::StatusReply& out) {
    out.Clear();
    out.set_version(state.version);
    out.set_layout_version(state.layout_version);
    out.set_pid(state.pid);
    out.set_state_directory(state.state_directory);
    out.set_image(state.image);
    out.set_generation(state.generation);
    out.set_draining(state.draining);
    out.set_cycles_per_second(state.cycles_per_second);
    for (const PortState& port : state.ports) {
        wire::Port& to = *out.add_ports();
        to.set_name(port.name);
        to.set_interface(port.interface);
        to.set_driver(port.driver);
        to.set_mac(port.mac);
        to.set_mtu(port.mtu);
        to.set_link_up(port.link_up);
        to.set_received(port.received);
        to.set_received_bytes(port.received_bytes);
        to.set_sent(port.sent);
        to.set_sent_bytes(port.sent_bytes);
        to.set_missed(port.missed);
        to.set_send_failed(port.send_failed);
        to.set_no_buffer(port.no_buffer);
        for (const std::string& offload : port.offloads) {
            to.add_offloads(offload);
        }
        to.set_queues(port.queues);
    }
    for (const LcoreState& lcore : state.lcores) {
        wire::Lcore& to = *out.add_lcores();
        to.set_index(lcore.index);
        to.set_lcore(lcore.lcore);
        to.set_busy_cycles(lcore.busy_cycles);
        to.set_idle_cycles(lcore.idle_cycles);
        to.set_packets(lcore.packets);
        to.set_bursts(lcore.bursts);
        to.set_dispatched(lcore.dispatched);
        to.set_dispatch_failed(lcore.dispatch_failed);
    }
    for (const dataplane::TableStatus& table : state.tables) {
        wire::Table& to = *out.add_tables();
        to.set_name(table.name);
        to.set_capacity(table.capacity);
        to.set_used(table.used);
        to.set_displaced(table.displaced);
        to.set_refused(table.refused);
    }
    out.set_counter_rows(state.counter_rows);
    out.set_memory(state.memory);
    out.set_uptime_seconds(state.uptime_seconds);
    out.set_node_interface(state.node_interface);
    for (const std::string& what : state.missing) {
        out.add_missing(what);
    }
    for (const RoutingCounterInfo& counter : kRoutingCounters) {
        wire::RoutingCounter& to = *out.add_routing();
        to.set_name(std::string(counter.name));
        to.set_value(state.routing.*counter.field);
    }
    wire::Growth& growth = *out.mutable_growth();
    growth.set_tables_grown(state.growth.tables_grown);
    growth.set_flows_moved(state.growth.flows_moved);
    growth.set_flows_expired(state.growth.flows_expired);
    growth.set_flows_lost(state.growth.flows_lost);
}

EngineState from_wire(const wire::StatusReply& message) {
    EngineState out;
    out.version = message.version();
    out.layout_version = message.layout_version();
    out.pid = message.pid();
    out.state_directory = message.state_directory();
    out.image = message.image();
    out.generation = message.generation();
    out.draining = message.draining();
    out.cycles_per_second = message.cycles_per_second();
    for (const wire::Port& port : message.ports()) {
        out.ports.push_back({port.name(), port.interface(), port.driver(), port.mac(), port.mtu(), port.link_up(),
                             port.received(), port.received_bytes(), port.sent(), port.sent_bytes(), port.missed(),
                             port.send_failed(), port.no_buffer(),
                             {port.offloads().begin(), port.offloads().end()}, port.queues()});
    }
    for (const wire::Lcore& lcore : message.lcores()) {
        out.lcores.push_back({lcore.index(), lcore.lcore(), lcore.busy_cycles(), lcore.idle_cycles(), lcore.packets(),
                              lcore.bursts(), lcore.dispatched(), lcore.dispatch_failed()});
    }
    for (const wire::Table& table : message.tables()) {
        out.tables.push_back({table.name(), table.capacity(), table.used(), table.displaced(), table.refused()});
    }
    out.counter_rows = message.counter_rows();
    out.memory = message.memory();
    out.uptime_seconds = message.uptime_seconds();
    out.node_interface = message.node_interface();
    out.missing.assign(message.missing().begin(), message.missing().end());
    // By name, so that an engine of another version tells what both know.
    for (const wire::RoutingCounter& counter : message.routing()) {
        const auto known = std::find_if(kRoutingCounters.begin(), kRoutingCounters.end(),
                                        [&](const RoutingCounterInfo& info) { return info.name == counter.name(); });
        if (known != kRoutingCounters.end()) {
            out.routing.*known->field = counter.value();
        }
    }
    const wire::Growth& growth = message.growth();
    out.growth = {growth.tables_grown(), growth.flows_moved(), growth.flows_expired(), growth.flows_lost()};
    return out;
}

Result<CaptureOptions> from_wire(const wire::CaptureRequest& message) {
    if (!message.file().starts_with('/')) {
        return make_error(Code::kInvalidArgument, "file is \"{}\"; the engine writes it, so its path must be absolute",
                          message.file());
    }
    SLUICE_TRY(check_address("source", message.source()));
    SLUICE_TRY(check_address("destination", message.destination()));
    SLUICE_TRY(check_field("source_port", message.source_port(), UINT16_MAX));
    SLUICE_TRY(check_field("destination_port", message.destination_port(), UINT16_MAX));
    SLUICE_TRY(check_field("protocol", message.protocol(), UINT8_MAX));
    SLUICE_TRY(check_field("max_packets", message.max_packets(), kMostPackets));
    SLUICE_TRY(check_field("seconds", message.seconds(), kMostSeconds));
    SLUICE_TRY(check_field("snap_length", message.snap_length(), kMostSnapLength));
    CaptureOptions out;
    out.file = message.file();
    out.source = message.source();
    out.destination = message.destination();
    out.source_port = static_cast<std::uint16_t>(message.source_port());
    out.destination_port = static_cast<std::uint16_t>(message.destination_port());
    out.protocol = static_cast<std::uint8_t>(message.protocol());
    const auto set = [](std::uint32_t value, std::uint32_t& field) {
        field = value != 0 ? value : field;
    };
    set(message.max_packets(), out.max_packets);
    set(message.seconds(), out.seconds);
    set(message.snap_length(), out.snap_length);
    return out;
}

wire::CaptureRequest to_wire(const CaptureOptions& options) {
    wire::CaptureRequest out;
    out.set_file(options.file);
    out.set_source(options.source);
    out.set_destination(options.destination);
    out.set_source_port(options.source_port);
    out.set_destination_port(options.destination_port);
    out.set_protocol(options.protocol);
    out.set_max_packets(options.max_packets);
    out.set_seconds(options.seconds);
    out.set_snap_length(options.snap_length);
    return out;
}

}  // namespace sluice::dpdk
