#include "control/http/tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <ctime>

#include "control/pki/asn1_internal.h"

namespace sluice::http {
namespace {

struct Deleter {
    void operator()(BIO* bio) const { BIO_free(bio); }
    void operator()(X509* certificate) const { X509_free(certificate); }
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
template <class T>
using Owned = std::unique_ptr<T, Deleter>;

std::string openssl_reason() {
    const unsigned long code = ERR_get_error();
    ERR_clear_error();
    const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
    return reason == nullptr ? "no reason given" : reason;
}

Owned<BIO> reader(const std::string& text) {
    return Owned<BIO>(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

constexpr unsigned char kBothProtocols[] = {2,   'h', '2', 8,   'h', 't',
                                           't', 'p', '/', '1', '.', '1'};
constexpr std::size_t kHttp2Bytes = 3;  // of it

// The first protocol of the server's that the client speaks too. Without a common one the handshake is refused, as
// RFC 7301 wants it, rather than answered in a protocol that the client did not offer.
int select_alpn(SSL* /*ssl*/, const unsigned char** out, unsigned char* out_length,
                const unsigned char* in, unsigned int in_length, void* argument) {
    const std::size_t skip = argument == nullptr ? kHttp2Bytes : 0;
    unsigned char* chosen = nullptr;
    if (SSL_select_next_proto(&chosen, out_length, kBothProtocols + skip,
                              static_cast<unsigned>(sizeof(kBothProtocols) - skip), in,
                              in_length) != OPENSSL_NPN_NEGOTIATED) {
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

// Lets the handshake go on; the verdict stays in SSL_get_verify_result and is read afterwards.
int keep_verdict(int /*preverified*/, X509_STORE_CTX* /*context*/) { return 1; }

Result<void> use_certificate_chain(SSL_CTX* context, const std::string& pem) {
    const auto bio = reader(pem);
    Owned<X509> leaf(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
    if (!leaf || SSL_CTX_use_certificate(context, leaf.get()) != 1) {
        return make_error(Code::kInvalidArgument, "the server certificate cannot be used: {}",
                          openssl_reason());
    }
    while (X509* issuer = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
        if (SSL_CTX_add0_chain_cert(context, issuer) != 1) {
            X509_free(issuer);
            return make_error(Code::kInvalidArgument,
                              "the server certificate's chain cannot be used: {}",
                              openssl_reason());
        }
    }
    ERR_clear_error();
    return {};
}

Result<void> use_client_ca(SSL_CTX* context, const std::string& pem) {
    const auto bio = reader(pem);
    X509_STORE* store = SSL_CTX_get_cert_store(context);
    int count = 0;
    while (true) {
        const Owned<X509> ca(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
        if (!ca) break;
        // Tells clients which certificates are useful, so that one with several picks the right one.
        if (X509_STORE_add_cert(store, ca.get()) != 1 ||
            SSL_CTX_add_client_CA(context, ca.get()) != 1) {
            return make_error(Code::kInvalidArgument, "the client CA cannot be used: {}",
                              openssl_reason());
        }
        ++count;
    }
    ERR_clear_error();
    if (count == 0) {
        return make_error(Code::kInvalidArgument, "the client CA holds no certificate");
    }
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, keep_verdict);
    return {};
}

}  // namespace

bool speaks_http2(const ssl_st* ssl) {
    const unsigned char* protocol = nullptr;
    unsigned int length = 0;
    SSL_get0_alpn_selected(ssl, &protocol, &length);
    return length == 2 && protocol[0] == 'h' && protocol[1] == '2';
}

void SslContextDeleter::operator()(ssl_ctx_st* context) const { SSL_CTX_free(context); }

Result<SslContext> make_server_context(const ServerOptions& options) {
    SslContext context(SSL_CTX_new(TLS_server_method()));
    if (!context) {
        return make_error(Code::kResourceExhausted, "cannot make a TLS context: {}",
                          openssl_reason());
    }
    SSL_CTX* raw = context.get();
    SSL_CTX_set_min_proto_version(raw, TLS1_2_VERSION);
    SSL_CTX_set_options(raw, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(raw, 0);
    // Idle connections give their record buffers back: 10,000 of them would hold 340 MB otherwise.
    SSL_CTX_set_mode(raw, SSL_MODE_RELEASE_BUFFERS);
    if (SSL_CTX_set_cipher_list(raw, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1) {
        return make_error(Code::kInternal, "cannot choose TLS ciphers: {}", openssl_reason());
    }
    static char with_http2 = 0;  // only its address matters
    SSL_CTX_set_alpn_select_cb(raw, select_alpn, options.http2 ? &with_http2 : nullptr);
    SLUICE_TRY(use_certificate_chain(raw, options.certificate_pem));
    const auto bio = reader(options.private_key_pem);
    const Owned<EVP_PKEY> key(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr));
    if (!key || SSL_CTX_use_PrivateKey(raw, key.get()) != 1 ||
        SSL_CTX_check_private_key(raw) != 1) {
        return make_error(Code::kInvalidArgument,
                          "the server's private key does not fit its certificate: {}",
                          openssl_reason());
    }
    if (!options.client_ca_pem.empty()) SLUICE_TRY(use_client_ca(raw, options.client_ca_pem));
    return context;
}

CertificateIdentity certificate_identity(const ssl_st* ssl) {
    CertificateIdentity out;
    const X509* certificate = SSL_get0_peer_certificate(ssl);
    if (certificate == nullptr) return out;
    out.presented = true;
    if (SSL_get_verify_result(ssl) != X509_V_OK) return out;
    out.not_after_s = pki::unix_time(X509_get0_notAfter(certificate));
    const X509_NAME* subject = X509_get_subject_name(certificate);
    for (int i = 0; i < X509_NAME_entry_count(subject); ++i) {
        const X509_NAME_ENTRY* entry = X509_NAME_get_entry(subject, i);
        const int nid = OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry));
        const ASN1_STRING* value = X509_NAME_ENTRY_get_data(entry);
        if (nid == NID_commonName) out.identity.user = pki::text_of(value);
        if (nid == NID_organizationName) out.identity.groups.push_back(pki::text_of(value));
    }
    return out;
}

}  // namespace sluice::http
