// What certificates hold, as values: shared by the makers of certificates and by the server that reads its clients'.
// Private to control/apiserver, for it needs OpenSSL's headers.
#pragma once

#include <openssl/asn1.h>
#include <openssl/crypto.h>
#include <openssl/err.h>

#include <cstdint>
#include <ctime>
#include <string>

namespace sluice::pki {

// As UTF-8; empty if it cannot be converted.
inline std::string text_of(const ASN1_STRING* value) {
    unsigned char* utf8 = nullptr;
    const int length = ASN1_STRING_to_UTF8(&utf8, value);
    if (length < 0) {
        ERR_clear_error();
        return {};
    }
    std::string text(reinterpret_cast<const char*>(utf8), static_cast<std::size_t>(length));
    OPENSSL_free(utf8);
    return text;
}

// Seconds since 1970; 0 if it is malformed.
inline std::int64_t unix_time(const ASN1_TIME* time) {
    std::tm parts{};
    if (ASN1_TIME_to_tm(time, &parts) != 1) return 0;
    return static_cast<std::int64_t>(timegm(&parts));
}

}  // namespace sluice::pki
