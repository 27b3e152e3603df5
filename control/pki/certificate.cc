#include "control/pki/certificate.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <ctime>
#include <memory>

#include "control/pki/asn1_internal.h"
#include "control/pki/request.h"

namespace sluice::pki {
namespace {

struct Deleter {
    void operator()(BIO* p) const { BIO_free(p); }
    void operator()(X509* p) const { X509_free(p); }
    void operator()(EVP_PKEY* p) const { EVP_PKEY_free(p); }
    void operator()(BIGNUM* p) const { BN_free(p); }
    void operator()(X509_EXTENSION* p) const { X509_EXTENSION_free(p); }
    void operator()(GENERAL_NAMES* p) const { GENERAL_NAMES_free(p); }
    void operator()(ASN1_OCTET_STRING* p) const { ASN1_OCTET_STRING_free(p); }
};
template <class T>
using Owned = std::unique_ptr<T, Deleter>;

constexpr std::size_t kSerialBits = 127;  // positive, at most 20 octets (RFC 5280, 4.1.2.2)

Error openssl_error(Code code, std::string_view what) {
    const unsigned long number = ERR_get_error();
    ERR_clear_error();
    const char* reason = number == 0 ? nullptr : ERR_reason_error_string(number);
    return make_error(code, "{}: {}", what, reason == nullptr ? "no reason given" : reason);
}

Result<std::string> text_of(BIO* bio) {
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    if (size <= 0) return openssl_error(Code::kInternal, "cannot write PEM");
    return std::string(data, static_cast<std::size_t>(size));
}

Result<std::string> to_pem(X509* certificate) {
    const Owned<BIO> bio(BIO_new(BIO_s_mem()));
    if (!bio || PEM_write_bio_X509(bio.get(), certificate) != 1) {
        return openssl_error(Code::kInternal, "cannot write a certificate as PEM");
    }
    return text_of(bio.get());
}

Result<std::string> to_pem(EVP_PKEY* key) {
    const Owned<BIO> bio(BIO_new(BIO_s_mem()));
    if (!bio ||
        PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1) {
        return openssl_error(Code::kInternal, "cannot write a private key as PEM");
    }
    return text_of(bio.get());
}

Result<Owned<X509>> parse_certificate(const std::string& pem) {
    const Owned<BIO> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
    Owned<X509> certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
    if (!certificate) return openssl_error(Code::kDataLoss, "no readable PEM certificate");
    return certificate;
}

// An encrypted key must not make OpenSSL ask a terminal for its passphrase.
int no_passphrase(char* /*buffer*/, int /*size*/, int /*writing*/, void* /*user*/) { return -1; }

Result<Owned<EVP_PKEY>> parse_private_key(const std::string& pem) {
    const Owned<BIO> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
    Owned<EVP_PKEY> key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
    if (!key) return openssl_error(Code::kDataLoss, "no readable PEM private key");
    return key;
}

bool add_extension(X509* certificate, X509* issuer, int nid, const char* value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
    const Owned<X509_EXTENSION> extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value));
    return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

bool add_name_entry(X509_NAME* name, int nid, const std::string& value) {
    return X509_NAME_add_entry_by_NID(
               name, nid, MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(value.data()),
               static_cast<int>(value.size()), -1, 0) == 1;
}

bool add_alternative_names(X509* certificate, const CertificateSpec& spec) {
    const Owned<GENERAL_NAMES> names(GENERAL_NAMES_new());
    if (!names) return false;
    const auto add = [&](int type, const void* data, std::size_t size) {
        GENERAL_NAME* name = GENERAL_NAME_new();
        ASN1_STRING* text = ASN1_STRING_type_new(type == GEN_DNS ? V_ASN1_IA5STRING
                                                                 : V_ASN1_OCTET_STRING);
        if (name == nullptr || text == nullptr ||
            ASN1_STRING_set(text, data, static_cast<int>(size)) != 1) {
            ASN1_STRING_free(text);
            GENERAL_NAME_free(name);
            return false;
        }
        GENERAL_NAME_set0_value(name, type, text);
        if (sk_GENERAL_NAME_push(names.get(), name) == 0) {
            GENERAL_NAME_free(name);
            return false;
        }
        return true;
    };
    for (const auto& dns : spec.dns_names) {
        if (!add(GEN_DNS, dns.data(), dns.size())) return false;
    }
    for (const auto& address : spec.addresses) {
        const std::size_t skip = address.is_v4() ? 12 : 0;
        if (!add(GEN_IPADD, address.bytes.data() + skip, address.bytes.size() - skip)) return false;
    }
    return X509_add1_ext_i2d(certificate, NID_subject_alt_name, names.get(), 0,
                             X509V3_ADD_DEFAULT) == 1;
}

// Version, serial number, validity and key: what every certificate here has alike.
Result<Owned<X509>> new_certificate(EVP_PKEY* key, std::int64_t not_before_s,
                                    std::int64_t not_after_s) {
    Owned<X509> certificate(X509_new());
    const Owned<BIGNUM> serial(BN_new());
    if (!certificate || !serial ||
        BN_rand(serial.get(), kSerialBits, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) != 1 ||
        BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(certificate.get())) == nullptr ||
        X509_set_version(certificate.get(), X509_VERSION_3) != 1 ||
        ASN1_TIME_set(X509_getm_notBefore(certificate.get()), not_before_s) == nullptr ||
        ASN1_TIME_set(X509_getm_notAfter(certificate.get()), not_after_s) == nullptr ||
        X509_set_pubkey(certificate.get(), key) != 1) {
        return openssl_error(Code::kInternal, "cannot make a certificate");
    }
    return certificate;
}

}  // namespace

