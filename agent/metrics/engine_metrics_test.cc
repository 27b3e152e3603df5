#include "agent/metrics/engine_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::metrics {
namespace {

using testing::HasSubstr;

TEST(EngineMetrics, TellLcoresAndPorts) {
    dpdk::EngineState engine;
    engine.draining = true;
    engine.image = 7;
    engine.lcores.push_back({0, 3, 100, 200, 300, 40, 5, 6});
    engine.ports.push_back({"net_\"x\"", "eth0", "d", "m", 1500, true, 11, 12, 13, 14, 15, 16, 17, {}, 1});
    engine.tables.push_back({"flows4", 10, 1, 0, 9});
    engine.growth = {3, 1000, 5, 2};
    engine.routing.arp_answered = 21;
    engine.routing.kernel_skipped = 22;
    std::string out;
    render_engine(engine, &out);
    for (const char* line :
         {"sluice_engine_up 1\n", "sluice_engine_draining 1\n", "sluice_engine_image 7\n",
          "sluice_lcore_busy_cycles_total{lcore=\"3\"} 100\n", "sluice_lcore_idle_cycles_total{lcore=\"3\"} 200\n",
          "sluice_lcore_dispatch_failed_total{lcore=\"3\"} 6\n",
          "sluice_port_received_packets_total{port=\"net_\\\"x\\\"\",interface=\"eth0\"} 11\n",
          "sluice_port_send_failed_packets_total{port=\"net_\\\"x\\\"\",interface=\"eth0\"} 16\n",
          "sluice_port_up{port=\"net_\\\"x\\\"\",interface=\"eth0\"} 1\n",
          "sluice_engine_table_refused_total{table=\"flows4\"} 9\n", "sluice_routing_arp_answered_total 21\n",
          "sluice_engine_tables_grown_total 3\n", "sluice_engine_flows_moved_total 1000\n",
          "sluice_engine_flows_lost_total 2\n",
          "# TYPE sluice_routing_kernel_skipped_total counter\nsluice_routing_kernel_skipped_total 22\n"}) {
        EXPECT_THAT(out, HasSubstr(line));
    }
}

TEST(EngineMetrics, AnEngineThatDoesNotAnswerIsDown) {
    std::string out;
    collect_engine("/nonexistent/dpdk.sock", &out);
    EXPECT_THAT(out, HasSubstr("sluice_engine_up 0\n"));
}

}  // namespace
}  // namespace sluice::metrics
