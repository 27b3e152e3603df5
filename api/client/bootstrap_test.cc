#include "api/client/bootstrap.h"

#include <gtest/gtest.h>

namespace sluice::client {
namespace {

TEST(Bootstrap, TokensHaveOneForm) {
    const auto token = parse_bootstrap_token("abcdef.0123456789abcdef");
    ASSERT_TRUE(token);
    EXPECT_EQ(token->id, "abcdef");
    EXPECT_EQ(token->secret, "0123456789abcdef");
    for (const char* bad : {"", "abcdef", "abcdef.", "abcdeF.0123456789abcdef", "abcde.0123456789abcdef",
                            "abcdef.0123456789abcde", "abcdef.0123456789abcdef0", "abcdef-0123456789abcdef"}) {
        EXPECT_FALSE(parse_bootstrap_token(bad)) << bad;
    }
    const auto fresh = make_bootstrap_token();
    ASSERT_TRUE(fresh);
    EXPECT_TRUE(parse_bootstrap_token(fresh->text()));
    EXPECT_NE(make_bootstrap_token()->text(), fresh->text());
}

TEST(Bootstrap, DetachedSignatureOfAKnownText) {
    // Computed with openssl dgst -sha256 -hmac over "HEADER.PAYLOAD" in base64url.
    const BootstrapToken token{"abcdef", "0123456789abcdef"};
    const auto signature = sign_detached("hello", token);
    ASSERT_TRUE(signature);
    EXPECT_EQ(*signature,
              "eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9..MxsnbCjBaYzcbNIFa06F-wuF9LX26rhMlrL4zA1511s");
    EXPECT_TRUE(verify_detached("hello", *signature, token));
    EXPECT_FALSE(verify_detached("hellO", *signature, token));
    EXPECT_FALSE(verify_detached("hello", *signature, {"abcdef", "0123456789abcdee"}));
    EXPECT_FALSE(verify_detached("hello", "", token));
    EXPECT_FALSE(verify_detached("hello", "..", token));
}

TEST(Bootstrap, PinsAreCheckedForTheirForm) {
    EXPECT_FALSE(matches_pin("", "sha256:12"));
    EXPECT_FALSE(matches_pin("", "md5:" + std::string(64, '0')));
    const auto none = matches_pin("", "sha256:" + std::string(64, '0'));
    ASSERT_TRUE(none);
    EXPECT_FALSE(*none);
    EXPECT_FALSE(ca_pin("no certificate"));
}

}  // namespace
}  // namespace sluice::client
