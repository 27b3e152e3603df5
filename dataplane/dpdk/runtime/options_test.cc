#include "dataplane/dpdk/runtime/options.h"

#include <gtest/gtest.h>

namespace sluice::dpdk {
namespace {

Result<Command> parse(std::vector<std::string> arguments) {
    return parse_command_line(arguments);
}
std::string error_of(const std::string& port) {
    const auto parsed = parse_port(port);
    return parsed ? "none" : parsed.error().message;
}

TEST(Options, APortSaysAllThatAnInterfaceIs) {
    const auto port = parse_port(
        "net_af_packet0,interface=wan,role=uplink,address=192.0.2.1/24,address=2001:db8::1/64,vlan=7,mtu=1400,"
        "announce=off");
    ASSERT_TRUE(port) << port.error().to_string();
    EXPECT_EQ(port->device, "net_af_packet0");
    EXPECT_EQ(port->interface, "wan");
    EXPECT_EQ(port->place, Place::kUplink);
    ASSERT_EQ(port->addresses.size(), 2U);
    EXPECT_EQ(port->addresses[0].address.to_string(), "192.0.2.1");
    EXPECT_EQ(port->addresses[0].prefix_length, 24);
    EXPECT_EQ(port->addresses[1].prefix_length, 64);
    EXPECT_EQ(port->vlan, 7);
    EXPECT_EQ(port->mtu, 1400);
    EXPECT_FALSE(port->announce);
    EXPECT_EQ(port->exception.kind, ExceptionPath::Kind::kNone);
}

TEST(Options, WhatIsNotSaidFollowsFromTheDevice) {
    const auto port = parse_port("net_tap3");
    ASSERT_TRUE(port);
    EXPECT_EQ(port->interface, "net_tap3");
    EXPECT_EQ(port->mtu, 0);
    EXPECT_TRUE(port->announce);
    EXPECT_EQ(parse_port("net_tap3,vlan=12")->interface, "net_tap3.12");
    EXPECT_EQ(parse_port("0,role=pod")->place, Place::kPod);
    EXPECT_EQ(parse_port("0,role=kernel-peer")->place, Place::kKernel);
}

TEST(Options, AnExceptionPathIsATapOrVirtioUser) {
    EXPECT_EQ(parse_port("0,exception=tap:up0")->exception, (ExceptionPath{ExceptionPath::Kind::kTap, "up0"}));
    EXPECT_EQ(parse_port("0,exception=virtio-user:up0")->exception,
              (ExceptionPath{ExceptionPath::Kind::kVirtioUser, "up0"}));
    EXPECT_EQ(parse_port("0,exception=none")->exception.kind, ExceptionPath::Kind::kNone);
    for (const char* wrong : {"tap", "tap:", "tap:a/b", "tap:sixteen-bytes-xx", "tap:..", "veth:x", ""}) {
        EXPECT_NE(error_of(std::string("0,exception=") + wrong).find("exception: "), std::string::npos) << wrong;
    }
}

TEST(Options, ErrorsNameThePortAndTheField) {
    EXPECT_EQ(error_of("eth0,mtu=20"), "--port eth0: mtu: \"20\" is not a number from 576 to 9600");
    EXPECT_EQ(error_of("eth0,vlan=4095"), "--port eth0: vlan: \"4095\" is not a number from 1 to 4094");
    EXPECT_EQ(error_of("eth0,vlan=7x"), "--port eth0: vlan: \"7x\" is not a number from 1 to 4094");
    EXPECT_EQ(error_of("eth0,announce=yes"), "--port eth0: announce: \"yes\" is not on or off");
    EXPECT_EQ(error_of("eth0,role=spine"), "--port eth0: role: \"spine\" is not uplink, pod or kernel-peer");
    EXPECT_EQ(error_of("eth0,pod"), "--port eth0: \"pod\" is not FIELD=VALUE");
    EXPECT_NE(error_of("eth0,colour=red").find("\"colour\" is none of"), std::string::npos);
    EXPECT_NE(error_of("eth0,address=10.0.0.1").find("--port eth0: address: "), std::string::npos);
    EXPECT_NE(error_of("eth0,address=10.0.0.1/33").find("up to 32"), std::string::npos);
    EXPECT_NE(error_of("eth0,address=10.0.0.x/8").find("--port eth0: address: "), std::string::npos);
    EXPECT_NE(error_of("eth0,address=224.0.0.1/8").find("of a host"), std::string::npos);
    EXPECT_NE(error_of("eth0,mtu=600,address=fd00::1/64").find("IPv6 needs at least 1280"), std::string::npos);
    EXPECT_EQ(error_of(",role=pod"), "--port: the device's name is missing");
}

TEST(Options, TheCommandLineEndsWhereEalsBegins) {
    const auto command = parse({"--socket", "/tmp/s", "--state-dir=/dev/shm/x", "--port", "0,role=pod", "--port=1",
                                "--route", "10.0.0.0/8 via 192.0.2.9 dev 1", "--flows", "4096", "--flows-max",
                                "65536", "--affinity-entries-max", "4096", "--idle-sleep-us", "0", "--log-level",
                                "debug", "--take-over", "--", "-l", "0,1", "--help"});
    ASSERT_TRUE(command) << command.error().to_string();
    const auto& options = command->options;
    EXPECT_EQ(options.socket, "/tmp/s");
    EXPECT_EQ(options.state_directory, "/dev/shm/x");
    EXPECT_EQ(options.ports.size(), 2U);
    EXPECT_EQ(options.routes, std::vector<std::string>{"10.0.0.0/8 via 192.0.2.9 dev 1"});
    EXPECT_EQ(options.flows, 4096U);
    EXPECT_EQ(options.flows_max, 65536U);
    EXPECT_EQ(options.affinity_entries_max, 4096U);
    EXPECT_EQ(options.affinity_entries, 4096U) << "not more than it may grow to";
    EXPECT_EQ(options.idle_sleep_us, 0U);
    EXPECT_EQ(options.log_level, log::Level::kDebug);
    EXPECT_TRUE(options.take_over);
    EXPECT_EQ(options.eal, (std::vector<std::string>{"-l", "0,1", "--help"}));
}

TEST(Options, WhatWasNotAskedForGivesWayToWhatWas) {
    struct Case {
        std::vector<std::string> arguments;
        std::uint32_t lcores, flows, most_flows, affinity, most_affinity;
    };
    const std::vector<Case> cases = {
        {{}, 1, 1U << 19U, 1U << 22U, 65536, 1U << 22U},
        {{}, 4, 1U << 17U, 1U << 20U, 65536, 1U << 22U},
        {{"--flows-max", "4096", "--affinity-entries-max", "2048"}, 4, 4096, 4096, 2048, 2048},
        {{"--flows-max", "64", "--affinity-entries-max", "64"}, 1, 64, 64, 64, 64},
        {{"--flows", "8388608", "--affinity-entries", "8388608"}, 1, 1U << 23U, 1U << 23U, 1U << 23U, 1U << 23U},
        {{"--flows", "64", "--affinity-entries", "64"}, 1, 64, 1U << 22U, 64, 1U << 22U},
    };
    for (const Case& one : cases) {
        std::vector<std::string> arguments = {"--port", "0"};
        arguments.insert(arguments.end(), one.arguments.begin(), one.arguments.end());
        const auto command = parse(arguments);
        ASSERT_TRUE(command) << command.error().to_string();
        const Options& options = command->options;
        EXPECT_EQ(flows_of(options, one.lcores), one.flows) << testing::PrintToString(arguments);
        EXPECT_EQ(most_flows_of(options, one.lcores), one.most_flows) << testing::PrintToString(arguments);
        EXPECT_EQ(options.affinity_entries, one.affinity) << testing::PrintToString(arguments);
        EXPECT_EQ(options.affinity_entries_max, one.most_affinity) << testing::PrintToString(arguments);
    }
}

TEST(Options, WrongUsageIsRefused) {
    const std::vector<std::vector<std::string>> wrong = {
        {},
        {"--port"},
        {"--port", "0", "--port", "0,role=pod"},
        {"--port", "0,interface=a", "--port", "1,interface=a"},
        {"--port", "0,exception=tap:t", "--port", "1,exception=tap:t"},
        {"--port", "0,vlan=5,exception=tap:t"},
        {"--port", "0", "--flows", "63"},
        {"--port", "0", "--flows", "99999999"},
        {"--port", "0", "--flows-max", "63"},
        {"--port", "0", "--flows", "4096", "--flows-max", "2048"},
        {"--port", "0", "--affinity-entries", "1"},
        {"--port", "0", "--affinity-entries-max", "99999999"},
        {"--port", "0", "--affinity-entries", "4096", "--affinity-entries-max", "2048"},
        {"--port", "0", "--idle-sleep-us", "20000"},
        {"--port", "0", "--log-level", "loud"},
        {"--port", "0", "--socket", "s"},
        {"--port", "0", "--state-dir", "here"},
        {"--port", "0", "--unknown"},
        {"--port", "0", "stray"},
    };
    for (const auto& arguments : wrong) {
        const auto command = parse(arguments);
        ASSERT_FALSE(command) << testing::PrintToString(arguments);
        EXPECT_EQ(command.error().code, Code::kInvalidArgument);
        EXPECT_FALSE(command.error().message.empty());
    }
}

TEST(Options, TheSamePortMayCarrySeveralVlans) {
    const auto command = parse({"--port", "0", "--port", "0,vlan=5", "--port", "0,vlan=6"});
    ASSERT_TRUE(command) << command.error().to_string();
    EXPECT_EQ(command->options.ports[2].interface, "0.6");
}

TEST(Options, HelpAndVersionArePrinted) {
    EXPECT_NE(parse({"--help"})->text.find("--take-over"), std::string::npos);
    EXPECT_TRUE(parse({"--version"})->show);
    EXPECT_EQ(parse({"--version"})->text.substr(0, 12), "sluice-dpdk ");
}

}  // namespace
}  // namespace sluice::dpdk
