// Roles inside kube-system and kube-public.
#include "control/apiserver/authorization/policy/policy.h"

namespace sluice::authorization {

std::string_view policy_for_namespaces() {
    return R"(
Role kube-system extension-apiserver-authentication-reader
  read core configmaps extension-apiserver-authentication
Role kube-system system:controller:bootstrap-signer
  read core secrets
Role kube-system system:controller:cloud-provider
  create,read core configmaps
Role kube-system system:controller:token-cleaner
  read,delete core secrets
  create,update,patch core,events.k8s.io events
Role kube-system system::leader-locking-kube-controller-manager
  watch core configmaps
  get,update core configmaps kube-controller-manager
Role kube-system system::leader-locking-kube-scheduler
  watch core configmaps
  get,update core configmaps kube-scheduler
Role kube-public system:controller:bootstrap-signer
  read core configmaps
  update core configmaps cluster-info
  create,update,patch core,events.k8s.io events

RoleBinding kube-system system::extension-apiserver-authentication-reader \
      extension-apiserver-authentication-reader User=system:kube-controller-manager \
      User=system:kube-scheduler
RoleBinding kube-system system::leader-locking-kube-controller-manager \
      system::leader-locking-kube-controller-manager User=system:kube-controller-manager \
      ServiceAccount=kube-system/kube-controller-manager
RoleBinding kube-system system::leader-locking-kube-scheduler \
      system::leader-locking-kube-scheduler User=system:kube-scheduler \
      ServiceAccount=kube-system/kube-scheduler
RoleBinding kube-system system:controller:bootstrap-signer system:controller:bootstrap-signer \
      ServiceAccount=kube-system/bootstrap-signer
RoleBinding kube-system system:controller:cloud-provider system:controller:cloud-provider \
      ServiceAccount=kube-system/cloud-provider
RoleBinding kube-system system:controller:token-cleaner system:controller:token-cleaner \
      ServiceAccount=kube-system/token-cleaner
RoleBinding kube-public system:controller:bootstrap-signer system:controller:bootstrap-signer \
      ServiceAccount=kube-system/bootstrap-signer
)";
}

}  // namespace sluice::authorization
