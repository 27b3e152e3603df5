// Validation of CertificateSigningRequests: the PKCS #10 document, the signer's name, the usages. Pure and thread-safe.
#pragma once

#include <string>

#include "control/apiserver/registry/validation/field_errors.h"

namespace k8s::io::api::certificates::v1 {
class CertificateSigningRequest;
}

namespace sluice::registry {

// spec, whose request must be PEM and signed with the key it names.
void validate_certificate_request(
    const ::k8s::io::api::certificates::v1::CertificateSigningRequest& object,
    FieldErrors* errors);
// One or more CERTIFICATE blocks of PEM.
void validate_certificate_chain(const std::string& pem, const std::string& field,
                                FieldErrors* errors);

}  // namespace sluice::registry