Result<std::string> make_private_key() {
    const Owned<EVP_PKEY> key(EVP_EC_gen("P-256"));
    if (!key) return openssl_error(Code::kInternal, "cannot make a private key");
    return to_pem(key.get());
}

Result<std::string> make_ca_certificate(const std::string& private_key_pem,
                                        const std::string& common_name, std::int64_t now_s,
                                        std::int64_t lifetime_s) {
    SLUICE_TRY_ASSIGN(const auto key, parse_private_key(private_key_pem));
    SLUICE_TRY_ASSIGN(const auto certificate,
                      new_certificate(key.get(), now_s - kBackdateS, now_s + lifetime_s));
    X509* raw = certificate.get();
    if (!add_name_entry(X509_get_subject_name(raw), NID_commonName, common_name) ||
        X509_set_issuer_name(raw, X509_get_subject_name(raw)) != 1 ||
        !add_extension(raw, raw, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
        !add_extension(raw, raw, NID_key_usage, "critical,keyCertSign,cRLSign") ||
        !add_extension(raw, raw, NID_subject_key_identifier, "hash") ||
        X509_sign(raw, key.get(), EVP_sha256()) == 0) {
        return openssl_error(Code::kInternal, "cannot make a CA certificate");
    }
    return to_pem(raw);
}

namespace {

// The certificate for a key, whoever holds its private half.
Result<std::string> certify(const KeyPair& ca, const CertificateSpec& spec, EVP_PKEY* key,
                            std::int64_t now_s) {
    SLUICE_TRY_ASSIGN(const auto ca_certificate, parse_certificate(ca.certificate_pem));
    SLUICE_TRY_ASSIGN(const auto ca_key, parse_private_key(ca.private_key_pem));
    const std::int64_t end = std::min(now_s + spec.lifetime_s,
                                      unix_time(X509_get0_notAfter(ca_certificate.get())));
    SLUICE_TRY_ASSIGN(const auto certificate, new_certificate(key, now_s - kBackdateS, end));

    X509* raw = certificate.get();
    X509_NAME* subject = X509_get_subject_name(raw);
    for (const auto& organization : spec.organizations) {
        if (!add_name_entry(subject, NID_organizationName, organization)) {
            return openssl_error(Code::kInvalidArgument,
                                 fmt::format("\"{}\" cannot be an organization of a certificate",
                                             organization));
        }
    }
    if (!add_name_entry(subject, NID_commonName, spec.common_name)) {
        return openssl_error(
            Code::kInvalidArgument,
            fmt::format("\"{}\" cannot be the name of a certificate", spec.common_name));
    }
    const bool server = spec.usage == CertificateSpec::Usage::kServer;
    const bool names = !spec.dns_names.empty() || !spec.addresses.empty();
    if (X509_set_issuer_name(raw, X509_get_subject_name(ca_certificate.get())) != 1 ||
        !add_extension(raw, ca_certificate.get(), NID_basic_constraints, "critical,CA:FALSE") ||
        !add_extension(raw, ca_certificate.get(), NID_key_usage,
                       EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA
                           ? "critical,digitalSignature,keyEncipherment"
                           : "critical,digitalSignature") ||
        !add_extension(raw, ca_certificate.get(), NID_ext_key_usage,
                       server ? "serverAuth" : "clientAuth") ||
        !add_extension(raw, ca_certificate.get(), NID_authority_key_identifier, "keyid:always") ||
        (names && !add_alternative_names(raw, spec)) ||
        X509_sign(raw, ca_key.get(), EVP_sha256()) == 0) {
        return openssl_error(Code::kInternal, fmt::format("cannot make the certificate of \"{}\"",
                                                          spec.common_name));
    }
    return to_pem(raw);
}

}  // namespace

Result<KeyPair> issue(const KeyPair& ca, const CertificateSpec& spec, std::int64_t now_s) {
    KeyPair pair;
    SLUICE_TRY_ASSIGN(pair.private_key_pem, make_private_key());
    SLUICE_TRY_ASSIGN(const auto key, parse_private_key(pair.private_key_pem));
    SLUICE_TRY_ASSIGN(pair.certificate_pem, certify(ca, spec, key.get(), now_s));
    return pair;
}

Result<std::string> sign(const KeyPair& ca, const CertificateSpec& spec,
                         const std::string& public_key_pem, std::int64_t now_s) {
    const Owned<BIO> bio(
        BIO_new_mem_buf(public_key_pem.data(), static_cast<int>(public_key_pem.size())));
    const Owned<EVP_PKEY> key(PEM_read_bio_PUBKEY(bio.get(), nullptr, no_passphrase, nullptr));
    if (!key) return openssl_error(Code::kDataLoss, "no readable PEM public key");
    return certify(ca, spec, key.get(), now_s);
}

Result<CertificateFacts> read_certificate(const std::string& certificate_pem) {
    SLUICE_TRY_ASSIGN(const auto certificate, parse_certificate(certificate_pem));
    CertificateFacts facts;
    facts.not_before_s = unix_time(X509_get0_notBefore(certificate.get()));
    facts.not_after_s = unix_time(X509_get0_notAfter(certificate.get()));
    facts.is_ca = X509_check_ca(certificate.get()) == 1;
    const X509_NAME* subject = X509_get_subject_name(certificate.get());
    for (int i = 0; i < X509_NAME_entry_count(subject); ++i) {
        const X509_NAME_ENTRY* entry = X509_NAME_get_entry(subject, i);
        const int nid = OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry));
        const std::string value = text_of(X509_NAME_ENTRY_get_data(entry));
        if (nid == NID_commonName) facts.common_name = value;
        if (nid == NID_organizationName) facts.organizations.push_back(value);
    }
    const Owned<GENERAL_NAMES> names(static_cast<GENERAL_NAMES*>(
        X509_get_ext_d2i(certificate.get(), NID_subject_alt_name, nullptr, nullptr)));
    for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
        int type = 0;
        const auto* value = static_cast<const ASN1_STRING*>(
            GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names.get(), i), &type));
        const unsigned char* data = ASN1_STRING_get0_data(value);
        const auto size = static_cast<std::size_t>(ASN1_STRING_length(value));
        if (type == GEN_DNS) {
            facts.dns_names.emplace_back(reinterpret_cast<const char*>(data), size);
        } else if (type == GEN_IPADD && size == 4) {
            std::uint32_t v4_be = 0;
            std::memcpy(&v4_be, data, size);
            facts.addresses.push_back(IpAddress::from_v4_be(v4_be));
        } else if (type == GEN_IPADD && size == 16) {
            std::array<std::uint8_t, 16> bytes{};
            std::memcpy(bytes.data(), data, size);
            facts.addresses.push_back(IpAddress::from_v6(bytes));
        }
    }
    return facts;
}

