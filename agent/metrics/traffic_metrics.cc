// See traffic_metrics.h.
#include "agent/metrics/traffic_metrics.h"

#include <fmt/format.h>

#include <functional>
#include <iterator>
#include <utility>

#include "api/base/host_port.h"
#include "api/base/log.h"
#include "api/base/metrics_text.h"

namespace sluice::metrics {
namespace {

using dataplane::BackendTraffic;
using dataplane::ServiceTraffic;
using metrics_text::escaped;
using metrics_text::head;
using metrics_text::single;

const char* family_name(IpFamily family) {
    return family == IpFamily::kIpv4 ? "IPv4" : "IPv6";
}

// Samples under the same labels.
struct Series {
    std::string labels;
    dataplane::Traffic traffic{};
    std::uint64_t refused = 0;
    std::uint64_t flows = 0;
};

template <class Value>
void family(std::string* out, const char* name, const char* type, const char* help,
            const std::vector<Series>& series, Value value) {
    head(out, name, type, help);
    for (const Series& one : series) {
        fmt::format_to(std::back_inserter(*out), "{}{{{}}} {}\n", name, one.labels, value(one));
    }
}

std::string service_labels(const ServiceTraffic& service) {
    return fmt::format("service=\"{}\",protocol=\"{}\",ip_family=\"{}\"", escaped(service.name),
                       protocol_name(service.protocol), family_name(service.family));
}

Counters counters_of(const dataplane::Traffic& traffic, std::uint64_t refused) {
    return {traffic.connections, traffic.packets, traffic.bytes, refused};
}

Series shown(std::string labels, const Counters& counters, std::uint64_t flows) {
    return Series{std::move(labels), {counters.connections, counters.packets, counters.bytes}, counters.refused, flows};
}

std::uint64_t mixed(std::uint64_t seed, std::uint64_t value) {
    return (seed ^ value) * 0x9e3779b97f4a7c15ULL ^ (seed + value) >> 29U;
}

std::uint64_t key_of(const ServiceTraffic& service) {
    const auto kind = static_cast<std::uint64_t>(service.protocol) << 8U | static_cast<std::uint64_t>(service.family);
    return mixed(std::hash<std::string>{}(service.name), kind);
}

std::uint64_t key_of(const ServiceTraffic& service, const BackendTraffic& backend) {
    std::uint64_t out = mixed(key_of(service), backend.port);
    for (const std::uint8_t byte : backend.address.bytes) out = mixed(out, byte);
    return mixed(out, std::hash<std::string>{}(backend.target));
}

}  // namespace

void TrafficMetrics::render_services(const std::vector<ServiceTraffic>& services, std::string* out) {
    std::vector<Counted> counted;
    counted.reserve(services.size());
    for (const ServiceTraffic& service : services) {
        counted.push_back({key_of(service), counters_of(service.traffic, service.refused)});
    }
    const Counters others = services_.settle(&counted);
    std::vector<Series> series;
    std::uint64_t flows = 0;
    std::uint64_t summed = 0;
    for (std::size_t i = 0; i < services.size(); ++i) {
        if (counted[i].own) {
            series.push_back(shown(service_labels(services[i]), counted[i].shown, services[i].flows));
        } else {
            flows += services[i].flows;
            ++summed;
        }
    }
    if (summed != 0 || others != Counters{}) {
        series.push_back(shown("service=\"other\",protocol=\"\",ip_family=\"\"", others, flows));
    }
    family(out, "sluice_service_connections_total", "counter",
           "Choices of an endpoint: connects, new flows, first datagrams.", series,
           [](const Series& one) { return one.traffic.connections; });
    family(out, "sluice_service_packets_total", "counter",
           "Packets translated on devices, both directions.", series,
           [](const Series& one) { return one.traffic.packets; });
    family(out, "sluice_service_bytes_total", "counter",
           "Bytes of packets translated on devices, both directions.", series,
           [](const Series& one) { return one.traffic.bytes; });
    family(out, "sluice_service_refused_total", "counter",
           "Refused or dropped for want of an endpoint or by source range.", series,
           [](const Series& one) { return one.refused; });
    family(out, "sluice_service_active_flows", "gauge", "Flows of the packet path that are alive.",
           series, [](const Series& one) { return one.flows; });
    single(out, "sluice_services_summed", "gauge", "Service ports that are summed under \"other\".",
           summed);
}

void TrafficMetrics::render_backends(const std::vector<ServiceTraffic>& services, std::string* out) {
    struct Row {
        const ServiceTraffic* service;
        const BackendTraffic* backend;
    };
    std::vector<Row> rows;
    for (const ServiceTraffic& service : services) {
        for (const BackendTraffic& backend : service.backends) rows.push_back({&service, &backend});
    }
    std::vector<Counted> counted;
    counted.reserve(rows.size());
    for (const Row& row : rows) {
        counted.push_back({key_of(*row.service, *row.backend), counters_of(row.backend->traffic, 0)});
    }
    const Counters others = backends_.settle(&counted);
    std::vector<Series> series;
    std::uint64_t flows = 0;
    std::uint64_t summed = 0;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const BackendTraffic& backend = *rows[i].backend;
        if (!counted[i].own) {
            flows += backend.flows;
            ++summed;
            continue;
        }
        const std::string at = host_and_port(backend.address, backend.port);
        series.push_back(shown(fmt::format("{},endpoint=\"{}\",target=\"{}\"", service_labels(*rows[i].service), at,
                                           escaped(backend.target)),
                               counted[i].shown, backend.flows));
    }
    if (summed != 0 || others != Counters{}) {
        series.push_back(shown("service=\"other\",protocol=\"\",ip_family=\"\",endpoint=\"\",target=\"\"", others,
                               flows));
    }
    family(out, "sluice_endpoint_connections_total", "counter", "Connections given to an endpoint.",
           series, [](const Series& one) { return one.traffic.connections; });
    family(out, "sluice_endpoint_packets_total", "counter",
           "Packets translated on devices for an endpoint, both directions.", series,
           [](const Series& one) { return one.traffic.packets; });
    family(out, "sluice_endpoint_bytes_total", "counter",
           "Bytes of packets translated on devices for an endpoint, both directions.", series,
           [](const Series& one) { return one.traffic.bytes; });
    family(out, "sluice_endpoint_active_flows", "gauge",
           "Flows of the packet path to an endpoint that are alive.", series,
           [](const Series& one) { return one.flows; });
    single(out, "sluice_endpoints_summed", "gauge", "Endpoints that are summed under \"other\".",
           summed);
}

