// How a value is encrypted: the providers of Kubernetes' EncryptionConfiguration, with the bytes that
// kube-apiserver writes, so that either program reads what the other has stored.
//
//     aesgcm     nonce (12) | ciphertext | tag (16)      the key of the store is authenticated too
//     aescbc     IV (16) | ciphertext, PKCS #7 padding
//     secretbox  nonce (24) | tag (16) | ciphertext      XSalsa20 and Poly1305
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "api/base/result.h"

namespace sluice::store {

// Immutable and thread-safe. Its secret is wiped when it goes.
class Cipher {
public:
    virtual ~Cipher() = default;
    // `context` is authenticated where the cipher can do so. kInternal when there is no randomness.
    [[nodiscard]] virtual Result<std::string> seal(std::string_view plain,
                                                   std::string_view context) const = 0;
    // kDataLoss when the bytes are not what seal() made with this key; why is not said.
    [[nodiscard]] virtual Result<std::string> open(std::string_view sealed,
                                                   std::string_view context) const = 0;
};

// provider: "aesgcm", "aescbc" (secrets of 16, 24 or 32 bytes) or "secretbox" (32 bytes). Errors name
// the provider and the length, never the secret.
Result<std::unique_ptr<Cipher>> make_cipher(std::string_view provider, std::string secret);

}  // namespace sluice::store
