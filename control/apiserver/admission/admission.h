// What is added to a write and checked of it besides the permission to write at all: plugins, asked in order, the first
// refusal counts.
//
//   registry/rest --mutate--> LimitRanger, RuntimeClass, Priority, default classes
//                 --check---> creation by PUT, escalation, certificates, NodeRestriction, Priority, LimitRanger
#pragma once

#include "control/apiserver/admission/plugins.h"
#include "control/apiserver/authorization/authorizer.h"
#include "control/apiserver/registry/rest/admission.h"

namespace sluice::admission {

// Thread-safe. The Authorizer outlives it.
class Plugins final : public registry::Admission {
public:
    explicit Plugins(const authorization::Authorizer& authorizer, PluginSet enabled = PluginSet::all())
        : authorizer_(authorizer), enabled_(enabled) {}
    [[nodiscard]] registry::Answer<void> mutate(const registry::AdmissionRequest& request,
                                                registry::Message* object) const override;
    [[nodiscard]] registry::Answer<void> check(const registry::AdmissionRequest& request) const override;

private:
    const authorization::Authorizer& authorizer_;
    const PluginSet enabled_;
};

// The plugins. Each passes over what is none of its business.

// rbac.authorization.k8s.io: nobody grants what he does not have.
[[nodiscard]] registry::Answer<void> check_grants(const authorization::Authorizer& authorizer,
                                                  const registry::AdmissionRequest& request);
// Kubelets change their own Node, Lease and CSINode, and the status of Pods on their node.
[[nodiscard]] registry::Answer<void> check_node(const registry::AdmissionRequest& request);
// Approving and signing needs a rule for the signer.
[[nodiscard]] registry::Answer<void> check_approval(const authorization::Authorizer& authorizer,
                                                    const registry::AdmissionRequest& request);
[[nodiscard]] registry::Answer<void> check_signing(const authorization::Authorizer& authorizer,
                                                   const registry::AdmissionRequest& request);
// A PUT or an applied patch that makes an object needs the permission to create it.
[[nodiscard]] registry::Answer<void> check_creation(const authorization::Authorizer& authorizer,
                                                    const registry::AdmissionRequest& request);

// LimitRanges: what containers get that ask for nothing, and what Pods, containers and claims may ask for.
void set_default_limits(const registry::AdmissionRequest& request, registry::Message* object);
[[nodiscard]] registry::Answer<void> check_limits(const registry::AdmissionRequest& request);
// A Pod's priority and preemption policy, from its PriorityClass or the default one; one default class only.
[[nodiscard]] registry::Answer<void> set_priority(const registry::AdmissionRequest& request, registry::Message* object);
[[nodiscard]] registry::Answer<void> check_priority(const registry::AdmissionRequest& request);
// Overhead, node selector and tolerations of a Pod, from its RuntimeClass.
[[nodiscard]] registry::Answer<void> set_runtime(const registry::AdmissionRequest& request, registry::Message* object);
// Charges what a write uses to the ResourceQuotas of its namespace, which waits for the store; 403 beyond a limit.
[[nodiscard]] registry::Answer<void> charge_quotas(const registry::AdmissionRequest& request);
// The default classes of claims and Ingresses that name none.
void set_storage_class(const registry::AdmissionRequest& request, registry::Message* object);
void set_ingress_class(const registry::AdmissionRequest& request, registry::Message* object);

}  // namespace sluice::admission
