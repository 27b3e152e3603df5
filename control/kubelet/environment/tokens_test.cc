// When tokens are asked for, with a server and a clock of the test's own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/kubernetes/core/v1/pod.pb.h"
#include "control/kubelet/environment/tokens_private.h"

namespace sluice::kubelet {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class TokensTest : public testing::Test {
protected:
    static corev1::Pod pod(const std::string& uid) {
        corev1::Pod out;
        out.mutable_metadata()->set_namespace_("n");
        out.mutable_metadata()->set_name("web");
        out.mutable_metadata()->set_uid(uid);
        out.mutable_spec()->set_serviceaccountname("robot");
        return out;
    }
    std::string get(const std::string& uid, const std::string& audience = "", std::int64_t seconds = 3'607) {
        const auto token = tokens_.get(pod(uid), audience, seconds);
        return token ? *token : token.error().message;
    }

    std::vector<TokenWish> asked_;
    bool away_ = false;
    std::int64_t now_s_ = 1'000'000;
    std::int64_t granted_s_ = 0;  // 0: as long as asked for
    Tokens tokens_{[this](const TokenWish& wish) -> Result<GrantedToken> {
                       if (away_) return make_error(Code::kUnavailable, "away");
                       asked_.push_back(wish);
                       return GrantedToken{"t" + std::to_string(asked_.size()),
                                           now_s_ + (granted_s_ > 0 ? granted_s_ : wish.expiration_seconds)};
                   },
                   [this] { return now_s_; }, [] { return 0; }};
};

TEST_F(TokensTest, AreBoundToThePodAndKept) {
    EXPECT_EQ(get("u"), "t1");
    EXPECT_EQ(get("u"), "t1");
    ASSERT_EQ(asked_.size(), 1U);
    EXPECT_EQ(asked_[0].namespace_name, "n");
    EXPECT_EQ(asked_[0].account, "robot");
    EXPECT_EQ(asked_[0].pod_name, "web");
    EXPECT_EQ(asked_[0].pod_uid, "u");
    EXPECT_EQ(asked_[0].expiration_seconds, 3'607);
    // Other audiences, lives and pods have others.
    EXPECT_EQ(get("u", "vault"), "t2");
    EXPECT_EQ(get("u", "", 600), "t3");
    EXPECT_EQ(get("v"), "t4");
    tokens_.forget_pod("u");
    EXPECT_EQ(tokens_.size(), 1U);
    EXPECT_EQ(get("u"), "t5");
    EXPECT_EQ(get("v"), "t4");
}

TEST_F(TokensTest, AreRenewedAfterFourFifthsOfTheirLife) {
    EXPECT_EQ(tokens_.seconds_until_due(), std::nullopt);
    EXPECT_EQ(get("u", "", 1'000), "t1");
    EXPECT_EQ(tokens_.seconds_until_due(), 800);
    now_s_ += 799;
    EXPECT_THAT(tokens_.due_pods(), IsEmpty());
    EXPECT_EQ(get("u", "", 1'000), "t1");
    now_s_ += 1;
    EXPECT_THAT(tokens_.due_pods(), ElementsAre("u"));
    EXPECT_THAT(tokens_.due_pods(), IsEmpty()) << "told twice at once";
    EXPECT_EQ(get("u", "", 1'000), "t2");
    EXPECT_EQ(tokens_.seconds_until_due(), 800);
}

TEST_F(TokensTest, OfLongLifeAreRenewedDaily) {
    EXPECT_EQ(get("u", "", 1'000'000), "t1");
    EXPECT_EQ(tokens_.seconds_until_due(), 24 * 3'600);
    // What counts is the life that was granted.
    granted_s_ = 600;
    EXPECT_EQ(get("v", "", 1'000'000), "t2");
    EXPECT_EQ(tokens_.seconds_until_due(), 480);
}

TEST_F(TokensTest, ServeUntilTheirEndWhileTheServerIsAway) {
    EXPECT_EQ(get("u", "", 1'000), "t1");
    away_ = true;
    now_s_ += 900;
    EXPECT_THAT(tokens_.due_pods(), ElementsAre("u"));
    EXPECT_EQ(get("u", "", 1'000), "t1");
    EXPECT_EQ(tokens_.failures(), 1U);
    EXPECT_EQ(tokens_.seconds_until_due(), kTokenRetrySeconds);
    now_s_ += kTokenRetrySeconds;
    EXPECT_THAT(tokens_.due_pods(), ElementsAre("u"));
    now_s_ += 90;
    EXPECT_EQ(get("u", "", 1'000), "failed to fetch token: away");
    away_ = false;
    EXPECT_EQ(get("u", "", 1'000), "t2");
}

}  // namespace
}  // namespace sluice::kubelet