namespace {

void render_tables(const dataplane::TrafficReport& report, std::string* out) {
    std::vector<Series> used;
    std::vector<Series> capacity;
    const auto put = [&](const std::string& labels, std::uint64_t in_use, std::uint64_t room) {
        used.push_back(Series{labels, {}, 0, in_use});
        capacity.push_back(Series{labels, {}, 0, room});
    };
    std::vector<Series> lingering;
    std::vector<Series> displaced;
    for (const auto& use : report.tables) {
        put(fmt::format("table=\"{}\"", use.table), use.used, use.capacity);
    }
    for (const auto& use : report.flow_tables) {
        const char* name = use.family == IpFamily::kIpv4 ? "flows4" : "flows6";
        put(fmt::format("table=\"{}\"", name), use.flows, use.capacity);
        const std::string labels = fmt::format("ip_family=\"{}\"", family_name(use.family));
        lingering.push_back(Series{labels, {}, 0, use.lingering});
        displaced.push_back(Series{labels, {}, 0, use.displaced});
    }
    const auto value = [](const Series& one) { return one.flows; };
    family(out, "sluice_table_entries", "gauge", "Entries in use; of flows, those that are alive.", used,
           value);
    family(out, "sluice_table_capacity", "gauge", "Entries that a table has room for.", capacity, value);
    family(out, "sluice_flows_lingering", "gauge",
           "Flows that are closed or over, whose places are free for others.", lingering, value);
    family(out, "sluice_flows_displaced_total", "counter",
           "Flows that gave way to others before their time.", displaced, value);
}

}  // namespace

void TrafficMetrics::render(const dataplane::TrafficReport& report,
                            const std::vector<dataplane::DropView>& drops, std::string* out) {
    render_services(report.services, out);
    render_backends(report.services, out);
    std::vector<Series> reasons;
    for (const auto& drop : drops) {
        reasons.push_back(Series{fmt::format("reason=\"{}\"", drop.reason), {}, drop.count, 0});
    }
    family(out, "sluice_drops_total", "counter",
           "Packets and connections that were not forwarded, by reason.", reasons,
           [](const Series& one) { return one.refused; });
    render_tables(report, out);
}

void TrafficMetrics::collect(const OpenTables& open, std::string* out) {
    constexpr const char* kReadable = "sluice_dataplane_readable";
    constexpr const char* kHelp = "1 if the tables could be read for this answer.";
    const auto inspector = open();
    if (!inspector) {
        log::debug("metrics", "{}", inspector.error().to_string());
        single(out, kReadable, "gauge", kHelp, 0);
        return;
    }
    const auto report = (*inspector)->traffic();
    const auto drops = (*inspector)->drops();
    single(out, kReadable, "gauge", kHelp, report && drops ? 1 : 0);
    if (report && drops) render(*report, *drops, out);
}

}  // namespace sluice::metrics
