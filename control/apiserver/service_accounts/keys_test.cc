// Keys and tokens as bytes: what other implementations of RFC 7515 to 7519 have to read, and what must not be believed.
#include <gtest/gtest.h>

#include "api/base/base64url.h"
#include "control/apiserver/service_accounts/claims.h"
#include "control/apiserver/service_accounts/keys.h"

namespace sluice::service_accounts {
namespace {

// `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`
constexpr char kEcKey[] = R"(-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgAvettK7EI14puf9w
0y8y0YjPXwdcspCksVGWU9YZkP6hRANCAAT1pNrffy9SCPfC4uknH3S+Mdkjl5Mb
EkGO6qDmEHDn9437kKVlklhe+fp4qciNbZdScCiZIP7tLrggHejDj2fv
-----END PRIVATE KEY-----
)";

Claims some_claims() {
    Claims claims;
    claims.issuer = "https://issuer";
    claims.subject = "system:serviceaccount:ns:web";
    claims.id = "id";
    claims.audiences = {"a", "b"};
    claims.issued_s = claims.not_before_s = 1'000;
    claims.expires_s = 5'000;
    claims.warn_after_s = 4'000;
    claims.name_space = "ns";
    claims.account = {"web", "uid-1"};
    claims.pod = {"pod", "uid-2"};
    claims.node = {"node", ""};
    return claims;
}

TEST(KeyRing, SignsAndBelieves) {
    const auto rsa = make_rsa_key();
    ASSERT_TRUE(rsa);
    for (const std::string& pem : {*rsa, std::string(kEcKey)}) {
        const auto ring = KeyRing::make(pem, {});
        ASSERT_TRUE(ring) << ring.error().message;
        const auto token = write_token(some_claims(), *ring);
        ASSERT_TRUE(token);
        const auto read = read_token(*token, *ring);
        ASSERT_TRUE(read) << read.error().message;
        EXPECT_EQ(read->audiences, (std::vector<std::string>{"a", "b"}));
        EXPECT_EQ(read->expires_s, 5'000);
        EXPECT_EQ(read->warn_after_s, 4'000);
        EXPECT_EQ(read->account.uid, "uid-1");
        EXPECT_EQ(read->pod.name, "pod");
        EXPECT_EQ(read->node.name, "node");
        EXPECT_EQ(claimed_issuer(*token), "https://issuer");
        for (const std::size_t at : {std::size_t{3}, token->find('.') + 5, token->size() - 5}) {
            std::string changed = *token;
            changed[at] = changed[at] == 'A' ? 'B' : 'A';
            EXPECT_FALSE(read_token(changed, *ring)) << at;
        }
    }
}

TEST(KeyRing, RotatesByMoreKeys) {
    const auto rsa = make_rsa_key();
    ASSERT_TRUE(rsa);
    const auto old_ring = KeyRing::make(kEcKey, {});
    const auto new_ring = KeyRing::make(*rsa, {kEcKey, kEcKey});
    ASSERT_TRUE(old_ring && new_ring);
    EXPECT_EQ(old_ring->algorithm(), "ES256");
    EXPECT_EQ(new_ring->algorithm(), "RS256");
    EXPECT_EQ(new_ring->algorithms(), (std::vector<std::string>{"ES256", "RS256"}));
    const auto token = write_token(some_claims(), *old_ring);
    ASSERT_TRUE(token);
    EXPECT_TRUE(read_token(*token, *new_ring));
    EXPECT_FALSE(read_token(*write_token(some_claims(), *new_ring), *old_ring));
    EXPECT_NE(new_ring->jwks().find(R"("kty":"EC")"), std::string::npos);
    EXPECT_NE(new_ring->jwks().find(R"("e":"AQAB")"), std::string::npos);
}

TEST(KeyRing, NoneIsNoAlgorithm) {
    const auto ring = KeyRing::make(kEcKey, {});
    ASSERT_TRUE(ring);
    const std::string header = base64url(R"({"alg":"none"})");
    const std::string body = base64url(R"({"iss":"https://issuer","exp":9e9,"kubernetes.io":{}})");
    EXPECT_FALSE(read_token(header + "." + body + ".", *ring));
    EXPECT_FALSE(read_token("", *ring));
    EXPECT_FALSE(read_token("a.b", *ring));
    EXPECT_FALSE(read_token(std::string(kMaxTokenBytes + 1, 'a'), *ring));
}

TEST(KeyRing, RefusesWhatIsNoKey) {
    EXPECT_FALSE(KeyRing::make("", {}));
    EXPECT_FALSE(KeyRing::make("-----BEGIN PRIVATE KEY-----\nxx\n-----END PRIVATE KEY-----\n", {}));
    EXPECT_FALSE(KeyRing::make(kEcKey, {"no key"}));
}

}  // namespace
}  // namespace sluice::service_accounts
