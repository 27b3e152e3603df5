// The server's side of TLS: the OpenSSL context, and what a client certificate says about its client.
// Private to this folder: OpenSSL types appear here only by their forward declarations.
#pragma once

#include <cstdint>
#include <memory>

#include "control/http/server.h"

struct ssl_st;
struct ssl_ctx_st;

namespace sluice::http {

struct SslContextDeleter {
    void operator()(ssl_ctx_st* context) const;
};
using SslContext = std::unique_ptr<ssl_ctx_st, SslContextDeleter>;

// TLS 1.2 or later, ALPN h2 and http/1.1, client certificates asked for. A certificate that does not verify does
// not end the handshake: as with kube-apiserver the client then gets a 401 that says so in HTTP.
// Sessions are not resumed, so that every connection's certificate has been checked.
Result<SslContext> make_server_context(const ServerOptions& options);

// REQUIRES: the handshake is complete.
[[nodiscard]] bool speaks_http2(const ssl_st* ssl);

struct CertificateIdentity {
    Identity identity;       // CN and every O; empty without a certificate that verified
    bool presented = false;  // there was a certificate, whether it verified or not
    std::int64_t not_after_s = 0;  // Unix time; the identity ends with the certificate
};
// REQUIRES: the handshake is complete.
[[nodiscard]] CertificateIdentity certificate_identity(const ssl_st* ssl);

}  // namespace sluice::http
