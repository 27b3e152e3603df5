// The pieces of joining a cluster with a bootstrap token, as kubeadm does it: what both sides
// compute. OpenSSL stays in bootstrap.cc. Pure but for random numbers; thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "api/base/ip_address.h"
#include "api/base/result.h"

namespace sluice::client {

// "abcdef.0123456789abcdef": 6 and 16 characters of [a-z0-9].
struct BootstrapToken {
    std::string id;
    std::string secret;
    [[nodiscard]] std::string text() const { return id + "." + secret; }
};
Result<BootstrapToken> parse_bootstrap_token(std::string_view text);
Result<BootstrapToken> make_bootstrap_token();

// "sha256:" and the hash of the first certificate's public key: what pins an authority.
Result<std::string> ca_pin(const std::string& ca_pem);
// Whether one of the certificates has that pin. kInvalidArgument: the pin is not "sha256:" and 64
// hex digits.
Result<bool> matches_pin(const std::string& ca_pem, const std::string& pin);

// A signature over `payload` that leaves it out (RFC 7515, appendix F): "HEADER..SIGNATURE", HS256,
// the token as key.
Result<std::string> sign_detached(std::string_view payload, const BootstrapToken& token);
[[nodiscard]] bool verify_detached(std::string_view payload, std::string_view signature,
                                   const BootstrapToken& token);

// Takes the same time for equal lengths, wherever they differ.
[[nodiscard]] bool equal_in_constant_time(std::string_view a, std::string_view b);

// A new ECDSA P-256 key, PKCS #8.
Result<std::string> make_key_pem();

struct RequestSpec {
    std::string common_name;
    std::string organization;
    std::vector<std::string> dns_names;
    std::vector<IpAddress> addresses;
};
// A PEM certificate signing request (PKCS #10) for this key.
Result<std::string> make_request_pem(const std::string& key_pem, const RequestSpec& spec);

// Begin and end of the first certificate, Unix seconds; its name, and whether the key is its own
// and `ca_pem` signed it.
struct CertificateState {
    std::string common_name;
    std::int64_t not_before_s = 0;
    std::int64_t not_after_s = 0;
    bool fits = false;
};
Result<CertificateState> read_certificate_state(const std::string& certificate_pem,
                                                const std::string& key_pem,
                                                const std::string& ca_pem);

// Lower-case hex of SHA-256.
[[nodiscard]] std::string sha256_hex(std::string_view bytes);
[[nodiscard]] std::string base64_text(std::string_view bytes);

}  // namespace sluice::client
