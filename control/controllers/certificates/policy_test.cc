#include "control/controllers/certificates/policy.h"

#include <gtest/gtest.h>

#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/controllers/certificates/certificates.h"

namespace sluice::controllers::certificates {
namespace {

Request request(const char* signer, const std::string& user, const std::vector<std::string>& groups) {
    Request out;
    out.mutable_spec()->set_signername(signer);
    out.mutable_spec()->set_username(user);
    for (const auto& group : groups) out.mutable_spec()->add_groups(group);
    out.mutable_spec()->add_usages("digital signature");
    out.mutable_spec()->add_usages(std::string(signer) == kServingSigner ? "server auth" : "client auth");
    return out;
}

pki::RequestFacts facts(const std::string& node) {
    pki::RequestFacts out;
    out.common_name = "system:node:" + node;
    out.organizations = {"system:nodes"};
    return out;
}

const std::vector<std::string> kBootstrapper = {"system:bootstrappers", "system:authenticated"};
const std::vector<std::string> kNode = {"system:nodes", "system:authenticated"};

TEST(Policy, BootstrappersAndTheNodeItselfGetClientCertificates) {
    const NodeNames none;
    EXPECT_EQ(judge(request(kClientSigner, "system:bootstrap:abcdef", kBootstrapper), facts("a"), none).kind,
              Verdict::Kind::kApprove);
    EXPECT_EQ(judge(request(kClientSigner, "system:node:a", kNode), facts("a"), none).kind,
              Verdict::Kind::kApprove);
    EXPECT_EQ(judge(request(kClientSigner, "system:node:b", kNode), facts("a"), none).kind,
              Verdict::Kind::kDeny);
    EXPECT_EQ(judge(request(kClientSigner, "jane", {"system:authenticated"}), facts("a"), none).kind,
              Verdict::Kind::kWait);
    // The name alone is not enough: the group is what certificates of nodes carry.
    EXPECT_EQ(judge(request(kClientSigner, "system:node:a", {}), facts("a"), none).kind, Verdict::Kind::kWait);
}

TEST(Policy, ATokenDoesNotTakeTheNameOfANodeThatLives) {
    NodeNames names;
    names.exists = true;
    const auto token = request(kClientSigner, "system:bootstrap:abcdef", kBootstrapper);
    EXPECT_EQ(judge(token, facts("a"), names).kind, Verdict::Kind::kApprove);  // lost: it may come back
    names.ready = true;
    const Verdict verdict = judge(token, facts("a"), names);
    EXPECT_EQ(verdict.kind, Verdict::Kind::kDeny);
    EXPECT_EQ(verdict.reason, "NodeExists");
    EXPECT_NE(verdict.message.find("node a is in the cluster"), std::string::npos);
    // The node itself renews.
    EXPECT_EQ(judge(request(kClientSigner, "system:node:a", kNode), facts("a"), names).kind,
              Verdict::Kind::kApprove);
}

TEST(Policy, ContentMustFitTheSigner) {
    const auto good = request(kClientSigner, "system:bootstrap:abcdef", kBootstrapper);
    EXPECT_FALSE(fault_of(good, facts("a")));
    auto masters = facts("a");
    masters.organizations = {"system:nodes", "system:masters"};
    EXPECT_TRUE(fault_of(good, masters));
    auto other = facts("a");
    other.common_name = "kubernetes-admin";
    EXPECT_TRUE(fault_of(good, other));
    auto names = facts("a");
    names.dns_names = {"a"};
    EXPECT_TRUE(fault_of(good, names));
    auto mail = facts("a");
    mail.has_other_names = true;
    EXPECT_TRUE(fault_of(good, mail));
    auto serving = good;
    serving.mutable_spec()->add_usages("server auth");
    EXPECT_TRUE(fault_of(serving, facts("a")));
    auto silent = good;
    silent.mutable_spec()->clear_usages();
    EXPECT_TRUE(fault_of(silent, facts("a")));
    EXPECT_TRUE(fault_of(request(kServingSigner, "system:node:a", kNode), facts("a")));  // no names
}

TEST(Policy, ServingNamesAreTheNodesOwn) {
    const auto mine = request(kServingSigner, "system:node:a", kNode);
    auto wanted = facts("a");
    wanted.dns_names = {"a"};
    wanted.addresses = {*IpAddress::parse("10.0.0.1")};
    NodeNames names;
    names.others = {*IpAddress::parse("10.0.0.2"), *IpAddress::parse("10.96.0.1")};
    EXPECT_EQ(judge(mine, wanted, names).kind, Verdict::Kind::kApprove);  // not registered yet
    names.exists = true;
    names.addresses = {*IpAddress::parse("10.0.0.1")};
    EXPECT_EQ(judge(mine, wanted, names).kind, Verdict::Kind::kApprove);
    names.addresses = {*IpAddress::parse("10.0.0.9")};
    EXPECT_EQ(judge(mine, wanted, names).kind, Verdict::Kind::kDeny);
    names.addresses.clear();
    for (const char* foreign : {"10.0.0.2", "10.96.0.1", "127.0.0.1", "0.0.0.0"}) {
        wanted.addresses = {*IpAddress::parse(foreign)};
        EXPECT_EQ(judge(mine, wanted, names).kind, Verdict::Kind::kDeny) << foreign;
    }
    wanted.addresses.clear();
    wanted.dns_names = {"kubernetes.default.svc"};
    EXPECT_EQ(judge(mine, wanted, names).kind, Verdict::Kind::kDeny);
    wanted.dns_names = {"a"};
    EXPECT_EQ(judge(request(kServingSigner, "system:bootstrap:abcdef", kBootstrapper), wanted, names).kind,
              Verdict::Kind::kWait);
}

TEST(Policy, LifetimesAreBounded) {
    auto wanted = request(kClientSigner, "system:node:a", kNode);
    EXPECT_EQ(spec_of(wanted, facts("a")).lifetime_s, 365 * 86'400);
    wanted.mutable_spec()->set_expirationseconds(3'600);
    EXPECT_EQ(spec_of(wanted, facts("a")).lifetime_s, 3'600);
    wanted.mutable_spec()->set_expirationseconds(2'000'000'000);
    EXPECT_EQ(spec_of(wanted, facts("a")).lifetime_s, 365 * 86'400);
    EXPECT_EQ(spec_of(wanted, facts("a")).usage, pki::CertificateSpec::Usage::kClient);
}

TEST(Policy, OldRequestsAreDoneWith) {
    Request old;
    old.mutable_metadata()->mutable_creationtimestamp()->set_seconds(1'000);
    EXPECT_EQ(expires_at(old, std::nullopt), 1'000 + 86'400);
    auto* condition = old.mutable_status()->add_conditions();
    condition->set_type("Denied");
    condition->mutable_lastupdatetime()->set_seconds(2'000);
    EXPECT_EQ(expires_at(old, std::nullopt), 2'000 + 3'600);
    EXPECT_EQ(expires_at(old, 2'500), 2'500);
}

}  // namespace
}  // namespace sluice::controllers::certificates
