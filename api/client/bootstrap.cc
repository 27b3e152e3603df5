#include "api/client/bootstrap.h"

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <memory>

#include "api/base/base64url.h"

namespace sluice::client {
namespace {

constexpr std::size_t kIdSize = 6;
constexpr std::size_t kSecretSize = 16;
constexpr std::string_view kAlphabet = "0123456789abcdefghijklmnopqrstuvwxyz";
constexpr std::string_view kPinPrefix = "sha256:";
constexpr int kMaxCaCertificates = 100;

struct Deleter {
    void operator()(BIO* p) const { BIO_free(p); }
    void operator()(X509* p) const { X509_free(p); }
    void operator()(X509_REQ* p) const { X509_REQ_free(p); }
    void operator()(EVP_PKEY* p) const { EVP_PKEY_free(p); }
    void operator()(GENERAL_NAMES* p) const { GENERAL_NAMES_free(p); }
    void operator()(STACK_OF(X509_EXTENSION)* p) const {
        sk_X509_EXTENSION_pop_free(p, X509_EXTENSION_free);
    }
};
template <class T>
using Owned = std::unique_ptr<T, Deleter>;

Error failed(Code code, std::string_view what) {
    ERR_clear_error();
    return make_error(code, "{}", what);
}

int no_passphrase(char* /*buffer*/, int /*size*/, int /*writing*/, void* /*user*/) { return -1; }

Owned<BIO> reader(const std::string& text) {
    return Owned<BIO>(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

Owned<EVP_PKEY> parse_key(const std::string& pem) {
    const auto bio = reader(pem);
    return Owned<EVP_PKEY>(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
}

std::string written(BIO* bio) {
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    return size <= 0 ? std::string() : std::string(data, static_cast<std::size_t>(size));
}

std::vector<Owned<X509>> parse_certificates(const std::string& pem) {
    std::vector<Owned<X509>> out;
    const auto bio = reader(pem);
    while (static_cast<int>(out.size()) < kMaxCaCertificates) {
        Owned<X509> next(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
        if (!next) break;
        out.push_back(std::move(next));
    }
    ERR_clear_error();
    return out;
}

std::string pin_of(X509* certificate) {
    unsigned char* der = nullptr;
    const int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
    if (size <= 0) return {};
    const std::string bytes(reinterpret_cast<const char*>(der), static_cast<std::size_t>(size));
    OPENSSL_free(der);
    return std::string(kPinPrefix) + sha256_hex(bytes);
}

std::string signature_of(std::string_view header, std::string_view payload,
                         const BootstrapToken& token) {
    const std::string input = std::string(header) + "." + base64url(payload);
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned int size = 0;
    if (HMAC(EVP_sha256(), token.secret.data(), static_cast<int>(token.secret.size()),
             reinterpret_cast<const unsigned char*>(input.data()), input.size(), digest.data(),
             &size) == nullptr) {
        return {};
    }
    return base64url({reinterpret_cast<const char*>(digest.data()), size});
}

// The one header that signers of cluster-info write; kid is the token's id.
std::string header_of(const BootstrapToken& token) {
    return base64url(R"({"alg":"HS256","kid":")" + token.id + R"("})");
}

bool add_name(X509_NAME* name, int nid, const std::string& value) {
    return X509_NAME_add_entry_by_NID(name, nid, MBSTRING_UTF8,
                                      reinterpret_cast<const unsigned char*>(value.data()),
                                      static_cast<int>(value.size()), -1, 0) == 1;
}

bool add_alternative_names(X509_REQ* request, const RequestSpec& spec) {
    const Owned<GENERAL_NAMES> names(GENERAL_NAMES_new());
    const auto add = [&](int type, int asn1_type, const void* data, std::size_t size) {
        GENERAL_NAME* name = GENERAL_NAME_new();
        ASN1_STRING* text = ASN1_STRING_type_new(asn1_type);
        if (name == nullptr || text == nullptr ||
            ASN1_STRING_set(text, data, static_cast<int>(size)) != 1) {
            ASN1_STRING_free(text);
            GENERAL_NAME_free(name);
            return false;
        }
        GENERAL_NAME_set0_value(name, type, text);
        if (sk_GENERAL_NAME_push(names.get(), name) != 0) return true;
        GENERAL_NAME_free(name);
        return false;
    };
    for (const auto& dns : spec.dns_names) {
        if (!add(GEN_DNS, V_ASN1_IA5STRING, dns.data(), dns.size())) return false;
    }
    for (const auto& address : spec.addresses) {
        const std::size_t skip = address.is_v4() ? 12 : 0;
        if (!add(GEN_IPADD, V_ASN1_OCTET_STRING, address.bytes.data() + skip,
                 address.bytes.size() - skip)) {
            return false;
        }
    }
    STACK_OF(X509_EXTENSION)* raw = nullptr;
    const bool added = X509V3_add1_i2d(&raw, NID_subject_alt_name, names.get(), 0,
                                       X509V3_ADD_DEFAULT) == 1;
    const Owned<STACK_OF(X509_EXTENSION)> extensions(raw);
    return added && X509_REQ_add_extensions(request, extensions.get()) == 1;
}

std::int64_t unix_time(const ASN1_TIME* time) {
    std::tm parts{};
    return ASN1_TIME_to_tm(time, &parts) == 1 ? static_cast<std::int64_t>(timegm(&parts)) : 0;
}

}  // namespace

Result<BootstrapToken> parse_bootstrap_token(std::string_view text) {
    const auto valid = [](std::string_view part, std::size_t size) {
        return part.size() == size && part.find_first_not_of(kAlphabet) == std::string_view::npos;
    };
    const std::size_t dot = text.find('.');
    if (dot == std::string_view::npos || !valid(text.substr(0, dot), kIdSize) ||
        !valid(text.substr(dot + 1), kSecretSize)) {
        // The text itself may be a secret with a typing error, and is not repeated.
        return make_error(Code::kInvalidArgument,
                          "a bootstrap token is ID.SECRET, 6 and 16 characters of a-z and 0-9");
    }
    return BootstrapToken{std::string(text.substr(0, dot)), std::string(text.substr(dot + 1))};
}

Result<BootstrapToken> make_bootstrap_token() {
    // Bytes beyond the last whole multiple of the alphabet are drawn again: all characters are
    // equally likely.
    constexpr unsigned kLimit = 256 - 256 % 36;
    std::string out;
    while (out.size() < kIdSize + kSecretSize) {
        unsigned char byte = 0;
        if (RAND_bytes(&byte, 1) != 1) return failed(Code::kInternal, "there are no random numbers");
        if (byte < kLimit) out.push_back(kAlphabet[byte % kAlphabet.size()]);
    }
    return BootstrapToken{out.substr(0, kIdSize), out.substr(kIdSize)};
}

Result<std::string> ca_pin(const std::string& ca_pem) {
    const auto certificates = parse_certificates(ca_pem);
    if (certificates.empty()) {
        return failed(Code::kDataLoss, "no readable PEM certificate of an authority");
    }
    return pin_of(certificates.front().get());
}

Result<bool> matches_pin(const std::string& ca_pem, const std::string& pin) {
    if (!pin.starts_with(kPinPrefix) || pin.size() != kPinPrefix.size() + 64 ||
        pin.find_first_not_of("0123456789abcdefABCDEF", kPinPrefix.size()) != std::string::npos) {
        return make_error(Code::kInvalidArgument,
                          "\"{}\" is no pin of an authority: sha256: and 64 hex digits", pin);
    }
    std::string wanted = pin;
    std::transform(wanted.begin(), wanted.end(), wanted.begin(), [](char c) {
        return c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    const auto certificates = parse_certificates(ca_pem);
    return std::any_of(certificates.begin(), certificates.end(),
                       [&](const auto& item) { return pin_of(item.get()) == wanted; });
}

Result<std::string> sign_detached(std::string_view payload, const BootstrapToken& token) {
    const std::string header = header_of(token);
    const std::string signature = signature_of(header, payload, token);
    if (signature.empty()) return failed(Code::kInternal, "cannot compute a signature");
    return header + ".." + signature;
}

bool verify_detached(std::string_view payload, std::string_view signature,
                     const BootstrapToken& token) {
    const std::size_t dots = signature.find("..");
    if (dots == std::string_view::npos) return false;
    // Only HS256 is computed, whatever the header claims; the header is part of what is signed.
    const std::string wanted = signature_of(signature.substr(0, dots), payload, token);
    return !wanted.empty() && equal_in_constant_time(signature.substr(dots + 2), wanted);
}

bool equal_in_constant_time(std::string_view a, std::string_view b) {
    return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

Result<std::string> make_key_pem() {
    const Owned<EVP_PKEY> key(EVP_EC_gen("P-256"));
    const Owned<BIO> bio(BIO_new(BIO_s_mem()));
    if (!key || !bio ||
        PEM_write_bio_PKCS8PrivateKey(bio.get(), key.get(), nullptr, nullptr, 0, nullptr,
                                      nullptr) != 1) {
        return failed(Code::kInternal, "cannot make a private key");
    }
    return written(bio.get());
}

Result<std::string> make_request_pem(const std::string& key_pem, const RequestSpec& spec) {
    const auto key = parse_key(key_pem);
    if (!key) return failed(Code::kDataLoss, "no readable PEM private key");
    const Owned<X509_REQ> request(X509_REQ_new());
    const Owned<BIO> bio(BIO_new(BIO_s_mem()));
    X509_NAME* subject = request ? X509_REQ_get_subject_name(request.get()) : nullptr;
    const bool names = !spec.dns_names.empty() || !spec.addresses.empty();
    if (!bio || subject == nullptr || X509_REQ_set_version(request.get(), X509_REQ_VERSION_1) != 1 ||
        !add_name(subject, NID_organizationName, spec.organization) ||
        !add_name(subject, NID_commonName, spec.common_name) ||
        X509_REQ_set_pubkey(request.get(), key.get()) != 1 ||
        (names && !add_alternative_names(request.get(), spec)) ||
        X509_REQ_sign(request.get(), key.get(), EVP_sha256()) == 0 ||
        PEM_write_bio_X509_REQ(bio.get(), request.get()) != 1) {
        return failed(Code::kInvalidArgument,
                      fmt::format("cannot make a certificate request for \"{}\"", spec.common_name));
    }
    return written(bio.get());
}

Result<CertificateState> read_certificate_state(const std::string& certificate_pem,
                                                const std::string& key_pem,
                                                const std::string& ca_pem) {
    const auto certificates = parse_certificates(certificate_pem);
    if (certificates.empty()) return failed(Code::kDataLoss, "no readable PEM certificate");
    X509* certificate = certificates.front().get();
    CertificateState out;
    out.not_before_s = unix_time(X509_get0_notBefore(certificate));
    out.not_after_s = unix_time(X509_get0_notAfter(certificate));
    std::array<char, 256> name{};
    const int size = X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName,
                                               name.data(), static_cast<int>(name.size()));
    if (size > 0) out.common_name.assign(name.data(), static_cast<std::size_t>(size));
    const auto key = parse_key(key_pem);
    const bool own = key && X509_check_private_key(certificate, key.get()) == 1;
    const auto authorities = parse_certificates(ca_pem);
    out.fits = own && std::any_of(authorities.begin(), authorities.end(), [&](const auto& ca) {
                   return X509_verify(certificate, X509_get0_pubkey(ca.get())) == 1;
               });
    ERR_clear_error();
    return out;
}

std::string sha256_hex(std::string_view bytes) {
    std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
    SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest.data());
    constexpr std::string_view kHex = "0123456789abcdef";
    std::string out;
    for (const unsigned char byte : digest) {
        out.push_back(kHex[byte >> 4U]);
        out.push_back(kHex[byte & 15U]);
    }
    return out;
}

std::string base64_text(std::string_view bytes) {
    std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');  // EVP_EncodeBlock adds a NUL
    const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                     reinterpret_cast<const unsigned char*>(bytes.data()),
                                     static_cast<int>(bytes.size()));
    out.resize(static_cast<std::size_t>(size));
    return out;
}

}  // namespace sluice::client
