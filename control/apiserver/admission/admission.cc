#include "control/apiserver/admission/admission.h"

#include <fmt/format.h>
#include <google/protobuf/message.h>

#include "api/kubernetes/certificates/v1/certificatesigningrequest.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/admission/policy/policies.h"
#include "control/apiserver/admission/webhooks/webhooks.h"
#include "control/apiserver/authorization/escalation.h"
#include "control/apiserver/registry/validation/field_errors.h"

namespace sluice::admission {
namespace {

using Csr = ::k8s::io::api::certificates::v1::CertificateSigningRequest;

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

bool changes_certificate(const AdmissionRequest& request) {
    return request.object != nullptr && request.old != nullptr &&
           request.object->GetDescriptor() == Csr::descriptor();
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

Answer<void> check_approval(const Authorizer& authorizer, const AdmissionRequest& request) {
    if (!changes_certificate(request) || request.subresource != "approval") return {};
    // What the signer is, the stored object says.
    const std::string& signer = static_cast<const Csr&>(*request.old).spec().signername();
    if (may_with_signer(authorizer, request.user, "approve", signer)) return {};
    return refuse(registry::forbidden(
        request.kind, request.name,
        fmt::format("user not permitted to approve requests with signerName {}", registry::go_quote(signer))));
}

Answer<void> check_signing(const Authorizer& authorizer, const AdmissionRequest& request) {
    if (!changes_certificate(request) || request.subresource != "status") return {};
    const auto& now = static_cast<const Csr&>(*request.object);
    const auto& old = static_cast<const Csr&>(*request.old);
    if (now.status().certificate() == old.status().certificate()) return {};
    const std::string& signer = old.spec().signername();
    if (may_with_signer(authorizer, request.user, "sign", signer)) return {};
    return refuse(registry::forbidden(
        request.kind, request.name,
        fmt::format("user not permitted to sign requests with signerName {}", registry::go_quote(signer))));
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

Answer<void> Plugins::mutate(const AdmissionRequest& request, registry::Message* object) const {
    if (enabled_.has(Plugin::kLimitRanger)) set_default_limits(request, object);
    if (enabled_.has(Plugin::kServiceAccount)) {
        if (auto ok = set_service_account(request, object); !ok) return ok;
    }
    if (enabled_.has(Plugin::kPriority)) {
        if (auto ok = set_priority(request, object); !ok) return ok;
    }
    if (enabled_.has(Plugin::kRuntimeClass)) {
        if (auto ok = set_runtime(request, object); !ok) return ok;
    }
    if (enabled_.has(Plugin::kDefaultStorageClass)) set_storage_class(request, object);
    if (enabled_.has(Plugin::kDefaultIngressClass)) set_ingress_class(request, object);
    return {};
}

Answer<void> Plugins::mutate_last(const AdmissionRequest& request, registry::Message* object,
                                  const AdmitAgain& again) const {
    return webhooks_ == nullptr ? Answer<void>() : webhooks_->mutate(request, object, again);
}

Answer<void> Plugins::consult(const AdmissionRequest& request) const {
    if (policies_ != nullptr) {
        if (auto ok = policies_->validate(request); !ok) return ok;
    }
    return webhooks_ == nullptr ? Answer<void>() : webhooks_->validate(request);
}

// Expressions wait for nothing, but may take a second.
bool Plugins::blocks(const codec::KindInfo& kind) const {
    return (webhooks_ != nullptr && webhooks_->any(kind.resource)) ||
           (policies_ != nullptr && policies_->any(kind.resource));
}

bool Plugins::run(std::function<void()> task) const {
    if (webhooks_ != nullptr) return webhooks_->run(std::move(task));
    task();
    return true;
}

Answer<void> Plugins::check(const AdmissionRequest& request) const {
    const auto has = [this](Plugin plugin) { return enabled_.has(plugin); };
    if (auto ok = check_creation(authorizer_, request); !ok) return ok;
    if (auto ok = check_grants(authorizer_, request); !ok) return ok;
    if (has(Plugin::kCertificateApproval)) {
        if (auto ok = check_approval(authorizer_, request); !ok) return ok;
    }
    if (has(Plugin::kCertificateSigning)) {
        if (auto ok = check_signing(authorizer_, request); !ok) return ok;
    }
    if (has(Plugin::kServiceAccount)) {
        if (auto ok = check_service_account(request); !ok) return ok;
    }
    if (has(Plugin::kNodeRestriction) && authorizer_.has(authorization::Mode::kNode)) {
        if (auto ok = check_node(request); !ok) return ok;
    }
    if (has(Plugin::kPodSecurity)) {
        if (auto ok = check_pod_security(request); !ok) return ok;
    }
    if (has(Plugin::kLimitRanger)) {
        if (auto ok = check_limits(request); !ok) return ok;
    }
    if (has(Plugin::kPriority)) {
        if (auto ok = check_priority(request); !ok) return ok;
    }
    if (!request.call.consulted) {
        if (auto ok = consult(request); !ok) return ok;
    }
    // Last, as nothing refuses what has been charged.
    if (has(Plugin::kResourceQuota)) return charge_quotas(request);
    return {};
}

}  // namespace sluice::admission
