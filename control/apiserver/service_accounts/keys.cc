#include "control/apiserver/service_accounts/keys.h"

#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <optional>

#include "api/base/base64url.h"
#include "control/pki/files.h"

namespace sluice::service_accounts {
namespace {

constexpr int kRsaBits = 2048;
constexpr int kMinRsaBits = 2048;

template <auto Free>
struct Deleter {
    template <class T>
    void operator()(T* value) const {
        Free(value);
    }
};
using PkeyPtr = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using BioPtr = std::unique_ptr<BIO, Deleter<BIO_free_all>>;
using DigestPtr = std::unique_ptr<EVP_MD_CTX, Deleter<EVP_MD_CTX_free>>;
using NumberPtr = std::unique_ptr<BIGNUM, Deleter<BN_free>>;
using EcdsaPtr = std::unique_ptr<ECDSA_SIG, Deleter<ECDSA_SIG_free>>;

const unsigned char* bytes_of(std::string_view text) {
    return reinterpret_cast<const unsigned char*>(text.data());
}

std::string number_bytes(const BIGNUM* number, std::size_t width) {
    std::string out(std::max(width, static_cast<std::size_t>(BN_num_bytes(number))), '\0');
    BN_bn2binpad(number, reinterpret_cast<unsigned char*>(out.data()), static_cast<int>(out.size()));
    return out;
}

std::string number_of(const EVP_PKEY* key, const char* name, std::size_t width) {
    BIGNUM* raw = nullptr;
    if (EVP_PKEY_get_bn_param(key, name, &raw) != 1) return {};
    const NumberPtr number(raw);
    return number_bytes(number.get(), width);
}

}  // namespace

struct Key {
    PkeyPtr pkey;
    std::string id;
    std::string algorithm;
    std::string curve;          // "P-256"; empty for RSA
    std::size_t width = 0;      // bytes of a number of the curve
    const EVP_MD* digest = nullptr;
};

namespace {

Result<std::shared_ptr<const Key>> describe(PkeyPtr pkey) {
    auto key = std::make_shared<Key>();
    if (EVP_PKEY_is_a(pkey.get(), "RSA") == 1) {
        if (EVP_PKEY_get_bits(pkey.get()) < kMinRsaBits) {
            return make_error(Code::kInvalidArgument, "an RSA key of {} bits is too short; it needs {}",
                              EVP_PKEY_get_bits(pkey.get()), kMinRsaBits);
        }
        key->algorithm = "RS256";
        key->digest = EVP_sha256();
    } else if (EVP_PKEY_is_a(pkey.get(), "EC") == 1) {
        std::array<char, 64> group{};
        EVP_PKEY_get_utf8_string_param(pkey.get(), OSSL_PKEY_PARAM_GROUP_NAME, group.data(), group.size(), nullptr);
        const std::string_view name(group.data());
        if (name == "prime256v1" || name == "P-256") {
            key->algorithm = "ES256", key->curve = "P-256", key->width = 32, key->digest = EVP_sha256();
        } else if (name == "secp384r1" || name == "P-384") {
            key->algorithm = "ES384", key->curve = "P-384", key->width = 48, key->digest = EVP_sha384();
        } else if (name == "secp521r1" || name == "P-521") {
            key->algorithm = "ES512", key->curve = "P-521", key->width = 66, key->digest = EVP_sha512();
        } else {
            return make_error(Code::kInvalidArgument, "keys on the curve {} are not had", name);
        }
    } else {
        return make_error(Code::kInvalidArgument, "only RSA and elliptic curve keys are had");
    }
    unsigned char* der = nullptr;
    const int length = i2d_PUBKEY(pkey.get(), &der);
    if (length <= 0) return make_error(Code::kInvalidArgument, "the public key cannot be written");
    std::array<unsigned char, EVP_MAX_MD_SIZE> hash{};
    unsigned int hashed = 0;
    EVP_Digest(der, static_cast<std::size_t>(length), hash.data(), &hashed, EVP_sha256(), nullptr);
    OPENSSL_free(der);
    key->id = base64url({reinterpret_cast<const char*>(hash.data()), hashed});
    key->pkey = std::move(pkey);
    return std::shared_ptr<const Key>(std::move(key));
}

// Keys with passwords are not asked for: nobody is there to type one.
int no_password(char*, int, int, void*) { return 0; }

PkeyPtr read_key(std::string_view block, bool private_key) {
    const BioPtr bio(BIO_new_mem_buf(block.data(), static_cast<int>(block.size())));
    if (private_key) return PkeyPtr(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_password, nullptr));
    if (auto* key = PEM_read_bio_PUBKEY(bio.get(), nullptr, no_password, nullptr)) return PkeyPtr(key);
    ERR_clear_error();
    const BioPtr again(BIO_new_mem_buf(block.data(), static_cast<int>(block.size())));
    X509* raw = PEM_read_bio_X509(again.get(), nullptr, no_password, nullptr);
    const std::unique_ptr<X509, Deleter<X509_free>> certificate(raw);
    return PkeyPtr(raw == nullptr ? nullptr : X509_get_pubkey(raw));
}

// Every key of a PEM text; blocks of other kinds (EC PARAMETERS) are passed over.
Result<void> read_keys(std::string_view pem, std::vector<std::shared_ptr<const Key>>* out) {
    std::size_t found = 0;
    for (std::size_t at = pem.find("-----BEGIN "); at != std::string_view::npos;
         at = pem.find("-----BEGIN ", at + 1)) {
        const std::string_view block = pem.substr(at);
        const std::string_view head = block.substr(0, block.find('\n'));
        const bool private_key = head.find("PRIVATE KEY-----") != std::string_view::npos;
        const bool public_key = head.find("PUBLIC KEY-----") != std::string_view::npos ||
                                head.find("CERTIFICATE-----") != std::string_view::npos;
        if (!private_key && !public_key) continue;
        PkeyPtr pkey = read_key(block, private_key);
        ERR_clear_error();
        if (pkey == nullptr) return make_error(Code::kInvalidArgument, "a key cannot be read");
        SLUICE_TRY_ASSIGN(auto key, describe(std::move(pkey)));
        ++found;
        const bool known =
            std::any_of(out->begin(), out->end(), [&](const auto& other) { return other->id == key->id; });
        if (known) continue;
        if (out->size() >= kMaxKeys) {
            return make_error(Code::kResourceExhausted, "there are more than {} keys", kMaxKeys);
        }
        out->push_back(std::move(key));
    }
    if (found == 0) return make_error(Code::kInvalidArgument, "there is no key in PEM");
    return {};
}

// Two numbers side by side, as tokens have it, from the DER that OpenSSL writes, and back.
Result<std::string> flat_signature(std::string_view der, std::size_t width) {
    const unsigned char* at = bytes_of(der);
    const EcdsaPtr signature(d2i_ECDSA_SIG(nullptr, &at, static_cast<long>(der.size())));
    if (signature == nullptr) return make_error(Code::kInternal, "the signature cannot be read");
    return number_bytes(ECDSA_SIG_get0_r(signature.get()), width) +
           number_bytes(ECDSA_SIG_get0_s(signature.get()), width);
}

std::optional<std::string> der_signature(std::string_view flat, std::size_t width) {
    if (flat.size() != 2 * width) return std::nullopt;
    const EcdsaPtr signature(ECDSA_SIG_new());
    ECDSA_SIG_set0(signature.get(), BN_bin2bn(bytes_of(flat), static_cast<int>(width), nullptr),
                   BN_bin2bn(bytes_of(flat.substr(width)), static_cast<int>(width), nullptr));
    unsigned char* der = nullptr;
    const int length = i2d_ECDSA_SIG(signature.get(), &der);
    if (length <= 0) return std::nullopt;
    std::string out(reinterpret_cast<const char*>(der), static_cast<std::size_t>(length));
    OPENSSL_free(der);
    return out;
}

bool verify_with(const Key& key, std::string_view text, std::string_view signature) {
    std::string der;
    if (key.width > 0) {
        auto converted = der_signature(signature, key.width);
        if (!converted) return false;
        der = std::move(*converted);
        signature = der;
    }
    const DigestPtr context(EVP_MD_CTX_new());
    const bool good =
        EVP_DigestVerifyInit(context.get(), nullptr, key.digest, nullptr, key.pkey.get()) == 1 &&
        EVP_DigestVerify(context.get(), bytes_of(signature), signature.size(), bytes_of(text), text.size()) == 1;
    ERR_clear_error();
    return good;
}

std::string jwk(const Key& key) {
    std::string out = fmt::format(R"({{"use":"sig","kty":"{}","kid":"{}",)", key.width > 0 ? "EC" : "RSA", key.id);
    if (key.width > 0) {
        return out + fmt::format(R"("crv":"{}","alg":"{}","x":"{}","y":"{}"}})", key.curve, key.algorithm,
                                 base64url(number_of(key.pkey.get(), OSSL_PKEY_PARAM_EC_PUB_X, key.width)),
                                 base64url(number_of(key.pkey.get(), OSSL_PKEY_PARAM_EC_PUB_Y, key.width)));
    }
    return out + fmt::format(R"("alg":"{}","n":"{}","e":"{}"}})", key.algorithm,
                             base64url(number_of(key.pkey.get(), OSSL_PKEY_PARAM_RSA_N, 0)),
                             base64url(number_of(key.pkey.get(), OSSL_PKEY_PARAM_RSA_E, 0)));
}

Result<std::string> read_file(const std::string& path) {
    SLUICE_TRY_ASSIGN(auto text, pki::read_secret(path));
    if (!text) return make_error(Code::kNotFound, "there is no file {}", path);
    return std::move(*text);
}

// Keys that others may read stay as readable as they are.
Result<std::string> read_public(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) return make_error(Code::kNotFound, "the file {} cannot be read", path);
    std::string text(pki::kMaxFileBytes + 1, '\0');
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<std::size_t>(file.gcount()));
    if (text.size() > pki::kMaxFileBytes) {
        return make_error(Code::kResourceExhausted, "{} is larger than {} bytes", path, pki::kMaxFileBytes);
    }
    return text;
}

