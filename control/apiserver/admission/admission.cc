#include "control/apiserver/admission/admission.h"

#include <fmt/format.h>
#include <google/protobuf/message.h>

#include "api/kubernetes/certificates/v1/certificatesigningrequest.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/authorization/escalation.h"
#include "control/apiserver/registry/validation/field_errors.h"

namespace sluice::admission {
namespace {

namespace certificatesv1 = ::k8s::io::api::certificates::v1;

using authorization::Attributes;
using authorization::Authorizer;
using registry::AdmissionRequest;
using registry::Answer;
using registry::Operation;
using registry::refuse;

// `domain/name`, or all signers of the domain.
bool may_with_signer(const Authorizer& authorizer, const http::Identity& user, const char* verb,
                     const std::string& signer) {
    Attributes asked;
    asked.user = user;
    asked.verb = verb;
    asked.is_resource = true;
    asked.group = "certificates.k8s.io";
    asked.version = "*";
    asked.resource = "signers";
    asked.name = signer;
    if (authorizer.authorize(asked).allowed) return true;
    asked.name = signer.substr(0, signer.find('/')) + "/*";
    return authorizer.authorize(asked).allowed;
}

}  // namespace

Answer<void> check_grants(const Authorizer& authorizer, const AdmissionRequest& request) {
    if (request.object == nullptr || request.kind.gvk.group != "rbac.authorization.k8s.io") return {};
    const auto found =
        authorization::check_escalation(authorizer, request.user, *request.object, request.old);
    if (!found.refused) return {};
    if (found.role_missing) {
        return refuse(
            registry::not_found(request.kind.gvk.group, found.missing_resource, found.missing_role));
    }
    return refuse(registry::forbidden(request.kind, request.name, found.message));
}

Answer<void> check_certificates(const Authorizer& authorizer, const AdmissionRequest& request) {
    if (request.object == nullptr || request.old == nullptr ||
        request.object->GetDescriptor() != certificatesv1::CertificateSigningRequest::descriptor()) {
        return {};
    }
    const auto& now = static_cast<const certificatesv1::CertificateSigningRequest&>(*request.object);
    const auto& old = static_cast<const certificatesv1::CertificateSigningRequest&>(*request.old);
    // What the signer is, the stored object says.
    const std::string& signer = old.spec().signername();
    if (request.subresource == "approval") {
        if (may_with_signer(authorizer, request.user, "approve", signer)) return {};
        return refuse(registry::forbidden(
            request.kind, request.name,
            fmt::format("user not permitted to approve requests with signerName {}",
                        registry::go_quote(signer))));
    }
    if (request.subresource == "status") {
        if (now.status().certificate() == old.status().certificate()) return {};
        if (may_with_signer(authorizer, request.user, "sign", signer)) return {};
        return refuse(registry::forbidden(request.kind, request.name,
                                          fmt::format("user not permitted to sign requests with signerName {}",
                                                      registry::go_quote(signer))));
    }
    return {};
}

Answer<void> check_creation(const Authorizer& authorizer, const AdmissionRequest& request) {
    if (request.old != nullptr || request.operation != Operation::kCreate ||
        request.verb == registry::Verb::kCreate) {
        return {};
    }
    Attributes asked;
    asked.user = request.user;
    asked.verb = "create";
    asked.is_resource = true;
    asked.group = request.kind.gvk.group;
    asked.version = request.kind.gvk.version;
    asked.resource = request.kind.resource;
    asked.subresource = request.subresource;
    asked.namespace_name = request.name_space;
    asked.name = request.name;
    const auto decision = authorizer.authorize(asked);
    if (decision.allowed) return {};
    registry::StatusError error = registry::forbidden(request.kind, request.name, "");
    error.message = authorization::refusal(asked);
    if (!decision.reason.empty()) error.message += ": " + decision.reason;
    return refuse(std::move(error));
}

Answer<void> Plugins::check(const AdmissionRequest& request) const {
    if (auto ok = check_creation(authorizer_, request); !ok) return ok;
    if (auto ok = check_grants(authorizer_, request); !ok) return ok;
    if (auto ok = check_certificates(authorizer_, request); !ok) return ok;
    if (!authorizer_.has(authorization::Mode::kNode)) return {};
    return check_node(request);
}

}  // namespace sluice::admission
