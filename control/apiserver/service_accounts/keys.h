// The keys of service account tokens: one that signs, and all that are believed. RSA (RS256) and the NIST curves
// (ES256, ES384, ES512), each known by the name that Kubernetes gives it: the SHA-256 of its public half.
// Immutable and thread-safe once made. OpenSSL stays behind keys.cc.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "api/base/result.h"

namespace sluice::service_accounts {

// Keys that are believed; files with more are refused.
inline constexpr std::size_t kMaxKeys = 64;

struct Key;

class KeyRing {
public:
    // The signing key, and what is believed besides it: PEM, private or public keys, any number of them in a text.
    static Result<KeyRing> make(const std::string& signing_pem, const std::vector<std::string>& believed_pems);
    // signing_file: empty for DIRECTORY/sa.key, an RSA key that is made when it is not there, with DIRECTORY/sa.pub
    // beside it. Errors name the file.
    static Result<KeyRing> load(const std::string& directory, const std::string& signing_file,
                                const std::vector<std::string>& key_files);

    // What a token's header says of the signer.
    [[nodiscard]] const std::string& key_id() const;
    [[nodiscard]] const std::string& algorithm() const;
    Result<std::string> sign(std::string_view text) const;
    // By the key of that name, or when none is named by any of the algorithm.
    [[nodiscard]] bool verify(std::string_view key_id, std::string_view algorithm, std::string_view text,
                              std::string_view signature) const;
    // {"keys":[...]}, RFC 7517.
    [[nodiscard]] std::string jwks() const;
    // Of all keys, each once.
    [[nodiscard]] std::vector<std::string> algorithms() const;

private:
    std::vector<std::shared_ptr<const Key>> keys_;  // the first one signs
};

// A new RSA key of 2048 bits, PKCS #8 in PEM.
Result<std::string> make_rsa_key();

}  // namespace sluice::service_accounts
