// The command line: what a user may type, and what it comes to.
#include "dataplane/pktgen/command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "dataplane/pktgen/profile_text.h"

namespace sluice::pktgen {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

using Arguments = std::vector<std::string>;

// With the addresses that any profile needs, and an EAL.
Arguments with_addresses(Arguments arguments) {
    for (const char* more :
         {"--source", "10.0.0.1", "--destination", "10.0.1.1", "--", "-l", "0", "--no-pci"}) {
        arguments.emplace_back(more);
    }
    return arguments;
}

Command parsed(const Arguments& arguments) {
    auto command = parse_command(arguments);
    EXPECT_TRUE(command.has_value()) << command.error().message;
    return command ? *command : Command{};
}

std::string refused(const Arguments& arguments) {
    const auto command = parse_command(arguments);
    EXPECT_FALSE(command.has_value());
    if (command) return "";
    EXPECT_EQ(command.error().code, Code::kInvalidArgument);
    return command.error().message;
}

TEST(Command, ARunTakesTheProfileFromFlags) {
    const auto command =
        parsed(with_addresses({"run", "--flows", "500k", "--destination-port=80-89", "--sizes",
                               "imix", "--source-port", "1024-65535", "--max-loss", "0.1%",
                               "--json", "-", "--roles", "send,receive", "--log-level", "debug"}));
    EXPECT_EQ(command.action, Action::kRun);
    EXPECT_EQ(command.profile.flows, 500000U);
    EXPECT_EQ(command.profile.destination_port.last, 89);
    EXPECT_EQ(command.profile.sizes.size(), 3U);
    EXPECT_DOUBLE_EQ(*command.max_loss, 0.001);
    EXPECT_EQ(command.json, "-");
    EXPECT_THAT(command.runner.roles, ElementsAre(Role::kSend, Role::kReceive));
    EXPECT_EQ(command.log_level, log::Level::kDebug);
    EXPECT_THAT(command.eal_arguments, ElementsAre("-l", "0", "--no-pci"));
}

TEST(Command, FlagsComeOnTopOfTheFileWhereverTheyStand) {
    const std::string path = testing::TempDir() + "/pktgen_command_test.yaml";
    std::ofstream(path) << "ttl: 7\ndscp: 8\nsource: 10.9.9.9\n";
    for (const bool first : {true, false}) {
        const Arguments file{"--profile", path};
        Arguments arguments{"run"};
        if (first) arguments.insert(arguments.end(), file.begin(), file.end());
        arguments.insert(arguments.end(), {"--ttl", "9"});
        if (!first) arguments.insert(arguments.end(), file.begin(), file.end());
        const auto command = parsed(with_addresses(arguments));
        EXPECT_EQ(command.profile.ttl, 9);
        EXPECT_EQ(command.profile.dscp, 8);
        EXPECT_EQ(command.profile.source.first, *IpAddress::parse("10.0.0.1"));
    }
}

// Each field of the profile is a flag of `run`, and does what it says: a dump of what flags made is
// what was said.
TEST(Command, EveryFieldIsAFlag) {
    const auto help = parsed({"run", "--help"}).text;
    for (const ProfileField& field : profile_fields()) {
        EXPECT_THAT(help, HasSubstr("--" + std::string(field.name) + " "));
        EXPECT_THAT(help, HasSubstr(std::string(field.help.substr(0, 20))));
    }
    auto arguments =
        with_addresses({"run", "--dump-profile", "--vlan", "5", "--sizes", "128", "--seed", "77"});
    const auto read = profile_from_yaml(parsed(arguments).text, "dump");
    ASSERT_TRUE(read.has_value());
    EXPECT_EQ(read->vlan, 5);
    EXPECT_EQ(read->seed, 77U);
    EXPECT_EQ(parsed(arguments).action, Action::kPrint);
}

TEST(Command, ASearchHasItsOwnFlags) {
    const auto command =
        parsed(with_addresses({"throughput", "--frame-bytes", "64,1518", "--trial-s", "2",
                               "--loss-tolerance", "0.01%", "--resolution", "0.02", "--repeat", "1",
                               "--line-bits-per-second", "10G", "--settle-s", "0"}));
    EXPECT_EQ(command.action, Action::kThroughput);
    EXPECT_THAT(command.search.frame_bytes, ElementsAre(64, 1518));
    EXPECT_EQ(command.search.trial_s, 2);
    EXPECT_DOUBLE_EQ(command.search.loss_tolerance, 0.0001);
    EXPECT_EQ(command.search.repeat_at_end, 1U);
    EXPECT_EQ(command.search.line_bits_per_second, 1e10);
    EXPECT_EQ(parsed(with_addresses({"throughput"})).search.trial_s, 60);
    // What a search decides itself is no flag of it.
    for (const char* own : {"--sizes", "--packets-per-second", "--duration-s", "--count"}) {
        EXPECT_THAT(refused(with_addresses({"throughput", own, "64"})), HasSubstr(own));
    }
    EXPECT_THAT(refused(with_addresses({"run", "--trial-s", "2"})), HasSubstr("--trial-s"));
}

TEST(Command, ConnectionsAreStateful) {
    const auto command =
        parsed(with_addresses({"connections", "--max-connections-per-second", "10k"}));
    EXPECT_EQ(command.action, Action::kConnections);
    EXPECT_EQ(command.profile.life_cycle, LifeCycle::kStateful);
    EXPECT_EQ(command.profile.l4, L4::kTcp);
    EXPECT_EQ(command.search.max_connections_per_second, 10000);
}

TEST(Command, LongFramesMakeThePortsTakeThem) {
    EXPECT_EQ(parsed(with_addresses({"run"})).runner.max_frame_bytes, 1522U);
    EXPECT_EQ(parsed(with_addresses({"run", "--sizes", "9018"})).runner.max_frame_bytes, 9018U);
    EXPECT_EQ(
        parsed(with_addresses({"throughput", "--frame-bytes", "64,9000"})).runner.max_frame_bytes,
        9000U);
}

TEST(Command, WrongUsageIsSaid) {
    EXPECT_THAT(refused({}), HasSubstr("say what to do"));
    EXPECT_THAT(refused({"fly"}), HasSubstr("fly"));
    EXPECT_THAT(refused({"run", "--source", "10.0.0.1", "--destination", "10.0.1.1"}),
                HasSubstr("DPDK's arguments are missing"));
    EXPECT_THAT(refused(with_addresses({"run", "--ttl", "300"})),
                testing::Eq("--ttl: 300 is more than 255"));
    EXPECT_THAT(refused(with_addresses({"run", "--unknown"})), HasSubstr("--unknown"));
    EXPECT_THAT(refused({"run", "--ttl"}), HasSubstr("--ttl"));
    EXPECT_THAT(refused(with_addresses({"run", "--roles", "sender"})),
                HasSubstr("--roles: \"sender\""));
    EXPECT_THAT(refused(with_addresses({"run", "--max-loss", "101%"})), HasSubstr("--max-loss"));
    EXPECT_THAT(refused(with_addresses({"run", "--max-loss", "0", "--probe", "no"})),
                HasSubstr("--max-loss"));
    EXPECT_THAT(refused(with_addresses({"run", "--json", "-", "--csv", "-"})),
                HasSubstr("may be -"));
    EXPECT_THAT(refused(with_addresses({"run", "--log-level", "loud"})), HasSubstr("--log-level"));
    EXPECT_THAT(refused(with_addresses({"run", "--sizes", "63"})), HasSubstr("63"));
    EXPECT_THAT(refused(with_addresses({"run", "--interval-s", "0"})), HasSubstr("--interval-s"));
    EXPECT_THAT(refused(with_addresses({"throughput", "--frame-bytes", "imix"})),
                HasSubstr("--frame-bytes"));
    EXPECT_THAT(refused(with_addresses({"throughput", "--trial-s", "0"})), HasSubstr("trial-s"));
    EXPECT_THAT(refused(with_addresses({"run", "throughput"})), testing::Not(testing::IsEmpty()));
}

TEST(Command, AFileThatIsNotThereIsNoWrongUsage) {
    const auto command = parse_command(with_addresses({"run", "--profile", "/nonexistent/x"}));
    ASSERT_FALSE(command.has_value());
    EXPECT_EQ(command.error().code, Code::kNotFound);
}

TEST(Command, HelpAndVersionNeedNoPorts) {
    EXPECT_THAT(parsed({"--help"}).text, HasSubstr("throughput"));
    EXPECT_THAT(parsed({"version"}).text, testing::StartsWith("sluice-pktgen "));
    EXPECT_EQ(parsed({"--version"}).text, parsed({"version"}).text);
    EXPECT_THAT(parsed({"throughput", "--help"}).text, HasSubstr("--resolution"));
    EXPECT_EQ(parsed({"ports", "--", "-l", "0"}).action, Action::kPorts);
}

TEST(Command, SharesArePercentOrFractions) {
    EXPECT_EQ(*parse_share("0.5"), 0.5);
    EXPECT_EQ(*parse_share("50%"), 0.5);
    EXPECT_EQ(*parse_share("1"), 1);
    EXPECT_EQ(*parse_share("0"), 0);
    for (const char* wrong : {"", "%", "2", "101%", "-1", "x"}) {
        EXPECT_FALSE(parse_share(wrong).has_value()) << wrong;
    }
}

}  // namespace
}  // namespace sluice::pktgen
