// See render_traffic.h.
#include "agent/cli/render_traffic.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json/array.hpp>
#include <cmath>
#include <map>
#include <tuple>

#include "agent/cli/render_internal.h"
#include "api/base/host_port.h"

namespace sluice::cli {
namespace {

namespace json = boost::json;
using dataplane::BackendTraffic;
using dataplane::EventView;
using dataplane::FlowView;
using dataplane::ServiceTraffic;
using dataplane::Traffic;

double rate(std::uint64_t before, std::uint64_t after, double seconds) {
    if (after < before || seconds <= 0) return 0;
    return static_cast<double>(after - before) / seconds;
}

Rates rates_of(const Traffic& before, const Traffic& after, double seconds) {
    return Rates{rate(before.connections, after.connections, seconds),
                 rate(before.packets, after.packets, seconds), rate(before.bytes, after.bytes, seconds)};
}

template <class Row>
double weight(const Row& row, TopOrder order) {
    switch (order) {
        case TopOrder::kBytes: return row.rates.bytes;
        case TopOrder::kConnections: return row.rates.connections;
        case TopOrder::kFlows: return static_cast<double>(row.flows);
        default: return row.rates.packets;
    }
}

// Busiest first; of equal ones those with more in total, then as they were.
template <class Row>
void sort_rows(std::vector<Row>* rows, TopOrder order) {
    std::stable_sort(rows->begin(), rows->end(), [&](const Row& a, const Row& b) {
        return std::make_tuple(weight(a, order), a.flows, a.total.connections) >
               std::make_tuple(weight(b, order), b.flows, b.total.connections);
    });
}

template <class Row>
void put_figures(json::object* out, const Row& row) {
    (*out)["connectionsPerSecond"] = row.rates.connections;
    (*out)["packetsPerSecond"] = row.rates.packets;
    (*out)["bytesPerSecond"] = row.rates.bytes;
    (*out)["activeFlows"] = row.flows;
    (*out)["connections"] = row.total.connections;
    (*out)["packets"] = row.total.packets;
    (*out)["bytes"] = row.total.bytes;
}

json::object to_json(const TopService& service) {
    json::object out;
    out["service"] = service.name;
    out["protocol"] = std::string(protocol_name(service.protocol));
    out["family"] = family_name(service.family);
    put_figures(&out, service);
    out["refusedPerSecond"] = service.refused;
    out["refused"] = service.refused_total;
    json::array backends;
    for (const TopBackend& backend : service.backends) {
        json::object entry;
        entry["address"] = backend.address.to_string();
        entry["port"] = backend.port;
        entry["target"] = backend.target;
        put_figures(&entry, backend);
        backends.push_back(std::move(entry));
    }
    out["backends"] = std::move(backends);
    return out;
}

json::object to_json(const FlowView& flow) {
    json::object out;
    out["protocol"] = std::string(protocol_name(flow.protocol));
    out["client"] = flow.client.to_string();
    out["clientPort"] = flow.client_port;
    out["destination"] = flow.destination.to_string();
    out["destinationPort"] = flow.destination_port;
    out["backend"] = flow.backend.to_string();
    out["backendPort"] = flow.backend_port;
    out["source"] = flow.source.to_string();
    out["sourcePort"] = flow.source_port;
    out["sourceNAT"] = flow.source_nat;
    out["state"] = flow.state;
    out["idleSeconds"] = flow.idle_s;
    out["timeoutSeconds"] = flow.timeout_s;
    out["forwarding"] = flow.forwarding;
    out["service"] = flow.service;
    out["target"] = flow.target;
    out["serving"] = flow.serving;
    out["translated"] = !flow.plain;
    return out;
}

bool is_known(const IpAddress& address) {
    return !address.is_unspecified();
}

std::string who(const IpAddress& address, std::uint16_t port) {
    return is_known(address) ? host_and_port(address, port) : std::string("-");
}

json::object to_json(const EventLine& line) {
    const EventView& event = line.event;
    const auto put = [](json::object* out, const char* key, const IpAddress& address,
                        std::uint16_t port) {
        if (is_known(address)) (*out)[key] = host_and_port(address, port);
    };
    json::object out;
    out["time"] = line.time;
    out["event"] = event.kind;
    if (!event.reason.empty()) out["reason"] = event.reason;
    out["protocol"] = std::string(protocol_name(event.protocol));
    out["place"] = event.place;
    put(&out, "client", event.client, event.client_port);
    put(&out, "destination", event.destination, event.destination_port);
    put(&out, "backend", event.backend, event.backend_port);
    if (event.source_nat) put(&out, "source", event.source, event.source_port);
    if (event.has_service) out["service"] = line.service;
    if (!line.target.empty()) out["target"] = line.target;
    if (event.kind == "opened") out["forwarding"] = event.forwarding;
    return out;
}

}  // namespace

std::string short_number(double value) {
    constexpr std::array kUnits = {"", "k", "M", "G", "T", "P"};
    std::size_t unit = 0;
    while (std::abs(value) >= 999.5 && unit + 1 < kUnits.size()) {
        value /= 1000;
        ++unit;
    }
    const bool whole = std::abs(value) >= 99.95 || value == std::floor(value);
    return fmt::format(fmt::runtime(whole ? "{:.0f}{}" : "{:.1f}{}"), value, kUnits[unit]);
}

std::vector<TopService> compute_top(const dataplane::TrafficReport& before,
                                    const dataplane::TrafficReport& after,
                                    std::chrono::duration<double> between, TopOrder order,
                                    std::size_t count) {
    using ServiceName = std::tuple<std::string, Protocol, IpFamily>;
    std::map<ServiceName, const ServiceTraffic*> earlier;
    for (const ServiceTraffic& service : before.services) {
        earlier[{service.name, service.protocol, service.family}] = &service;
    }
    const double seconds = between.count();
    const ServiceTraffic none;
    std::vector<TopService> out;
    for (const ServiceTraffic& now : after.services) {
        const auto found = earlier.find({now.name, now.protocol, now.family});
        const ServiceTraffic& then = found == earlier.end() ? none : *found->second;
        TopService row;
        row.name = now.name;
        row.protocol = now.protocol;
        row.family = now.family;
        row.rates = rates_of(then.traffic, now.traffic, seconds);
        row.refused = rate(then.refused, now.refused, seconds);
        row.refused_total = now.refused;
        row.flows = now.flows;
        row.total = now.traffic;
        std::map<std::pair<IpAddress, std::uint16_t>, Traffic> had;
        for (const BackendTraffic& backend : then.backends) {
            had[{backend.address, backend.port}] = backend.traffic;
        }
        for (const BackendTraffic& backend : now.backends) {
            const auto old = had.find({backend.address, backend.port});
            row.backends.push_back(
                TopBackend{backend.address, backend.port, backend.target,
                           rates_of(old == had.end() ? Traffic{} : old->second, backend.traffic, seconds),
                           backend.flows, backend.traffic});
        }
        sort_rows(&row.backends, order);
        out.push_back(std::move(row));
    }
    sort_rows(&out, order);
    if (count != 0 && out.size() > count) out.resize(count);
    return out;
}

std::string render_top(const std::vector<TopService>& services,
                       const dataplane::TrafficReport& report, bool with_backends, Format format) {
    if (format == Format::kJson) {
        json::object out;
        json::array rows;
        for (const TopService& service : services) rows.push_back(to_json(service));
        out["services"] = std::move(rows);
        json::array tables;
        for (const auto& use : report.flow_tables) {
            json::object entry = to_json(use);
            entry["lingering"] = use.lingering;
            tables.push_back(std::move(entry));
        }
        out["flowTables"] = std::move(tables);
        return finish(out);
    }
    std::vector<std::vector<std::string>> rows = {
        {"SERVICE", "PROTO", "CONN/S", "PKT/S", "BYTE/S", "FLOWS", "REFUSED/S", "CONNECTIONS"}};
    for (const TopService& service : services) {
        rows.push_back({service.name, std::string(protocol_name(service.protocol)),
                        short_number(service.rates.connections), short_number(service.rates.packets),
                        short_number(service.rates.bytes), std::to_string(service.flows),
                        short_number(service.refused), std::to_string(service.total.connections)});
        if (!with_backends) continue;
        for (const TopBackend& backend : service.backends) {
            const std::string where = host_and_port(backend.address, backend.port);
            rows.push_back({"  " + where + (backend.target.empty() ? "" : " " + backend.target), "",
                            short_number(backend.rates.connections),
                            short_number(backend.rates.packets), short_number(backend.rates.bytes),
                            std::to_string(backend.flows), "",
                            std::to_string(backend.total.connections)});
        }
    }
    std::string out = table(rows);
    for (const auto& use : report.flow_tables) {
        out += fmt::format("flows {}: {} of {}, {} displaced\n", family_name(use.family), use.flows,
                           use.capacity, use.displaced);
    }
    return out;
}

std::string render_flows(const dataplane::FlowList& list, Format format) {
    if (format == Format::kJson) {
        json::object out;
        json::array rows;
        for (const FlowView& flow : list.flows) rows.push_back(to_json(flow));
        out["flows"] = std::move(rows);
        out["matched"] = list.matched;
        return finish(out);
    }
    std::vector<std::vector<std::string>> rows = {
        {"PROTO", "CLIENT", "DESTINATION", "BACKEND", "STATE", "IDLE", "SOURCE NAT", "SERVICE"}};
    for (const FlowView& flow : list.flows) {
        std::string source = flow.source_nat ? host_and_port(flow.source, flow.source_port) : "-";
        if (flow.forwarding != "nat") source = "- (" + flow.forwarding + ")";
        rows.push_back({std::string(protocol_name(flow.protocol)),
                        host_and_port(flow.client, flow.client_port),
                        host_and_port(flow.destination, flow.destination_port),
                        host_and_port(flow.backend, flow.backend_port) +
                            (flow.serving ? "" : " (gone)"),
                        flow.state, fmt::format("{}s", flow.idle_s), source,
                        flow.plain ? "- (port changed only)" : flow.service});
    }
    std::string out = table(rows);
    if (list.matched > list.flows.size()) {
        out += fmt::format("{} of {} flows; --limit shows more\n", list.flows.size(), list.matched);
    }
    return out;
}

std::string render_event(const EventLine& line, Format format) {
    if (format == Format::kJson) return finish(to_json(line));
    const EventView& event = line.event;
    std::string out = fmt::format("{} {:<7} {} {} > {}", line.time, event.kind,
                                  protocol_name(event.protocol), who(event.client, event.client_port),
                                  who(event.destination, event.destination_port));
    if (event.kind == "opened") {
        out += " to " + who(event.backend, event.backend_port);
        if (!line.target.empty()) out += " " + line.target;
        if (event.source_nat) out += " as " + who(event.source, event.source_port);
        if (event.forwarding != "nat") out += " by " + event.forwarding;
    }
    if (!event.reason.empty()) out += " " + event.reason;
    if (event.has_service) out += " " + line.service;
    return out + " (" + event.place + ")\n";
}

}  // namespace sluice::cli
