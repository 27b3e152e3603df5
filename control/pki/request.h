// Certificate signing requests (PKCS #10): reading and checking them, and signing what they ask for.
// OpenSSL stays behind request.cc. Pure and thread-safe.
#pragma once

#include <string>
#include <vector>

#include "api/base/ip_address.h"
#include "api/base/result.h"
#include "control/pki/certificate.h"

namespace sluice::pki {

inline constexpr std::size_t kMaxRequestBytes = 64U << 10U;
inline constexpr int kMinRsaBits = 2'048;

struct RequestFacts {
    std::string common_name;
    std::vector<std::string> organizations;
    std::vector<std::string> dns_names;
    std::vector<IpAddress> addresses;
    bool has_other_names = false;  // mail addresses, URIs and other alternative names; further parts of the subject
    std::string public_key_pem;
};

// kDataLoss: no PEM request, a signature that is not its own key's, or a key that is too weak.
Result<RequestFacts> read_request(const std::string& pem);

// A certificate for somebody else's key. It never outlives the CA's own certificate.
Result<std::string> sign(const KeyPair& ca, const CertificateSpec& spec,
                         const std::string& public_key_pem, std::int64_t now_s);

}  // namespace sluice::pki
