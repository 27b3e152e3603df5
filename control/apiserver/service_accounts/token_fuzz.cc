// Fuzzes tokens of service accounts: nothing that was not signed here is believed, and what a signed payload says, if
// it can be read, says the same once written and read again.
#include <openssl/ec.h>
#include <openssl/pem.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "api/base/base64url.h"
#include "control/apiserver/service_accounts/claims.h"

namespace {

using namespace sluice::service_accounts;  // NOLINT: the whole program is about it
using sluice::base64url;

std::string new_key() {
    const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(EVP_EC_gen("P-256"), EVP_PKEY_free);
    const std::unique_ptr<BIO, decltype(&BIO_free)> out(BIO_new(BIO_s_mem()), BIO_free);
    SLUICE_ASSERT(key);
    SLUICE_ASSERT(PEM_write_bio_PKCS8PrivateKey(out.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1);
    char* text = nullptr;
    const long size = BIO_get_mem_data(out.get(), &text);
    return {text, static_cast<std::size_t>(size)};
}

const KeyRing& keys() {
    static const KeyRing* const ring = new KeyRing(*KeyRing::make(new_key(), {}));
    return *ring;
}

bool same(const Reference& a, const Reference& b) {
    // Without a name it refers to nothing, and is not written.
    return a.empty() ? b.empty() : a.name == b.name && a.uid == b.uid;
}

void comes_back(const Claims& claims) {
    const auto token = write_token(claims, keys());
    SLUICE_ASSERT(token);
    if (token->size() > kMaxTokenBytes) return;
    const auto again = read_token(*token, keys());
    SLUICE_ASSERT(again && again->issuer == claims.issuer && again->subject == claims.subject);
    SLUICE_ASSERT(again->name_space == claims.name_space && again->legacy == claims.legacy);
    SLUICE_ASSERT(claims.legacy || (again->audiences == claims.audiences && again->expires_s == claims.expires_s));
    SLUICE_ASSERT(claims.legacy || (same(claims.account, again->account) && same(claims.pod, again->pod)));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    SLUICE_ASSERT(!read_token(text, keys()));
    (void)claimed_issuer(text);
    // The same as the payload of a token that is signed, which is how far forged claims would have to come.
    const std::string signer = R"({"alg":")" + keys().algorithm() + R"(","kid":")" + keys().key_id() + R"("})";
    const std::string head = base64url(signer) + "." + base64url(text);
    const auto signature = keys().sign(head);
    SLUICE_ASSERT(signature);
    const auto claims = read_token(head + "." + base64url(*signature), keys());
    if (claims) comes_back(*claims);
    // And with a byte of the signature changed.
    std::string forged = *signature;
    forged[size % forged.size()] = static_cast<char>(forged[size % forged.size()] ^ 1);
    SLUICE_ASSERT(!read_token(head + "." + base64url(forged), keys()));
    return 0;
}
