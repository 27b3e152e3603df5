#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/kubernetes/core/v1/secret.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/authentication/bootstrap_tokens.h"
#include "control/apiserver/authentication/impersonation.h"
#include "control/apiserver/authentication/token_file.h"

namespace sluice::authentication {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(TokenFile, KubernetesCsv) {
    const auto file = TokenFile::parse(
        "# comment\n"
        "t1,jane,u1\n"
        "\n"
        "t2,joe,u2,\"dev,ops\"\r\n"
        "\"t,3\",\"a \"\"quoted\"\" name\",u3,one\n");
    ASSERT_TRUE(file) << file.error().to_string();
    EXPECT_EQ(file->size(), 3U);
    EXPECT_EQ(file->find("t1")->user, "jane");
    EXPECT_EQ(file->find("t1")->uid, "u1");
    EXPECT_TRUE(file->find("t1")->groups.empty());
    EXPECT_THAT(file->find("t2")->groups, ElementsAre("dev", "ops"));
    EXPECT_EQ(file->find("t,3")->user, "a \"quoted\" name");
    EXPECT_FALSE(file->find("t"));
    EXPECT_FALSE(file->find(""));
}

TEST(TokenFile, ErrorsNameTheLine) {
    const auto line = [](const char* text) { return TokenFile::parse(text).error().message; };
    EXPECT_THAT(line("t,u,1\nt2,u\n"), HasSubstr("line 2"));
    EXPECT_THAT(line("t,u,1\nt,v,2\n"), HasSubstr("line 2"));
    EXPECT_THAT(line(",u,1\n"), HasSubstr("line 1"));
    EXPECT_THAT(line("t,u,1,g1,g2\n"), HasSubstr("line 1"));
    EXPECT_THAT(line("\n\nt,u,1,\"g\n"), HasSubstr("line 3"));
}

SecretReader secret_with(const std::map<std::string, std::string>& data, const char* type = kTokenType) {
    auto secret = std::make_shared<::k8s::io::api::core::v1::Secret>();
    secret->set_type(type);
    for (const auto& [key, value] : data) (*secret->mutable_data())[key] = value;
    return [secret](const std::string& name) -> SecretPtr {
        return name == "bootstrap-token-abcdef" ? secret : nullptr;
    };
}

TEST(BootstrapTokens, WhoTheyAre) {
    std::map<std::string, std::string> data = {{"token-id", "abcdef"},
                                               {"token-secret", "0123456789abcdef"},
                                               {"expiration", "2030-01-01T00:00:00Z"},
                                               {"usage-bootstrap-authentication", "true"},
                                               {"auth-extra-groups", "system:bootstrappers:kubeadm"}};
    const std::string token = "abcdef.0123456789abcdef";
    const std::int64_t before = 1'800'000'000;
    const auto found = authenticate_bootstrap_token(token, secret_with(data), before);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->user, "system:bootstrap:abcdef");
    EXPECT_THAT(found->groups, ElementsAre("system:bootstrappers", "system:bootstrappers:kubeadm"));
    EXPECT_FALSE(authenticate_bootstrap_token("abcdef.0123456789abcdee", secret_with(data), before));
    EXPECT_FALSE(authenticate_bootstrap_token("abcdeg.0123456789abcdef", secret_with(data), before));
    EXPECT_FALSE(authenticate_bootstrap_token(token, secret_with(data, "Opaque"), before));
    EXPECT_FALSE(authenticate_bootstrap_token(token, secret_with(data), 2'000'000'000));  // 2033
    const auto with = [&](const char* key, const char* value) {
        auto changed = data;
        changed[key] = value;
        return authenticate_bootstrap_token(token, secret_with(changed), before).has_value();
    };
    EXPECT_FALSE(with("usage-bootstrap-authentication", "false"));
    EXPECT_FALSE(with("auth-extra-groups", "system:masters"));
    EXPECT_FALSE(with("expiration", "soon"));
    EXPECT_FALSE(with("token-id", "fedcba"));
}

// What is asked for each header, as kube-apiserver asks its authorizers.
class Impersonation : public ::testing::Test {
protected:
    std::optional<ImpersonationRefused> act(std::vector<std::pair<std::string, std::string>> headers,
                                            const std::string& not_permitted = "nothing") {
        request = http::Request();
        request.identity = {"eve", {"system:authenticated"}};
        request.headers = std::move(headers);
        asked.clear();
        return impersonate(&request, [&](const authorization::Attributes& attributes, std::string*) {
            EXPECT_EQ(attributes.user.user, "eve");
            EXPECT_EQ(attributes.verb, "impersonate");
            std::string what = attributes.resource + " " + attributes.name;
            if (!attributes.group.empty()) what = attributes.group + "/" + what;
            if (!attributes.subresource.empty()) what += " of " + attributes.subresource;
            if (!attributes.namespace_name.empty()) what += " in " + attributes.namespace_name;
            asked.push_back(what);
            return what != not_permitted;
        });
    }
    http::Request request;
    std::vector<std::string> asked;
};

TEST_F(Impersonation, EveryPartIsAskedFor) {
    EXPECT_FALSE(act({{"accept", "x"},
                      {"impersonate-user", "bob"},
                      {"impersonate-group", "g1"},
                      {"impersonate-group", "g2"},
                      {"impersonate-uid", "u1"},
                      {"impersonate-extra-scopes", "view"},
                      {"impersonate-extra-acme.com%2fproject", "p"}}));
    EXPECT_THAT(asked, ElementsAre("users bob", "groups g1", "groups g2",
                                   "authentication.k8s.io/userextras view of scopes",
                                   "authentication.k8s.io/userextras p of acme.com/project",
                                   "authentication.k8s.io/uids u1"));
    EXPECT_EQ(request.identity.user, "bob");
    EXPECT_THAT(request.identity.groups, ElementsAre("g1", "g2", "system:authenticated"));
    EXPECT_EQ(request.identity.uid, "u1");
    ASSERT_EQ(request.identity.extra.size(), 2U);
    EXPECT_EQ(request.identity.extra[1].first, "acme.com/project");
    ASSERT_EQ(request.headers.size(), 1U);
    EXPECT_EQ(request.headers[0].first, "accept");
}

TEST_F(Impersonation, OneRefusalIsEnough) {
    const auto refused = act({{"impersonate-user", "bob"}, {"impersonate-group", "system:masters"}},
                             "groups system:masters");
    ASSERT_TRUE(refused);
    EXPECT_EQ(authorization::refusal(refused->asked),
              R"(groups "system:masters" is forbidden: User "eve" cannot impersonate resource "groups" in API group "" )"
              R"(at the cluster scope)");
    EXPECT_EQ(request.identity.user, "eve");
}

TEST_F(Impersonation, ServiceAccountsAreOfTheirNamespace) {
    EXPECT_FALSE(act({{"impersonate-user", "system:serviceaccount:team:robot"}}));
    EXPECT_THAT(asked, ElementsAre("serviceaccounts robot in team"));
    EXPECT_THAT(request.identity.groups,
                ElementsAre("system:serviceaccounts", "system:serviceaccounts:team", "system:authenticated"));
    EXPECT_FALSE(act({{"impersonate-user", "system:serviceaccount:team"}}));
    EXPECT_THAT(asked, ElementsAre("users system:serviceaccount:team"));
}

TEST_F(Impersonation, NeedsAUser) {
    const auto refused = act({{"impersonate-group", "g"}});
    ASSERT_TRUE(refused);
    EXPECT_FALSE(refused->senseless.empty());
    std::vector<std::pair<std::string, std::string>> many = {{"impersonate-user", "bob"}};
    for (std::size_t i = 0; i <= kMaxImpersonatedValues; ++i) many.emplace_back("impersonate-group", "g");
    EXPECT_FALSE(act(many)->senseless.empty());
    EXPECT_TRUE(asked.empty());
}

TEST_F(Impersonation, TheAnonymousUserIsNotAuthenticated) {
    EXPECT_FALSE(act({{"impersonate-user", "system:anonymous"}}));
    EXPECT_THAT(request.identity.groups, ElementsAre("system:unauthenticated"));
}

}  // namespace
}  // namespace sluice::authentication