Result<std::string> public_pem(const Key& key) {
    const BioPtr bio(BIO_new(BIO_s_mem()));
    char* data = nullptr;
    if (PEM_write_bio_PUBKEY(bio.get(), key.pkey.get()) != 1) {
        return make_error(Code::kInternal, "the public key cannot be written");
    }
    const long length = BIO_get_mem_data(bio.get(), &data);
    return std::string(data, static_cast<std::size_t>(length));
}

}  // namespace

Result<KeyRing> KeyRing::make(const std::string& signing_pem, const std::vector<std::string>& believed_pems) {
    KeyRing ring;
    SLUICE_TRY(read_keys(signing_pem, &ring.keys_));
    if (ring.keys_.size() != 1 || signing_pem.find("PRIVATE KEY-----") == std::string::npos) {
        return make_error(Code::kInvalidArgument, "there must be one private key");
    }
    for (const std::string& pem : believed_pems) SLUICE_TRY(read_keys(pem, &ring.keys_));
    return ring;
}

Result<KeyRing> KeyRing::load(const std::string& directory, const std::string& signing_file,
                              const std::vector<std::string>& key_files) {
    std::string signing;
    const std::string path = signing_file.empty() ? directory + "/sa.key" : signing_file;
    if (signing_file.empty()) {
        SLUICE_TRY_ASSIGN(auto kept, pki::read_secret(path));
        if (!kept) {
            SLUICE_TRY_ASSIGN(kept, make_rsa_key());
            SLUICE_TRY(pki::write_secret(path, *kept));
        }
        signing = std::move(*kept);
    } else {
        SLUICE_TRY_ASSIGN(signing, read_file(path));
    }
    auto ring = make(signing, {});
    if (!ring) return ring.error().with_context(path);
    for (const std::string& file : key_files) {
        SLUICE_TRY_ASSIGN(const std::string pem, read_public(file));
        if (auto read = read_keys(pem, &ring->keys_); !read) return read.error().with_context(file);
    }
    if (signing_file.empty()) {
        SLUICE_TRY_ASSIGN(const std::string pem, public_pem(*ring->keys_.front()));
        SLUICE_TRY(pki::write_secret(directory + "/sa.pub", pem));
    }
    return ring;
}

