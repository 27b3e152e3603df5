// What is checked of a write besides the permission to write at all: plugins, asked in order, the first refusal counts.
//
//   registry/rest (admitted) --AdmissionRequest--> escalation, NodeRestriction, certificates, creation by PUT
#pragma once

#include "control/apiserver/authorization/authorizer.h"
#include "control/apiserver/registry/rest/admission.h"

namespace sluice::admission {

// Thread-safe. The Authorizer outlives it.
class Plugins final : public registry::Admission {
public:
    explicit Plugins(const authorization::Authorizer& authorizer) : authorizer_(authorizer) {}
    [[nodiscard]] registry::Answer<void> check(const registry::AdmissionRequest& request) const override;

private:
    const authorization::Authorizer& authorizer_;
};

// The plugins. Each passes over what is none of its business.

// rbac.authorization.k8s.io: nobody grants what he does not have.
[[nodiscard]] registry::Answer<void> check_grants(const authorization::Authorizer& authorizer,
                                                  const registry::AdmissionRequest& request);
// Kubelets change their own Node, Lease and CSINode, and the status of Pods on their node.
[[nodiscard]] registry::Answer<void> check_node(const registry::AdmissionRequest& request);
// Approving and signing needs a rule for the signer.
[[nodiscard]] registry::Answer<void> check_certificates(const authorization::Authorizer& authorizer,
                                                        const registry::AdmissionRequest& request);
// A PUT or an applied patch that makes an object needs the permission to create it.
[[nodiscard]] registry::Answer<void> check_creation(const authorization::Authorizer& authorizer,
                                                    const registry::AdmissionRequest& request);

}  // namespace sluice::admission
