#include "control/store/encryption/ciphers.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <sodium.h>

#include <array>
#include <climits>

namespace sluice::store {

namespace {

constexpr std::size_t kGcmNonce = 12;
constexpr std::size_t kGcmTag = 16;
constexpr std::size_t kBlock = 16;

struct FreeContext {
    void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using Context = std::unique_ptr<EVP_CIPHER_CTX, FreeContext>;

unsigned char* bytes(std::string& text) { return reinterpret_cast<unsigned char*>(text.data()); }
const unsigned char* bytes(std::string_view text) {
    return reinterpret_cast<const unsigned char*>(text.data());
}

Error failed() { return make_error(Code::kInternal, "the encryption library failed"); }
Error not_ours() {
    return make_error(Code::kDataLoss, "it was not encrypted with this key, or is damaged");
}

// Values are far shorter than this (kMaxValueBytes); the library counts in int.
constexpr std::size_t kMaxBytes = INT_MAX / 2;
int length(std::string_view text) { return static_cast<int>(text.size()); }

class Secret {
public:
    explicit Secret(std::string value) : value_(std::move(value)) {}
    ~Secret() { OPENSSL_cleanse(value_.data(), value_.size()); }
    Secret(const Secret&) = delete;
    Secret& operator=(const Secret&) = delete;
    [[nodiscard]] const std::string& get() const { return value_; }

private:
    std::string value_;
};

class AesGcm final : public Cipher {
public:
    explicit AesGcm(std::string secret) : secret_(std::move(secret)) {}

    Result<std::string> seal(std::string_view plain, std::string_view context) const override {
        std::string out(kGcmNonce + plain.size() + kGcmTag, '\0');
        const Context made(EVP_CIPHER_CTX_new());
        int written = 0;
        if (plain.size() > kMaxBytes || made == nullptr ||
            RAND_bytes(bytes(out), kGcmNonce) != 1 ||
            EVP_EncryptInit_ex(made.get(), algorithm(), nullptr, bytes(secret_.get()),
                               bytes(out)) != 1 ||
            EVP_EncryptUpdate(made.get(), nullptr, &written, bytes(context), length(context)) !=
                1 ||
            EVP_EncryptUpdate(made.get(), bytes(out) + kGcmNonce, &written, bytes(plain),
                              length(plain)) != 1 ||
            EVP_EncryptFinal_ex(made.get(), bytes(out) + kGcmNonce + plain.size(), &written) != 1 ||
            EVP_CIPHER_CTX_ctrl(made.get(), EVP_CTRL_GCM_GET_TAG, kGcmTag,
                                bytes(out) + kGcmNonce + plain.size()) != 1) {
            return failed();
        }
        return out;
    }

    Result<std::string> open(std::string_view sealed, std::string_view context) const override {
        if (sealed.size() < kGcmNonce + kGcmTag || sealed.size() > kMaxBytes) {
            return not_ours();
        }
        const std::string_view body = sealed.substr(kGcmNonce, sealed.size() - kGcmNonce - kGcmTag);
        std::string tag(sealed.substr(sealed.size() - kGcmTag));
        std::string out(body.size() + kBlock, '\0');
        const Context made(EVP_CIPHER_CTX_new());
        int written = 0;
        int rest = 0;
        if (made == nullptr ||
            EVP_DecryptInit_ex(made.get(), algorithm(), nullptr, bytes(secret_.get()),
                               bytes(sealed)) != 1 ||
            EVP_DecryptUpdate(made.get(), nullptr, &written, bytes(context), length(context)) !=
                1 ||
            EVP_DecryptUpdate(made.get(), bytes(out), &written, bytes(body), length(body)) != 1 ||
            EVP_CIPHER_CTX_ctrl(made.get(), EVP_CTRL_GCM_SET_TAG, kGcmTag, bytes(tag)) != 1 ||
            EVP_DecryptFinal_ex(made.get(), bytes(out) + written, &rest) != 1) {
            return not_ours();
        }
        out.resize(body.size());
        return out;
    }

private:
    [[nodiscard]] const EVP_CIPHER* algorithm() const {
        switch (secret_.get().size()) {
            case 16: return EVP_aes_128_gcm();
            case 24: return EVP_aes_192_gcm();
            default: return EVP_aes_256_gcm();
        }
    }
    Secret secret_;
};

class AesCbc final : public Cipher {
public:
    explicit AesCbc(std::string secret) : secret_(std::move(secret)) {}

