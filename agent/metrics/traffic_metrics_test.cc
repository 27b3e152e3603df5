// Names, labels and bounds of what /metrics says about traffic.
#include "agent/metrics/traffic_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace sluice::metrics {
namespace {

using testing::HasSubstr;
using testing::Not;

dataplane::ServiceTraffic service(const std::string& name, std::uint64_t connections) {
    dataplane::ServiceTraffic out;
    out.name = name;
    out.traffic = {connections, connections * 10, connections * 1000};
    out.refused = 1;
    out.flows = 2;
    dataplane::BackendTraffic backend;
    backend.address = *IpAddress::parse("fd00::1");
    backend.port = 80;
    backend.target = "default/pod";
    backend.traffic = out.traffic;
    backend.flows = 2;
    out.backends = {backend};
    return out;
}

std::string render(const Limits& limits) {
    dataplane::TrafficReport report;
    report.services = {service("default/quiet:http", 1), service("default/busy:http", 5),
                       service("default/middle", 3)};
    report.tables = {{"services", 3, 512}};
    report.flow_tables = {{IpFamily::kIpv4, 1024, 6, 4, 9}};
    std::string out;
    TrafficMetrics(limits).render(report, {{"fragment", 12, "x"}}, &out);
    return out;
}

TEST(TrafficMetrics, EveryFigureHasItsNameAndLabels) {
    const std::string text = render({});
    const char* busy = "{service=\"default/busy:http\",protocol=\"TCP\",ip_family=\"IPv4\"} ";
    const auto has = [&](const std::string& line) { EXPECT_THAT(text, HasSubstr(line + "\n")); };
    has(std::string("sluice_service_connections_total") + busy + "5");
    has(std::string("sluice_service_packets_total") + busy + "50");
    has(std::string("sluice_service_bytes_total") + busy + "5000");
    has(std::string("sluice_service_refused_total") + busy + "1");
    has(std::string("sluice_service_active_flows") + busy + "2");
    has("sluice_endpoint_connections_total{service=\"default/busy:http\",protocol=\"TCP\",ip_family=\"IPv4\","
        "endpoint=\"[fd00::1]:80\",target=\"default/pod\"} 5");
    has("sluice_drops_total{reason=\"fragment\"} 12");
    has("sluice_table_entries{table=\"services\"} 3");
    has("sluice_table_capacity{table=\"flows4\"} 1024");
    has("sluice_table_entries{table=\"flows4\"} 6");
    has("sluice_flows_lingering{ip_family=\"IPv4\"} 4");
    has("sluice_flows_displaced_total{ip_family=\"IPv4\"} 9");
    has("sluice_services_summed 0");
    EXPECT_THAT(text, Not(HasSubstr("service=\"other\"")));
}

TEST(TrafficMetrics, SeriesAreBoundedAndTheRestIsSummed) {
    const std::string text = render({.services = 1, .backends = 2});
    EXPECT_THAT(text, HasSubstr("sluice_service_connections_total{service=\"default/busy:http\""));
    EXPECT_THAT(text, Not(HasSubstr("sluice_service_connections_total{service=\"default/quiet")));
    EXPECT_THAT(text, HasSubstr("sluice_service_connections_total{service=\"other\",protocol=\"\","
                                "ip_family=\"\"} 4\n"));
    EXPECT_THAT(text, HasSubstr("sluice_services_summed 2\n"));
    EXPECT_THAT(text, HasSubstr("sluice_endpoints_summed 1\n"));
    EXPECT_THAT(text, HasSubstr("sluice_endpoint_connections_total{service=\"default/middle\""));
    EXPECT_THAT(text, Not(HasSubstr("sluice_endpoint_connections_total{service=\"default/quiet")));
}

// What each key's series shows, and the sum of the others under key 0.
std::map<std::uint64_t, std::uint64_t> settle(SeriesLedger* ledger,
                                              const std::map<std::uint64_t, std::uint64_t>& connections) {
    std::vector<Counted> items;
    for (const auto& [key, count] : connections) items.push_back({key, {count, 0, 0, 0}});
    std::map<std::uint64_t, std::uint64_t> out;
    out[0] = ledger->settle(&items).connections;
    for (const Counted& item : items) {
        if (item.own) out[item.key] = item.shown.connections;
    }
    return out;
}

TEST(SeriesLedger, TheSumOfTheOthersNeverFalls) {
    using Shown = std::map<std::uint64_t, std::uint64_t>;
    SeriesLedger ledger(2);
    EXPECT_EQ(settle(&ledger, {{1, 10}, {2, 20}, {3, 5}, {4, 1}}), (Shown{{0, 6}, {1, 10}, {2, 20}}));
    // Busier than those that have a place: it stays where it is.
    EXPECT_EQ(settle(&ledger, {{1, 10}, {2, 20}, {3, 500}, {4, 1}}), (Shown{{0, 501}, {1, 10}, {2, 20}}));
    // One of the others goes: what it had counted was counted.
    EXPECT_EQ(settle(&ledger, {{1, 10}, {2, 20}, {3, 500}}), (Shown{{0, 501}, {1, 10}, {2, 20}}));
    // A place is free: a series begins with what is counted from there on, and nothing is counted twice.
    EXPECT_EQ(settle(&ledger, {{1, 10}, {3, 507}}), (Shown{{0, 501}, {1, 10}, {3, 7}}));
    EXPECT_EQ(settle(&ledger, {{1, 10}, {3, 510}, {5, 4}}), (Shown{{0, 505}, {1, 10}, {3, 10}}));
    // One of the others begins anew under its old name.
    EXPECT_EQ(settle(&ledger, {{1, 10}, {3, 510}, {5, 2}}), (Shown{{0, 507}, {1, 10}, {3, 10}}));
}

TEST(SeriesLedger, APlaceThatWasNeverUsedIsGivenToWhoCounts) {
    using Shown = std::map<std::uint64_t, std::uint64_t>;
    SeriesLedger ledger(1);
    EXPECT_EQ(settle(&ledger, {{1, 0}, {2, 0}}), (Shown{{0, 0}, {1, 0}}));
    EXPECT_EQ(settle(&ledger, {{1, 0}, {2, 3}}), (Shown{{0, 0}, {2, 3}}));
    EXPECT_EQ(settle(&ledger, {{1, 9}, {2, 3}}), (Shown{{0, 9}, {2, 3}}));
}

TEST(TrafficMetrics, NamesFromTheClusterCannotBreakALine) {
    dataplane::TrafficReport report;
    report.services = {service("a\"b\\c\nd", 1)};
    std::string out;
    TrafficMetrics().render(report, {}, &out);
    EXPECT_THAT(out, HasSubstr(R"(service="a\"b\\c\nd")"));
}

TEST(TrafficMetrics, WithoutTablesItSaysSo) {
    std::string out;
    TrafficMetrics().collect([] { return dataplane::Inspector::open("/nonexistent"); }, &out);
    EXPECT_THAT(out, HasSubstr("sluice_dataplane_readable 0\n"));
}

}  // namespace
}  // namespace sluice::metrics
