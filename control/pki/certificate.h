// Making, reading and checking X.509 certificates on ECDSA P-256. OpenSSL stays behind certificate.cc.
// Pure but for the random numbers; thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "api/base/ip_address.h"
#include "api/base/result.h"

namespace sluice::pki {

struct KeyPair {
    std::string certificate_pem;
    std::string private_key_pem;  // PKCS #8
};

struct CertificateSpec {
    enum class Usage { kServer, kClient };
    std::string common_name;                 // a client's user name
    std::vector<std::string> organizations;  // a client's groups
    std::vector<std::string> dns_names;
    std::vector<IpAddress> addresses;
    Usage usage = Usage::kClient;
    std::int64_t lifetime_s = 0;
};

// Times are Unix seconds; certificates begin kBackdateS before now_s, for clocks that are behind.
inline constexpr std::int64_t kBackdateS = 300;

[[nodiscard]] Result<std::string> make_private_key();

// Self-signed, for signing certificates only, with no further CA below it.
Result<std::string> make_ca_certificate(const std::string& private_key_pem,
                                        const std::string& common_name, std::int64_t now_s,
                                        std::int64_t lifetime_s);

// A fresh key and a certificate for it. It never outlives the CA's own certificate.
Result<KeyPair> issue(const KeyPair& ca, const CertificateSpec& spec, std::int64_t now_s);

struct CertificateFacts {
    std::string common_name;
    std::vector<std::string> organizations;
    std::vector<std::string> dns_names;
    std::vector<IpAddress> addresses;
    std::int64_t not_before_s = 0;
    std::int64_t not_after_s = 0;
    bool is_ca = false;
};
// The first certificate in the text; kDataLoss if there is none.
Result<CertificateFacts> read_certificate(const std::string& certificate_pem);

// Whether a text has a certificate to trust: blocks of other kinds, and certificates that cannot be read, do not matter
// beside one that can. kInvalidArgument: none, in the words that Kubernetes' clients have for it.
Result<void> check_authorities(std::string_view pem);

// kDataLoss: either part cannot be read; kFailedPrecondition: the key is not the certificate's.
Result<void> check_key_pair(const KeyPair& pair);

// True if the CA's key signed the certificate. Times are not looked at.
Result<bool> is_issued_by(const std::string& certificate_pem, const std::string& ca_pem);

}  // namespace sluice::pki
