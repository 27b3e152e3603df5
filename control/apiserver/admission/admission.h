// What is added to a write and checked of it besides the permission to write at all: plugins, asked in order, the first
// refusal counts.
//
//   registry/rest --mutate--> LimitRanger, ServiceAccount, RuntimeClass, Priority, default classes
//                 --mutate_last--> webhooks
//                 --check---> creation by PUT, escalation, certificates, ServiceAccount, NodeRestriction, PodSecurity,
//                             Priority, LimitRanger, policies, webhooks, ResourceQuota
#pragma once

#include "control/apiserver/admission/plugins.h"
#include "control/apiserver/authorization/authorizer.h"
#include "control/apiserver/registry/rest/admission.h"

namespace sluice::admission {

class Policies;
class Webhooks;

// Thread-safe. The Authorizer outlives it, and so do the webhooks and policies; null: none are asked.
class Plugins final : public registry::Admission {
public:
    explicit Plugins(const authorization::Authorizer& authorizer, PluginSet enabled = PluginSet::all(),
                     const Webhooks* webhooks = nullptr, const Policies* policies = nullptr)
        : authorizer_(authorizer), enabled_(enabled), webhooks_(webhooks), policies_(policies) {}
    [[nodiscard]] registry::Answer<void> mutate(const registry::AdmissionRequest& request,
                                                registry::Message* object) const override;
    [[nodiscard]] registry::Answer<void> mutate_last(const registry::AdmissionRequest& request,
                                                     registry::Message* object,
                                                     const AdmitAgain& again) const override;
    [[nodiscard]] registry::Answer<void> consult(const registry::AdmissionRequest& request) const override;
    [[nodiscard]] registry::Answer<void> check(const registry::AdmissionRequest& request) const override;
    [[nodiscard]] bool blocks(const codec::KindInfo& kind) const override;
    [[nodiscard]] bool run(std::function<void()> task) const override;

private:
    const authorization::Authorizer& authorizer_;
    const PluginSet enabled_;
    const Webhooks* const webhooks_;
    const Policies* const policies_;
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
// The account that a new Pod runs as, which must exist ("default" is made where it is missing), the volume with a token
// of it and its imagePullSecrets. What Pods of an account that lists its Secrets may refer to. Mirrors of static Pods
// refer to nothing. Making an account waits for the store.
[[nodiscard]] registry::Answer<void> set_service_account(const registry::AdmissionRequest& request,
                                                         registry::Message* object);
[[nodiscard]] registry::Answer<void> check_service_account(const registry::AdmissionRequest& request);
// What the labels of a namespace permit its Pods (pod_security/), those labels, and warnings of what templates ask for.
[[nodiscard]] registry::Answer<void> check_pod_security(const registry::AdmissionRequest& request);
// The default classes of claims and Ingresses that name none.
void set_storage_class(const registry::AdmissionRequest& request, registry::Message* object);
void set_ingress_class(const registry::AdmissionRequest& request, registry::Message* object);

}  // namespace sluice::admission
