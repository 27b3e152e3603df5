#include "control/apiserver/registry/validation/certificate.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <algorithm>
#include <memory>
#include <set>

#include "api/kubernetes/certificates/v1/certificatesigningrequest.pb.h"
#include "control/apiserver/registry/validation/names.h"

namespace sluice::registry {

namespace {

namespace certv1 = ::k8s::io::api::certificates::v1;

constexpr std::int32_t kMinSeconds = 600;
constexpr std::size_t kMaxPemBytes = 1U << 20U;

constexpr std::string_view kUsages[] = {
    "any",           "cert sign",        "client auth",     "code signing",
    "content commitment", "crl sign",    "data encipherment", "decipher only",
    "digital signature", "email protection", "encipher only", "ipsec end system",
    "ipsec tunnel",  "ipsec user",       "key agreement",   "key encipherment",
    "microsoft sgc", "netscape sgc",     "ocsp signing",    "s/mime",
    "server auth",   "signing",          "timestamping",
};

using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;
using Request = std::unique_ptr<X509_REQ, decltype(&X509_REQ_free)>;
using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;

Bio reader(const std::string& text) {
    return {BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), &BIO_free};
}

// Empty: the request can be read and is signed with its own key.
std::string request_problem(const std::string& pem) {
    constexpr const char* kNotPem = "PEM block type must be CERTIFICATE REQUEST";
    if (pem.size() > kMaxPemBytes) return "must not be larger than 1 MiB";
    const Bio bio = reader(pem);
    if (bio == nullptr) return kNotPem;
    const Request request(PEM_read_bio_X509_REQ(bio.get(), nullptr, nullptr, nullptr),
                          &X509_REQ_free);
    std::string problem;
    if (request == nullptr) {
        problem = kNotPem;
    } else {
        EVP_PKEY* key = X509_REQ_get0_pubkey(request.get());
        if (key == nullptr || X509_REQ_verify(request.get(), key) != 1) {
            problem = "the signature does not fit the public key";
        }
    }
    ERR_clear_error();
    return problem;
}

void check_signer_name(const std::string& name, FieldErrors* errors) {
    const std::string field = "spec.signerName";
    if (name.empty()) return errors->required(field);
    const std::size_t slash = name.find('/');
    const std::string domain = name.substr(0, slash);
    const std::string path = slash == std::string::npos ? "" : name.substr(slash + 1);
    if (path.empty() || path.find('/') != std::string::npos) {
        return errors->invalid(field, name,
                               "must be a fully qualified domain and path of the form "
                               "'example.com/signer-name'");
    }
    errors->invalid_all(field, domain, check_dns1123_subdomain(domain));
    if (domain.find('.') == std::string::npos) {
        errors->invalid(field, domain, "should be a domain with at least two segments separated "
                                       "by dots");
    }
    errors->invalid_all(field, path, check_dns1123_subdomain(path));
}

}  // namespace

void validate_certificate_request(const certv1::CertificateSigningRequest& object,
                                  FieldErrors* errors) {
    const auto& spec = object.spec();
    if (const std::string why = request_problem(spec.request()); !why.empty()) {
        errors->invalid("spec.request", BadValue::verbatim("[]byte{...}"), why);
    }
    if (spec.usages_size() == 0) errors->required("spec.usages");
    std::set<std::string> seen;
    for (int i = 0; i < spec.usages_size(); ++i) {
        const std::string& usage = spec.usages(i);
        const std::string at = field_index("spec.usages", i);
        if (std::find(std::begin(kUsages), std::end(kUsages), usage) == std::end(kUsages)) {
            errors->not_supported(at, usage,
                                  {"any", "cert sign", "client auth", "code signing",
                                   "content commitment", "crl sign", "data encipherment",
                                   "decipher only", "digital signature", "email protection",
                                   "encipher only", "ipsec end system", "ipsec tunnel",
                                   "ipsec user", "key agreement", "key encipherment",
                                   "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime",
                                   "server auth", "signing", "timestamping"});
        } else if (!seen.insert(usage).second) {
            errors->duplicate(at, usage);
        }
    }
    check_signer_name(spec.signername(), errors);
    if (spec.has_expirationseconds() && spec.expirationseconds() < kMinSeconds) {
        errors->invalid("spec.expirationSeconds", spec.expirationseconds(),
                        "may not specify a duration less than 600 seconds (10 minutes)");
    }
}

void validate_certificate_chain(const std::string& pem, const std::string& field,
                                FieldErrors* errors) {
    const BadValue shown = BadValue::verbatim("\"<certificate data>\"");
    if (pem.size() > kMaxPemBytes) return errors->too_long(field, kMaxPemBytes);
    const Bio bio = reader(pem);
    int count = 0;
    while (bio != nullptr) {
        const Certificate certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr),
                                      &X509_free);
        if (certificate == nullptr) break;
        ++count;
    }
    // The end of the text is "no start line"; anything else is a block that cannot be read.
    const bool broken = ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE;
    ERR_clear_error();
    if (count == 0) {
        errors->invalid(field, shown, "must contain at least one CERTIFICATE PEM block");
    } else if (broken) {
        errors->invalid(field, shown, "only CERTIFICATE PEM blocks are allowed");
    }
}

}  // namespace sluice::registry
