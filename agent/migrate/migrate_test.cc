// With a machine of the test's own: which programs are called, what is told when they fail.
#include "agent/migrate/migrate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

namespace sluice::migrate {
namespace {

constexpr char kSaved[] =
    "*nat\n:KUBE-SERVICES - [0:0]\n:PREROUTING ACCEPT [0:0]\n"
    "-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\nCOMMIT\n"
    "*filter\n:KUBE-FORWARD - [0:0]\nCOMMIT\n";

struct FakeMachine {
    std::map<std::string, std::string> saved;  // by program
    std::map<std::string, std::string> files;
    std::string nft_tables;
    std::vector<std::string> ran, restored, nft_ran;
    std::string fails;  // a program
    bool nft_refuses = false;
    bool link = false;

    MigrateMachine machine() {
        return {[this](const std::string& program) { return fails != program + " is missing"; },
                [this](const std::vector<std::string>& words, std::string_view input,
                       const MigrateMachine::Take& take) -> Result<void> {
                    ran.push_back(words[0]);
                    if (words[0] == fails) return make_error(Code::kUnavailable, "{} ended with 4: no", words[0]);
                    if (!input.empty()) restored.push_back(words[0] + "\n" + std::string(input));
                    return take(saved[words[0]]);
                },
                [this](const std::string& commands) -> Result<std::string> {
                    nft_ran.push_back(commands);
                    if (commands == "list tables") return nft_tables;
                    if (nft_refuses) return make_error(Code::kUnavailable, "Device or resource busy");
                    return std::string();
                },
                [this](const std::string& path) -> Result<std::string> {
                    const auto file = files.find(path);
                    if (file == files.end()) return make_error(Code::kNotFound, "{}", path);
                    return file->second;
                },
                [this](const std::string& name) { return link && name == "kube-ipvs0"; }};
    }
};

bool any_of(const std::vector<std::string>& list, std::string_view part) {
    return std::any_of(list.begin(), list.end(),
                       [&](const std::string& text) { return text.find(part) != std::string::npos; });
}

TEST(Migrate, OnANodeThatHadNoKubeProxyNothingIsRunAndNothingFails) {
    FakeMachine fake;
    fake.nft_tables = "table inet filter\n";
    const Found found = find_kube_proxy(fake.machine());
    EXPECT_TRUE(found.traces.empty());
    EXPECT_TRUE(found.unclear.empty());
    const Cleaned cleaned = clean_up_kube_proxy(fake.machine());
    EXPECT_TRUE(cleaned.removed.empty());
    EXPECT_TRUE(cleaned.failed.empty());
    EXPECT_TRUE(fake.ran.empty());
    EXPECT_EQ(render_metrics(found).find("mechanism"), std::string::npos);
}

TEST(Migrate, EachMechanismIsFoundInItsFamily) {
    FakeMachine fake;
    fake.files["/proc/net/ip6_tables_names"] = "nat\nfilter\n";
    fake.files["/proc/net/ip_vs"] = "IP Virtual Server version 1.2.1\nTCP  0A600001:01BB rr\n  -> 0A0A0A0A:1 Masq 1\n";
    fake.saved["ip6tables-legacy-save"] = kSaved;
    fake.saved["iptables-nft-save"] = kSaved;
    fake.nft_tables = "table ip nat\ntable ip kube-proxy\ntable ip6 kube-proxy\ntable inet kube-proxy-of-mine\n";
    fake.link = true;
    const Found found = find_kube_proxy(fake.machine());
    std::vector<std::string> told;
    for (const Trace& t : found.traces) {
        told.push_back(t.mechanism + (t.family == IpFamily::kIpv4 ? " 4: " : " 6: ") + t.description);
    }
    EXPECT_EQ(told, (std::vector<std::string>{"iptables-legacy 6: 2 chains with 1 rules in nat, filter",
                                              "iptables-nft 4: 2 chains with 1 rules in nat, filter",
                                              "nftables 4: table ip kube-proxy", "nftables 6: table ip6 kube-proxy",
                                              "ipvs 4: the link kube-ipvs0 and 1 virtual servers"}));
    EXPECT_NE(render_metrics(found).find(
                  "sluice_kube_proxy_left{mechanism=\"iptables-legacy\",ip_family=\"IPv6\"} 2\n"),
              std::string::npos);
    EXPECT_TRUE(fake.restored.empty());
}

TEST(Migrate, EachTableIsOneTransactionThatLeavesTheRestAlone) {
    FakeMachine fake;
    fake.files["/proc/net/ip_tables_names"] = "nat\n";
    fake.saved["iptables-legacy-save"] = kSaved;
    fake.nft_tables = "table ip kube-proxy\ntable ip6 kube-proxy\n";
    const Cleaned cleaned = clean_up_kube_proxy(fake.machine());
    EXPECT_TRUE(cleaned.failed.empty());
    ASSERT_EQ(fake.restored.size(), 2U);
    EXPECT_EQ(fake.restored[1],
              "iptables-legacy-restore\n*filter\n:KUBE-FORWARD - [0:0]\n-X KUBE-FORWARD\nCOMMIT\n");
    EXPECT_EQ(fake.nft_ran.back(), "delete table ip kube-proxy\ndelete table ip6 kube-proxy\n");
    EXPECT_TRUE(any_of(cleaned.removed, "iptables-legacy IPv4: nat rule -A PREROUTING"));
    EXPECT_TRUE(any_of(cleaned.removed, "nftables: table ip6 kube-proxy"));
}

TEST(Migrate, WhatCannotBeRemovedIsNamedAndTheRestGoes) {
    FakeMachine fake;
    fake.files["/proc/net/ip_tables_names"] = "nat\n";
    fake.saved["iptables-legacy-save"] = kSaved;
    fake.nft_tables = "table ip kube-proxy\n";
    fake.fails = "iptables-legacy-restore";
    const Cleaned cleaned = clean_up_kube_proxy(fake.machine());
    EXPECT_EQ(cleaned.failed,
              (std::vector<std::string>{
                  "iptables-legacy IPv4: table nat: iptables-legacy-restore ended with 4: no",
                  "iptables-legacy IPv4: table filter: iptables-legacy-restore ended with 4: no"}));
    EXPECT_EQ(cleaned.removed, std::vector<std::string>{"nftables: table ip kube-proxy"});

    fake.nft_refuses = true;
    EXPECT_TRUE(any_of(clean_up_kube_proxy(fake.machine()).failed, "nftables: table ip kube-proxy: Device or"));
}

TEST(Migrate, TablesWhoseProgramIsMissingAreNamed) {
    FakeMachine fake;
    fake.files["/proc/net/ip_tables_names"] = "nat\n";
    fake.fails = "iptables-legacy-save is missing";
    EXPECT_TRUE(any_of(find_kube_proxy(fake.machine()).unclear, "iptables-legacy-save is not installed"));
    EXPECT_TRUE(any_of(clean_up_kube_proxy(fake.machine()).failed, "iptables-legacy-save is not installed"));
}

TEST(Migrate, IpvsIsLeftToThePersonByName) {
    FakeMachine fake;
    fake.link = true;
    const Cleaned cleaned = clean_up_kube_proxy(fake.machine());
    ASSERT_EQ(cleaned.failed.size(), 1U);
    EXPECT_NE(cleaned.failed[0].find("kube-ipvs0"), std::string::npos);
    EXPECT_NE(cleaned.failed[0].find("ipvsadm"), std::string::npos);
}

}  // namespace
}  // namespace sluice::migrate
