#include "control/pki/request.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <array>
#include <cstring>
#include <memory>

#include "control/pki/asn1_internal.h"

namespace sluice::pki {
namespace {

struct Deleter {
    void operator()(BIO* p) const { BIO_free(p); }
    void operator()(X509_REQ* p) const { X509_REQ_free(p); }
    void operator()(GENERAL_NAMES* p) const { GENERAL_NAMES_free(p); }
    void operator()(STACK_OF(X509_EXTENSION)* p) const {
        sk_X509_EXTENSION_pop_free(p, X509_EXTENSION_free);
    }
};
template <class T>
using Owned = std::unique_ptr<T, Deleter>;

Error unreadable(const char* why) {
    ERR_clear_error();
    return make_error(Code::kDataLoss, "{}", why);
}

Result<std::string> public_key_of(EVP_PKEY* key) {
    const Owned<BIO> bio(BIO_new(BIO_s_mem()));
    if (!bio || PEM_write_bio_PUBKEY(bio.get(), key) != 1) {
        return unreadable("the request's key cannot be written");
    }
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio.get(), &data);
    return std::string(data, static_cast<std::size_t>(size));
}

void read_names(const GENERAL_NAMES* names, RequestFacts* facts) {
    for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
        int type = 0;
        const auto* value = static_cast<const ASN1_STRING*>(
            GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &type));
        if (type != GEN_DNS && type != GEN_IPADD) {
            facts->has_other_names = true;
            continue;
        }
        const unsigned char* data = ASN1_STRING_get0_data(value);
        const auto size = static_cast<std::size_t>(ASN1_STRING_length(value));
        if (type == GEN_DNS) {
            facts->dns_names.emplace_back(reinterpret_cast<const char*>(data), size);
        } else if (size == 4) {
            std::uint32_t v4_be = 0;
            std::memcpy(&v4_be, data, size);
            facts->addresses.push_back(IpAddress::from_v4_be(v4_be));
        } else if (size == 16) {
            std::array<std::uint8_t, 16> bytes{};
            std::memcpy(bytes.data(), data, size);
            facts->addresses.push_back(IpAddress::from_v6(bytes));
        } else {
            facts->has_other_names = true;
        }
    }
}

}  // namespace

Result<RequestFacts> read_request(const std::string& pem) {
    if (pem.size() > kMaxRequestBytes) return unreadable("the request is too large");
    const Owned<BIO> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
    const Owned<X509_REQ> request(PEM_read_bio_X509_REQ(bio.get(), nullptr, nullptr, nullptr));
    if (!request) return unreadable("it holds no PEM certificate request");
    EVP_PKEY* key = X509_REQ_get0_pubkey(request.get());
    if (key == nullptr || X509_REQ_verify(request.get(), key) != 1) {
        return unreadable("its signature is not that of its own key");
    }
    if (EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA && EVP_PKEY_get_bits(key) < kMinRsaBits) {
        return unreadable("its RSA key has fewer than 2048 bits");
    }
    RequestFacts facts;
    SLUICE_TRY_ASSIGN(facts.public_key_pem, public_key_of(key));
    const X509_NAME* subject = X509_REQ_get_subject_name(request.get());
    for (int i = 0; i < X509_NAME_entry_count(subject); ++i) {
        const X509_NAME_ENTRY* entry = X509_NAME_get_entry(subject, i);
        const std::string value = text_of(X509_NAME_ENTRY_get_data(entry));
        switch (OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry))) {
            case NID_commonName:
                // Two names would let one be checked and the other be used.
                if (!facts.common_name.empty()) facts.has_other_names = true;
                facts.common_name = value;
                break;
            case NID_organizationName: facts.organizations.push_back(value); break;
            default: facts.has_other_names = true;
        }
    }
    const Owned<STACK_OF(X509_EXTENSION)> extensions(X509_REQ_get_extensions(request.get()));
    if (extensions) {
        const Owned<GENERAL_NAMES> names(static_cast<GENERAL_NAMES*>(
            X509V3_get_d2i(extensions.get(), NID_subject_alt_name, nullptr, nullptr)));
        if (names) read_names(names.get(), &facts);
        // Present, but unreadable or there twice.
        if (!names && X509v3_get_ext_by_NID(extensions.get(), NID_subject_alt_name, -1) >= 0) {
            return unreadable("its alternative names cannot be read");
        }
    }
    ERR_clear_error();
    return facts;
}

}  // namespace sluice::pki