    Result<std::string> seal(std::string_view plain, std::string_view /*context*/) const override {
        std::string out(kBlock + plain.size() + kBlock, '\0');
        const Context made(EVP_CIPHER_CTX_new());
        int written = 0;
        int rest = 0;
        if (plain.size() > kMaxBytes || made == nullptr || RAND_bytes(bytes(out), kBlock) != 1 ||
            EVP_EncryptInit_ex(made.get(), algorithm(), nullptr, bytes(secret_.get()),
                               bytes(out)) != 1 ||
            EVP_EncryptUpdate(made.get(), bytes(out) + kBlock, &written, bytes(plain),
                              length(plain)) != 1 ||
            EVP_EncryptFinal_ex(made.get(), bytes(out) + kBlock + written, &rest) != 1) {
            return failed();
        }
        out.resize(kBlock + static_cast<std::size_t>(written) + static_cast<std::size_t>(rest));
        return out;
    }

    Result<std::string> open(std::string_view sealed, std::string_view /*context*/) const override {
        if (sealed.size() < 2 * kBlock || sealed.size() % kBlock != 0 ||
            sealed.size() > kMaxBytes) {
            return not_ours();
        }
        const std::string_view body = sealed.substr(kBlock);
        std::string out(body.size() + kBlock, '\0');
        const Context made(EVP_CIPHER_CTX_new());
        int written = 0;
        int rest = 0;
        if (made == nullptr ||
            EVP_DecryptInit_ex(made.get(), algorithm(), nullptr, bytes(secret_.get()),
                               bytes(sealed)) != 1 ||
            EVP_DecryptUpdate(made.get(), bytes(out), &written, bytes(body), length(body)) != 1 ||
            EVP_DecryptFinal_ex(made.get(), bytes(out) + written, &rest) != 1) {
            return not_ours();
        }
        out.resize(static_cast<std::size_t>(written) + static_cast<std::size_t>(rest));
        return out;
    }

private:
    [[nodiscard]] const EVP_CIPHER* algorithm() const {
        switch (secret_.get().size()) {
            case 16: return EVP_aes_128_cbc();
            case 24: return EVP_aes_192_cbc();
            default: return EVP_aes_256_cbc();
        }
    }
    Secret secret_;
};

class SecretBox final : public Cipher {
public:
    explicit SecretBox(std::string secret) : secret_(std::move(secret)) {}

    Result<std::string> seal(std::string_view plain, std::string_view /*context*/) const override {
        std::string out(crypto_secretbox_NONCEBYTES + crypto_secretbox_MACBYTES + plain.size(),
                        '\0');
        if (RAND_bytes(bytes(out), crypto_secretbox_NONCEBYTES) != 1 ||
            crypto_secretbox_easy(bytes(out) + crypto_secretbox_NONCEBYTES, bytes(plain),
                                  plain.size(), bytes(out), bytes(secret_.get())) != 0) {
            return failed();
        }
        return out;
    }

    Result<std::string> open(std::string_view sealed, std::string_view /*context*/) const override {
        constexpr std::size_t overhead = crypto_secretbox_NONCEBYTES + crypto_secretbox_MACBYTES;
        if (sealed.size() < overhead) {
            return not_ours();
        }
        std::string out(sealed.size() - overhead, '\0');
        const std::string_view body = sealed.substr(crypto_secretbox_NONCEBYTES);
        if (crypto_secretbox_open_easy(bytes(out), bytes(body), body.size(), bytes(sealed),
                                       bytes(secret_.get())) != 0) {
            return not_ours();
        }
        return out;
    }

private:
    Secret secret_;
};

}  // namespace

Result<std::unique_ptr<Cipher>> make_cipher(std::string_view provider, std::string secret) {
    const std::size_t size = secret.size();
    if (provider == "secretbox") {
        if (sodium_init() < 0) {
            return failed();
        }
        if (size == crypto_secretbox_KEYBYTES) {
            return std::unique_ptr<Cipher>(std::make_unique<SecretBox>(std::move(secret)));
        }
        OPENSSL_cleanse(secret.data(), size);
        return make_error(Code::kInvalidArgument,
                          "secret is not of the expected length, got {}, expected 32", size);
    }
    if (size != 16 && size != 24 && size != 32) {
        OPENSSL_cleanse(secret.data(), size);
        return make_error(
            Code::kInvalidArgument,
            "secret is not of the expected length, got {}, expected one of [16 24 32]", size);
    }
    if (provider == "aesgcm") {
        return std::unique_ptr<Cipher>(std::make_unique<AesGcm>(std::move(secret)));
    }
    return std::unique_ptr<Cipher>(std::make_unique<AesCbc>(std::move(secret)));
}

}  // namespace sluice::store
