// Which devices get which programs: detectLocal by bridge and by prefix, and as links come and go.
#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <net/if.h>

#include <cstdlib>
#include <map>

#include "dataplane/ebpf/attach.h"
#include "dataplane/ebpf/test_engine.h"

namespace sluice::dataplane {
namespace {

bool shell(const std::string& command) { return std::system(command.c_str()) == 0; }

class DevicesTest : public EngineFixture {
protected:
    void SetUp() override {
        with.tc = true;
        with.flow_entries = 4096;
        with.xdp = XdpMode::kOff;
        ASSERT_TRUE(shell("ip link add br0 type bridge && ip link set br0 up && "
                          "ip link add pod0 type veth peer name pod1 && ip link set pod1 up && "
                          "ip link set pod0 master br0 up && "
                          "ip link add cali0 type veth peer name cali1 && ip link set cali0 up && "
                          "ip link add up0 type veth peer name up1 && ip link set up0 up && "
                          "ip link set up1 up && ip addr add 192.0.2.1/24 dev up0 && "
                          "ip link set cali1 down"));
    }
    void TearDown() override {
        EngineFixture::TearDown();
        shell("ip link del br0; ip link del pod0; ip link del cali0; ip link del up0");
    }
    // The name of the program at a device's ingress; empty without one.
    static std::string ingress_of(const std::string& device) {
        const Fd link(bpf_obj_get(
            fmt::format("{}/tcx_ingress_{}", paths().links, if_nametoindex(device.c_str())).c_str()));
        bpf_link_info info{};
        std::uint32_t length = sizeof(info);
        if (!link || bpf_obj_get_info_by_fd(link.get(), &info, &length) != 0) {
            return "";
        }
        const Fd program(bpf_prog_get_fd_by_id(info.prog_id));
        bpf_prog_info about{};
        length = sizeof(about);
        return program && bpf_obj_get_info_by_fd(program.get(), &about, &length) == 0 ? about.name : "";
    }
    static std::map<std::string, std::string> seen() {
        std::map<std::string, std::string> out;
        for (const char* device : {"br0", "pod0", "cali0", "up0"}) {
            out[device] = ingress_of(device);
        }
        return out;
    }
    using Seen = std::map<std::string, std::string>;
    EbpfOptions with = options();
};

TEST_F(DevicesTest, DetectLocalByDeviceFollowsTheNodesFacts) {
    start(with, {});
    EXPECT_EQ(seen(), (Seen{{"br0", ""}, {"pod0", "pod_ingress"}, {"cali0", "pod_ingress"},
                            {"up0", "node_ingress"}}));
    image::Node by_bridge = node();
    by_bridge.detect_by_device = true;
    by_bridge.pod_bridge = "br0";
    ASSERT_TRUE(engine->set_node(by_bridge));
    EXPECT_EQ(seen(), (Seen{{"br0", "pod_ingress"}, {"pod0", ""}, {"cali0", "node_ingress"},
                            {"up0", "node_ingress"}}));
    image::Node by_prefix = node();
    by_prefix.detect_by_device = true;
    by_prefix.pod_prefix = "cali";
    ASSERT_TRUE(engine->set_node(by_prefix));
    EXPECT_EQ(seen(), (Seen{{"br0", ""}, {"pod0", "node_ingress"}, {"cali0", "pod_ingress"},
                            {"up0", "node_ingress"}}));
    // A link that comes later is told by the same rule.
    ASSERT_TRUE(shell("ip link add calilate type veth peer name late1 && ip link set calilate up"));
    ASSERT_TRUE(engine->sync_devices());
    EXPECT_EQ(ingress_of("calilate"), "pod_ingress");
    ASSERT_TRUE(shell("ip link del calilate"));
    ASSERT_TRUE(engine->sync_devices());
    ASSERT_TRUE(engine->set_node(node()));
    EXPECT_EQ(ingress_of("pod0"), "pod_ingress");
}

}  // namespace
}  // namespace sluice::dataplane
