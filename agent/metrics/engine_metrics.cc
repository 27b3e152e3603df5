#include "agent/metrics/engine_metrics.h"

#include <fmt/format.h>

#include <iterator>

#include "api/base/log.h"
#include "api/base/metrics_text.h"
#include "dataplane/dpdk/client/calls.h"

namespace sluice::metrics {
namespace {

using dpdk::EngineState;
using dpdk::LcoreState;
using dpdk::PortState;
using metrics_text::escaped;
using metrics_text::head;
using metrics_text::single;

void lcores(const EngineState& engine, const char* name, const char* help, std::uint64_t LcoreState::*field,
            std::string* out) {
    head(out, name, "counter", help);
    for (const LcoreState& lcore : engine.lcores) {
        fmt::format_to(std::back_inserter(*out), "{}{{lcore=\"{}\"}} {}\n", name, lcore.lcore, lcore.*field);
    }
}

void ports(const EngineState& engine, const char* name, const char* help, std::uint64_t PortState::*field,
           std::string* out) {
    head(out, name, "counter", help);
    for (const PortState& port : engine.ports) {
        fmt::format_to(std::back_inserter(*out), "{}{{port=\"{}\",interface=\"{}\"}} {}\n", name, escaped(port.name),
                       escaped(port.interface), port.*field);
    }
}

}  // namespace

void render_engine(const EngineState& engine, std::string* out) {
    single(out, "sluice_engine_up", "gauge", "1 if the engine answers.", 1);
    single(out, "sluice_engine_uptime_seconds", "gauge", "Since the engine began.", engine.uptime_seconds);
    single(out, "sluice_engine_draining", "gauge", "1 while new flows are refused.", engine.draining ? 1 : 0);
    single(out, "sluice_engine_image", "gauge", "Number of the image in force.", engine.image);
    single(out, "sluice_engine_cycles_per_second", "gauge", "What lcores count their cycles in.",
           engine.cycles_per_second);
    lcores(engine, "sluice_lcore_busy_cycles_total", "Cycles of polls that found packets.", &LcoreState::busy_cycles,
           out);
    lcores(engine, "sluice_lcore_idle_cycles_total", "Cycles of polls that found none.", &LcoreState::idle_cycles, out);
    lcores(engine, "sluice_lcore_packets_total", "Packets that a lcore took.", &LcoreState::packets, out);
    lcores(engine, "sluice_lcore_bursts_total", "Bursts that were not empty.", &LcoreState::bursts, out);
    lcores(engine, "sluice_lcore_dispatched_total", "Packets handed to the lcore that has their flow.",
           &LcoreState::dispatched, out);
    lcores(engine, "sluice_lcore_dispatch_failed_total", "Packets lost because that lcore's ring was full.",
           &LcoreState::dispatch_failed, out);
    ports(engine, "sluice_port_received_packets_total", "Packets received.", &PortState::received, out);
    ports(engine, "sluice_port_received_bytes_total", "Bytes received.", &PortState::received_bytes, out);
    ports(engine, "sluice_port_sent_packets_total", "Packets sent.", &PortState::sent, out);
    ports(engine, "sluice_port_sent_bytes_total", "Bytes sent.", &PortState::sent_bytes, out);
    ports(engine, "sluice_port_missed_packets_total", "Packets for which the port had no descriptor free.",
          &PortState::missed, out);
    ports(engine, "sluice_port_send_failed_packets_total", "Packets that the port did not take.",
          &PortState::send_failed, out);
    ports(engine, "sluice_port_no_buffer_packets_total", "Packets for which there was no buffer.",
          &PortState::no_buffer, out);
    head(out, "sluice_port_up", "gauge", "1 if the link is up.");
    for (const PortState& port : engine.ports) {
        fmt::format_to(std::back_inserter(*out), "sluice_port_up{{port=\"{}\",interface=\"{}\"}} {}\n",
                       escaped(port.name), escaped(port.interface), port.link_up ? 1 : 0);
    }
    head(out, "sluice_engine_table_refused_total", "counter", "What was not taken in for want of room.");
    for (const auto& table : engine.tables) {
        fmt::format_to(std::back_inserter(*out), "sluice_engine_table_refused_total{{table=\"{}\"}} {}\n",
                       escaped(table.name), table.refused);
    }
    single(out, "sluice_engine_tables_grown_total", "counter", "Tables that were replaced by larger ones.",
           engine.growth.tables_grown);
    single(out, "sluice_engine_flows_moved_total", "counter", "Flows that were carried to a larger table.",
           engine.growth.flows_moved);
    single(out, "sluice_engine_flows_lost_total", "counter", "Flows for which a larger table had no place.",
           engine.growth.flows_lost);
    for (const auto& counter : dpdk::kRoutingCounters) {
        const std::string name = fmt::format("sluice_routing_{}_total", counter.name);
        single(out, name.c_str(), "counter", counter.help.data(), engine.routing.*counter.field);
    }
}

void collect_engine(const std::string& socket, std::string* out) {
    const auto engine = dpdk::EngineCalls::to(socket)->status();
    if (engine) {
        render_engine(*engine, out);
        return;
    }
    log::debug("metrics", "{}", engine.error().to_string());
    single(out, "sluice_engine_up", "gauge", "1 if the engine answers.", 0);
}

}  // namespace sluice::metrics
