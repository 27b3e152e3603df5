// Names, labels and bounds of what /metrics says about traffic.
#include "agent/metrics/traffic_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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
    render_traffic(report, {{"fragment", 12, "x"}}, limits, &out);
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
    EXPECT_THAT(text, Not(HasSubstr("\"other\"")));
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

TEST(TrafficMetrics, NamesFromTheClusterCannotBreakALine) {
    dataplane::TrafficReport report;
    report.services = {service("a\"b\\c\nd", 1)};
    std::string out;
    render_traffic(report, {}, {}, &out);
    EXPECT_THAT(out, HasSubstr(R"(service="a\"b\\c\nd")"));
}

TEST(TrafficMetrics, WithoutTablesItSaysSo) {
    std::string out;
    collect_traffic("/nonexistent", &out);
    EXPECT_THAT(out, HasSubstr("sluice_dataplane_readable 0\n"));
}

}  // namespace
}  // namespace sluice::metrics
