#include "dataplane/dpdk/runtime/telemetry.h"

#include <rte_telemetry.h>

#include <mutex>
#include <string>

namespace sluice::dpdk {
namespace {

// rte_telemetry's commands have no argument of ours and cannot be taken back, so what they ask stands here.
std::mutex mutex;
Telemetry::Status status_source;
Telemetry::Drops drops_source;

bool state_of(EngineState* out) {
    const std::lock_guard lock(mutex);
    if (!status_source) return false;
    *out = status_source();
    return true;
}

void add(rte_tel_data* data, const char* name, std::uint64_t value) {
    rte_tel_data_add_dict_u64(data, name, value);
}

// An array cannot have them: DPDK 22.11 takes only arrays of numbers and texts into one. Names are of letters, digits,
// `_` and `/`, which those of devices on a bus are not.
bool add_entry(rte_tel_data* data, const std::string& name, rte_tel_data* entry) {
    if (rte_tel_data_add_dict_container(data, name.c_str(), entry, 0) == 0) return true;
    rte_tel_data_free(entry);
    return false;
}

int tell_status(const char*, const char*, rte_tel_data* data) {
    EngineState state;
    if (!state_of(&state)) return -1;
    rte_tel_data_start_dict(data);
    rte_tel_data_add_dict_string(data, "version", state.version.c_str());
    rte_tel_data_add_dict_string(data, "memory", state.memory.c_str());
    rte_tel_data_add_dict_string(data, "state_directory", state.state_directory.c_str());
    add(data, "image", state.image);
    add(data, "generation", state.generation);
    add(data, "draining", state.draining ? 1 : 0);
    add(data, "uptime_seconds", state.uptime_seconds);
    add(data, "cycles_per_second", state.cycles_per_second);
    for (const auto& table : state.tables) {
        add(data, (table.name + "_capacity").c_str(), table.capacity);
        add(data, (table.name + "_used").c_str(), table.used);
        add(data, (table.name + "_displaced").c_str(), table.displaced);
        add(data, (table.name + "_refused").c_str(), table.refused);
    }
    add(data, "tables_grown", state.growth.tables_grown);
    add(data, "flows_moved", state.growth.flows_moved);
    add(data, "flows_expired", state.growth.flows_expired);
    add(data, "flows_lost", state.growth.flows_lost);
    return 0;
}

int tell_lcores(const char*, const char*, rte_tel_data* data) {
    EngineState state;
    if (!state_of(&state)) return -1;
    rte_tel_data_start_dict(data);
    for (const auto& lcore : state.lcores) {
        rte_tel_data* entry = rte_tel_data_alloc();
        if (entry == nullptr) return -1;
        rte_tel_data_start_dict(entry);
        add(entry, "lcore", lcore.lcore);
        add(entry, "busy_cycles", lcore.busy_cycles);
        add(entry, "idle_cycles", lcore.idle_cycles);
        add(entry, "packets", lcore.packets);
        add(entry, "bursts", lcore.bursts);
        add(entry, "dispatched", lcore.dispatched);
        add(entry, "dispatch_failed", lcore.dispatch_failed);
        if (!add_entry(data, std::to_string(lcore.lcore), entry)) return -1;
    }
    return 0;
}

int tell_ports(const char*, const char*, rte_tel_data* data) {
    EngineState state;
    if (!state_of(&state)) return -1;
    rte_tel_data_start_dict(data);
    std::size_t number = 0;
    for (const auto& port : state.ports) {
        rte_tel_data* entry = rte_tel_data_alloc();
        if (entry == nullptr) return -1;
        rte_tel_data_start_dict(entry);
        rte_tel_data_add_dict_string(entry, "name", port.name.c_str());
        rte_tel_data_add_dict_string(entry, "interface", port.interface.c_str());
        rte_tel_data_add_dict_string(entry, "driver", port.driver.c_str());
        add(entry, "link_up", port.link_up ? 1 : 0);
        add(entry, "received", port.received);
        add(entry, "received_bytes", port.received_bytes);
        add(entry, "sent", port.sent);
        add(entry, "sent_bytes", port.sent_bytes);
        add(entry, "missed", port.missed);
        add(entry, "send_failed", port.send_failed);
        add(entry, "no_buffer", port.no_buffer);
        if (!add_entry(data, std::to_string(number++), entry)) return -1;
    }
    return 0;
}

int tell_drops(const char*, const char*, rte_tel_data* data) {
    const std::lock_guard lock(mutex);
    if (!drops_source) return -1;
    rte_tel_data_start_dict(data);
    for (const auto& [name, count] : drops_source()) add(data, name.c_str(), count);
    return 0;
}

int tell_routing(const char*, const char*, rte_tel_data* data) {
    EngineState state;
    if (!state_of(&state)) return -1;
    rte_tel_data_start_dict(data);
    for (const auto& counter : kRoutingCounters) {
        add(data, std::string(counter.name).c_str(), state.routing.*counter.field);
    }
    return 0;
}

}  // namespace

std::unique_ptr<Telemetry> Telemetry::start(Status status, Drops drops) {
    {
        const std::lock_guard lock(mutex);
        status_source = std::move(status);
        drops_source = std::move(drops);
    }
    // Known already in a process that starts a second engine: then they answer for that one.
    rte_telemetry_register_cmd("/sluice/status", tell_status, "What the engine is and does. No parameters.");
    rte_telemetry_register_cmd("/sluice/lcores", tell_lcores, "What each lcore has done. No parameters.");
    rte_telemetry_register_cmd("/sluice/ports", tell_ports, "What each port has seen. No parameters.");
    rte_telemetry_register_cmd("/sluice/routing", tell_routing,
                               "ARP, ND, neighbours, routes of the kernel. No parameters.");
    rte_telemetry_register_cmd("/sluice/drops", tell_drops, "Dropped frames by reason. No parameters.");
    return std::unique_ptr<Telemetry>(new Telemetry());
}

Telemetry::~Telemetry() {
    const std::lock_guard lock(mutex);
    status_source = nullptr;
    drops_source = nullptr;
}

}  // namespace sluice::dpdk