Result<void> check_authorities(std::string_view pem) {
    // What is longer is not looked at: BIO counts in int.
    constexpr std::size_t kMaxBytes = 16U << 20U;
    if (pem.size() > kMaxBytes) return make_error(Code::kInvalidArgument, "more than {} bytes", kMaxBytes);
    const Owned<BIO> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
    // What is said about a text without any: the first thing that is wrong with it.
    std::string why;
    bool found = false;
    while (!found && BIO_pending(bio.get()) > 0) {
        char* name = nullptr;
        char* header = nullptr;
        unsigned char* data = nullptr;
        long size = 0;
        if (PEM_read_bio(bio.get(), &name, &header, &data, &size) != 1) {
            if (why.empty()) why = "unable to parse bytes as PEM block";
            ERR_clear_error();
            continue;  // behind what it could not read
        }
        if (std::string_view(name) == PEM_STRING_X509 && *header == '\0') {
            const unsigned char* at = data;
            const Owned<X509> certificate(d2i_X509(nullptr, &at, size));
            found = certificate != nullptr && at == data + size;
            if (!found && why.empty()) why = "failed to parse certificate: x509: malformed certificate";
            ERR_clear_error();
        }
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_free(data);
    }
    if (found) return {};
    return make_error(Code::kInvalidArgument, "{}", why.empty() ? "no valid certificate authority data seen" : why);
}

Result<void> check_key_pair(const KeyPair& pair) {
    SLUICE_TRY_ASSIGN(const auto certificate, parse_certificate(pair.certificate_pem));
    SLUICE_TRY_ASSIGN(const auto key, parse_private_key(pair.private_key_pem));
    if (X509_check_private_key(certificate.get(), key.get()) != 1) {
        ERR_clear_error();
        return make_error(Code::kFailedPrecondition, "the private key is not the certificate's");
    }
    return {};
}

Result<bool> is_issued_by(const std::string& certificate_pem, const std::string& ca_pem) {
    SLUICE_TRY_ASSIGN(const auto certificate, parse_certificate(certificate_pem));
    SLUICE_TRY_ASSIGN(const auto ca, parse_certificate(ca_pem));
    EVP_PKEY* key = X509_get0_pubkey(ca.get());
    const bool issued = X509_check_issued(ca.get(), certificate.get()) == X509_V_OK &&
                        key != nullptr && X509_verify(certificate.get(), key) == 1;
    ERR_clear_error();
    return issued;
}

}  // namespace sluice::pki
