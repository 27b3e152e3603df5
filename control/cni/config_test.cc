// What a runtime may send, by the words of the CNI specification, and how it is refused.
#include "control/cni/config.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "control/cni/attachment.h"
#include "control/cni/result.h"

namespace sluice::cni {
namespace {

std::string conf(const std::string& more, const std::string& version = "1.0.0") {
    return R"({"cniVersion":")" + version + R"(","name":"sluice","type":"sluice-cni")" +
           (more.empty() ? "" : "," + more) + "}";
}
Config of(const char* version) {
    Config config;
    config.cni_version = version;
    return config;
}
constexpr const char* kBoth = R"("podCIDRs":["10.244.1.0/24","fd00:10:244:1::/64"])";

TEST(Config, ReadsEveryField) {
    const auto config =
        parse_config(conf(std::string(kBoth) +
                          R"(,"mtu":1400,"dataDir":"/var/lib/x","args":{},"runtimeConfig":{})"),
                     Command::kAdd);
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(config->name, "sluice");
    EXPECT_EQ(config->cni_version, "1.0.0");
    ASSERT_EQ(config->pod_cidrs.size(), 2U);
    EXPECT_EQ(config->pod_cidrs[0].to_string(), "10.244.1.0/24");
    EXPECT_EQ(config->pod_cidrs[1].to_string(), "fd00:10:244:1::/64");
    EXPECT_EQ(config->mtu, 1400U);
    EXPECT_EQ(config->data_dir, "/var/lib/x");
}

struct Refused {
    const char* text;
    CniCode code;
    const char* says;
};

class ConfigRefused : public ::testing::TestWithParam<Refused> {};

TEST_P(ConfigRefused, WithTheCodeOfTheSpecification) {
    const Refused& wanted = GetParam();
    const auto config = parse_config(wanted.text, Command::kAdd);
    ASSERT_FALSE(config);
    EXPECT_EQ(config.error().code, wanted.code) << config.error().message;
    EXPECT_NE(config.error().message.find(wanted.says), std::string::npos)
        << config.error().message;
}

#define HEAD R"({"cniVersion":"1.0.0","name":"n","type":"sluice-cni",)"
#define CIDR R"("podCIDRs":["10.0.0.0/24"])"
INSTANTIATE_TEST_SUITE_P(
    Fields, ConfigRefused,
    ::testing::Values(
        Refused{"", CniCode::kUndecodable, "not JSON"},
        Refused{"[]", CniCode::kUndecodable, "object"},
        Refused{R"({"cniVersion":"1.0.0")", CniCode::kUndecodable, "not JSON"},
        Refused{"{}", CniCode::kIncompatibleVersion, "cniVersion is missing"},
        Refused{R"({"cniVersion":"0.2.0","name":"n"})", CniCode::kIncompatibleVersion, "0.2.0"},
        Refused{R"({"cniVersion":"9.0.0","name":"n"})", CniCode::kIncompatibleVersion, "9.0.0"},
        Refused{R"({"cniVersion":1})", CniCode::kInvalidConfig, "cniVersion must be a string"},
        Refused{R"({"cniVersion":"1.0.0","type":"sluice-cni"})", CniCode::kInvalidConfig, "name"},
        Refused{R"({"cniVersion":"1.0.0","name":"../x","type":"sluice-cni"})",
                CniCode::kInvalidConfig, "name"},
        Refused{R"({"cniVersion":"1.0.0","name":"n","type":"bridge"})", CniCode::kInvalidConfig,
                "type"},
        Refused{HEAD R"("mtu":1500})", CniCode::kInvalidConfig, "podCIDRs is missing"},
        Refused{HEAD R"("podCIDRs":[]})", CniCode::kInvalidConfig, "podCIDRs"},
        Refused{HEAD R"("podCIDRs":"10.0.0.0/8"})", CniCode::kInvalidConfig, "podCIDRs"},
        Refused{HEAD R"("podCIDRs":["10.0.0.1/24"]})", CniCode::kInvalidConfig, "podCIDRs[0]"},
        Refused{HEAD R"("podCIDRs":["10.0.0.0/24",7]})", CniCode::kInvalidConfig, "podCIDRs[1]"},
        Refused{HEAD R"("podCIDRs":["10.0.0.0/24","10.1.0.0/24"]})", CniCode::kInvalidConfig,
                "same family"},
        Refused{HEAD R"("podCIDRs":["fe80::/64"]})", CniCode::kInvalidConfig, "cannot be given"},
        Refused{HEAD R"("podCIDRs":["127.0.0.0/24"]})", CniCode::kInvalidConfig, "cannot be given"},
        Refused{HEAD CIDR R"(,"mtu":67})", CniCode::kInvalidConfig, "mtu"},
        Refused{HEAD CIDR R"(,"mtu":65536})", CniCode::kInvalidConfig, "mtu"},
        Refused{HEAD CIDR R"(,"mtu":"1500"})", CniCode::kInvalidConfig, "mtu"},
        Refused{HEAD R"("podCIDRs":["fd00::/64"],"mtu":1279})", CniCode::kInvalidConfig, "1280"},
        Refused{HEAD CIDR R"(,"dataDir":"relative"})", CniCode::kInvalidConfig, "dataDir"},
        Refused{HEAD CIDR R"(,"dataDir":"/a/../etc"})", CniCode::kInvalidConfig, "dataDir"},
        Refused{HEAD CIDR R"(,"mtuu":1500})", CniCode::kInvalidConfig, "mtuu"},
        Refused{HEAD CIDR R"(,"ipam":{}})", CniCode::kUnsupportedField, "ipam"},
        Refused{HEAD CIDR R"(,"ipMasq":true})", CniCode::kUnsupportedField, "ipMasq"},
        Refused{HEAD CIDR R"(,"capabilities":{"portMappings":true}})", CniCode::kUnsupportedField,
                "portMappings"},
        Refused{HEAD CIDR R"(,"prevResult":{}})", CniCode::kUnsupportedField, "prevResult"}));

TEST(Config, TooLongOrTooDeepIsRefused) {
    const auto longer =
        parse_config(conf("\"args\":\"" + std::string(kMaxConfigBytes, 'x') + '"'), Command::kAdd);
    ASSERT_FALSE(longer);
    EXPECT_EQ(longer.error().code, CniCode::kUndecodable);
    EXPECT_FALSE(parse_config(conf("\"args\":" + std::string(5000, '[') + std::string(5000, ']')),
                              Command::kAdd));
}

// A container must go away also after its node was given other ranges, or none.
TEST(Config, DelNeedsNoRanges) {
    EXPECT_TRUE(parse_config(conf(""), Command::kDel));
}

TEST(Config, CheckNeedsTheResultOfAdd) {
    EXPECT_FALSE(parse_config(conf(kBoth), Command::kCheck));
    const auto config = parse_config(
        conf(std::string(kBoth) + R"(,"prevResult":{"ips":[{"address":"10.244.1.7/32"},)"
                                  R"({"address":"fd00:10:244:1::7/128"}]})"),
        Command::kCheck);
    ASSERT_TRUE(config) << config.error().message;
    ASSERT_EQ(config->previous->size(), 2U);
    EXPECT_EQ(config->previous->at(0).to_string(), "10.244.1.7");
    EXPECT_EQ(config->previous->at(1).to_string(), "fd00:10:244:1::7");
    EXPECT_FALSE(parse_config(
        conf(std::string(kBoth) + R"(,"prevResult":{"ips":[{"address":"x"}]})"), Command::kCheck));
}

// Were a wrong list of living attachments read as a shorter one, GC would cut off containers.
TEST(Config, GcTrustsOnlyAWholeList) {
    const auto config = parse_config(
        conf(R"("cni.dev/valid-attachments":[{"containerID":"a","ifname":"eth0"}])", "1.1.0"),
        Command::kGc);
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(config->valid_attachments, (std::vector<AttachmentId>{{"a", "eth0"}}));
    EXPECT_FALSE(parse_config(conf("", "1.1.0"), Command::kGc));
    EXPECT_FALSE(parse_config(conf(R"("cni.dev/valid-attachments":[{"containerID":"a"}])", "1.1.0"),
                              Command::kGc));
}

TEST(Environment, IsChecked) {
    const Environment good{"ADD", "0123abc", "/run/netns/x", "eth0"};
    EXPECT_TRUE(check_environment(good, Command::kAdd, of("1.0.0")));
    for (const Environment& bad :
         {Environment{"ADD", "", "/n", "eth0"}, Environment{"ADD", "../x", "/n", "eth0"},
          Environment{"ADD", std::string(129, 'a'), "/n", "eth0"},
          Environment{"ADD", "a", "", "eth0"}, Environment{"ADD", "a", "n", "eth0"},
          Environment{"ADD", "a", "/n", ""}, Environment{"ADD", "a", "/n", "sixteen-letters0"},
          Environment{"ADD", "a", "/n", "a/b"}, Environment{"ADD", "a", "/n", ".."},
          Environment{"ADD", "a", "/n", "lo"}}) {
        const auto refused = check_environment(bad, Command::kAdd, of("1.0.0"));
        ASSERT_FALSE(refused) << bad.container_id << " " << bad.netns << " " << bad.ifname;
        EXPECT_EQ(refused.error().code, CniCode::kInvalidEnvironment);
    }
    // DEL of a container whose namespace is gone comes without it.
    EXPECT_TRUE(check_environment({"DEL", "a", "", "eth0"}, Command::kDel, of("1.0.0")));
    EXPECT_FALSE(parse_command("add"));
    EXPECT_FALSE(parse_command(""));
}

TEST(Environment, CommandsCameWithVersions) {
    const Environment any{"", "a", "/n", "eth0"};
    EXPECT_FALSE(check_environment(any, Command::kCheck, of("0.3.1")));
    EXPECT_TRUE(check_environment(any, Command::kCheck, of("0.4.0")));
    EXPECT_FALSE(check_environment(any, Command::kGc, of("1.0.0")));
    EXPECT_TRUE(check_environment(any, Command::kStatus, of("1.1.0")));
}

// containerd's own request for lo, in the version that it uses.
TEST(Config, TypeLoopbackHasOnlyLo) {
    const auto config = parse_config(
        R"({"cniVersion":"0.3.1","name":"cni-loopback","type":"loopback"})", Command::kAdd);
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_TRUE(config->loopback);
    EXPECT_TRUE(check_environment({"ADD", "a", "/n", "lo"}, Command::kAdd, *config));
    EXPECT_FALSE(check_environment({"ADD", "a", "/n", "eth0"}, Command::kAdd, *config));
    EXPECT_FALSE(parse_config(
        R"({"cniVersion":"0.3.1","name":"l","type":"loopback","podCIDRs":["10.0.0.0/24"]})",
        Command::kAdd));
}

TEST(Answers, HaveTheShapeOfTheirVersion) {
    Attached attached{"slc0",
                      mac_of({"a", "eth0"}, Side::kHost),
                      mac_of({"a", "eth0"}, Side::kPod),
                      1500,
                      {*IpAddress::parse("10.0.0.5"), *IpAddress::parse("fd00::5")}};
    const Environment environment{"ADD", "a", "/run/netns/a", "eth0"};
    Config config;
    config.cni_version = "0.4.0";
    const std::string old = render_result(config, environment, attached);
    EXPECT_NE(old.find(R"("version":"4")"), std::string::npos) << old;
    EXPECT_NE(old.find(R"("version":"6")"), std::string::npos) << old;
    EXPECT_EQ(old.find("mtu"), std::string::npos) << old;
    config.cni_version = "1.0.0";
    const std::string now = render_result(config, environment, attached);
    EXPECT_EQ(now.find(R"("version")"), std::string::npos) << now;
    EXPECT_NE(now.find(R"({"address":"fd00::5/128","gateway":"fe80::1","interface":1})"),
              std::string::npos)
        << now;
    EXPECT_EQ(render_error("1.0.0", {CniCode::kTryAgainLater, "full", ""}),
              "{\"cniVersion\":\"1.0.0\",\"code\":11,\"msg\":\"full\"}\n");
    EXPECT_NE(render_versions("").find(
                  R"("supportedVersions":["0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"])"),
              std::string::npos);
}

TEST(Names, AreShortStableAndApart) {
    std::vector<std::string> names;
    for (int i = 0; i < 2000; ++i) {
        const AttachmentId id{"c0ffee" + std::to_string(i), i % 2 == 0 ? "eth0" : "eth1"};
        names.push_back(host_link_name(id));
        EXPECT_EQ(names.back().size(), kMaxIfname);
        EXPECT_EQ(names.back(), host_link_name(id));
        // Unicast and locally administered, and the two ends differ.
        EXPECT_EQ(mac_of(id, Side::kHost).bytes[0] & 3, 2);
        EXPECT_EQ(mac_of(id, Side::kPod).bytes[0] & 3, 2);
        EXPECT_NE(mac_of(id, Side::kHost), mac_of(id, Side::kPod));
    }
    std::sort(names.begin(), names.end());
    EXPECT_EQ(std::unique(names.begin(), names.end()), names.end());
}

}  // namespace
}  // namespace sluice::cni