const std::string& KeyRing::key_id() const { return keys_.front()->id; }
const std::string& KeyRing::algorithm() const { return keys_.front()->algorithm; }

Result<std::string> KeyRing::sign(std::string_view text) const {
    const Key& key = *keys_.front();
    const DigestPtr context(EVP_MD_CTX_new());
    std::size_t length = 0;
    std::string out;
    bool good = EVP_DigestSignInit(context.get(), nullptr, key.digest, nullptr, key.pkey.get()) == 1 &&
                EVP_DigestSign(context.get(), nullptr, &length, bytes_of(text), text.size()) == 1;
    if (good) {
        out.resize(length);
        good = EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(out.data()), &length, bytes_of(text),
                              text.size()) == 1;
        out.resize(length);
    }
    ERR_clear_error();
    if (!good) return make_error(Code::kInternal, "the key {} cannot sign", key.id);
    return key.width > 0 ? flat_signature(out, key.width) : Result<std::string>(std::move(out));
}

bool KeyRing::verify(std::string_view key_id, std::string_view algorithm, std::string_view text,
                     std::string_view signature) const {
    return std::any_of(keys_.begin(), keys_.end(), [&](const auto& key) {
        if (!key_id.empty() && key->id != key_id) return false;
        // The key says what it signs by; a token that says otherwise is not believed.
        return key->algorithm == algorithm && verify_with(*key, text, signature);
    });
}

std::string KeyRing::jwks() const {
    std::string out = R"({"keys":[)";
    for (const auto& key : keys_) {
        if (out.back() != '[') out += ',';
        out += jwk(*key);
    }
    return out + "]}";
}

std::vector<std::string> KeyRing::algorithms() const {
    std::vector<std::string> out;
    for (const auto& key : keys_) {
        if (std::find(out.begin(), out.end(), key->algorithm) == out.end()) out.push_back(key->algorithm);
    }
    std::sort(out.begin(), out.end());
    return out;
}

Result<std::string> make_rsa_key() {
    const PkeyPtr key(EVP_RSA_gen(static_cast<unsigned int>(kRsaBits)));
    const BioPtr bio(BIO_new(BIO_s_mem()));
    if (key == nullptr ||
        PEM_write_bio_PKCS8PrivateKey(bio.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1) {
        ERR_clear_error();
        return make_error(Code::kInternal, "no RSA key can be made");
    }
    char* data = nullptr;
    const long length = BIO_get_mem_data(bio.get(), &data);
    return std::string(data, static_cast<std::size_t>(length));
}

}  // namespace sluice::service_accounts
