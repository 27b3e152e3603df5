// Certificate requests as `sluice join` makes them, and as others might.
#include "control/pki/request.h"

#include <gtest/gtest.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "api/client/bootstrap.h"

namespace sluice::pki {
namespace {

constexpr std::int64_t kNow = 1'800'000'000;
constexpr std::int64_t kDay = 86'400;

std::string request_of(EVP_PKEY* key, const std::vector<std::pair<int, std::string>>& subject) {
    X509_REQ* request = X509_REQ_new();
    for (const auto& [nid, value] : subject) {
        X509_NAME_add_entry_by_NID(X509_REQ_get_subject_name(request), nid, MBSTRING_UTF8,
                                   reinterpret_cast<const unsigned char*>(value.data()),
                                   static_cast<int>(value.size()), -1, 0);
    }
    X509_REQ_set_pubkey(request, key);
    X509_REQ_sign(request, key, EVP_sha256());
    BIO* bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509_REQ(bio, request);
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    std::string out(data, static_cast<std::size_t>(size));
    BIO_free(bio);
    X509_REQ_free(request);
    EVP_PKEY_free(key);
    return out;
}

TEST(Requests, AreReadInFull) {
    const auto key = client::make_key_pem();
    const auto pem = client::make_request_pem(
        *key, {"system:node:n", "system:nodes", {"n", "n.example"},
               {*IpAddress::parse("10.0.0.1"), *IpAddress::parse("fd00::1")}});
    const auto facts = read_request(*pem);
    ASSERT_TRUE(facts) << facts.error().message;
    EXPECT_EQ(facts->common_name, "system:node:n");
    EXPECT_EQ(facts->organizations, std::vector<std::string>{"system:nodes"});
    EXPECT_EQ(facts->dns_names, (std::vector<std::string>{"n", "n.example"}));
    EXPECT_EQ(facts->addresses,
              (std::vector<IpAddress>{*IpAddress::parse("10.0.0.1"), *IpAddress::parse("fd00::1")}));
    EXPECT_FALSE(facts->has_other_names);
}

TEST(Requests, HostileOnesAreRefusedOrTold) {
    EXPECT_FALSE(read_request(""));
    EXPECT_FALSE(read_request("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"));
    EXPECT_FALSE(read_request(std::string(kMaxRequestBytes + 1, 'A')));
    // Another name under the same signature: one byte of the DER is not what was signed.
    const auto key = client::make_key_pem();
    std::string pem = *client::make_request_pem(*key, {"system:node:n", "system:nodes", {}, {}});
    char& byte = pem[pem.find('\n') + 40];
    byte = byte == 'A' ? 'B' : 'A';
    EXPECT_FALSE(read_request(pem));
    EXPECT_FALSE(read_request(request_of(EVP_RSA_gen(1'024), {{NID_commonName, "a"}})));
    EXPECT_TRUE(read_request(request_of(EVP_RSA_gen(2'048), {{NID_commonName, "a"}})));
    const auto twice = read_request(request_of(EVP_EC_gen("P-256"), {{NID_commonName, "a"}, {NID_commonName, "b"}}));
    ASSERT_TRUE(twice);
    EXPECT_TRUE(twice->has_other_names);
    const auto mail =
        read_request(request_of(EVP_EC_gen("P-256"), {{NID_commonName, "a"}, {NID_pkcs9_emailAddress, "a@b"}}));
    ASSERT_TRUE(mail);
    EXPECT_TRUE(mail->has_other_names);
}

TEST(Requests, WhatIsSignedIsForThatKeyAndEndsWithTheAuthority) {
    const auto ca_key = make_private_key();
    const KeyPair ca{*make_ca_certificate(*ca_key, "ca", kNow, 10 * kDay), *ca_key};
    const auto key = client::make_key_pem();
    const auto facts = read_request(*client::make_request_pem(*key, {"system:node:n", "system:nodes", {}, {}}));
    ASSERT_TRUE(facts);
    CertificateSpec spec;
    spec.common_name = facts->common_name;
    spec.organizations = facts->organizations;
    spec.lifetime_s = 365 * kDay;
    const auto signed_pem = sign(ca, spec, facts->public_key_pem, kNow);
    ASSERT_TRUE(signed_pem) << signed_pem.error().message;
    const auto state = client::read_certificate_state(*signed_pem, *key, ca.certificate_pem);
    ASSERT_TRUE(state);
    EXPECT_TRUE(state->fits);
    EXPECT_EQ(state->common_name, "system:node:n");
    EXPECT_EQ(state->not_before_s, kNow - kBackdateS);
    EXPECT_LE(state->not_after_s, kNow + 10 * kDay);
    const auto other = client::make_key_pem();
    EXPECT_FALSE(client::read_certificate_state(*signed_pem, *other, ca.certificate_pem)->fits);
    EXPECT_FALSE(sign(ca, spec, "no key", kNow));
}

}  // namespace
}  // namespace sluice::pki
