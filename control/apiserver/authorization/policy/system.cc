// What the components of a cluster may do: nodes, scheduler, controller manager, service proxies, and what is made for
// others to bind (provisioners, delegated authentication, certificate approvers).
#include "control/apiserver/authorization/policy/policy.h"

namespace sluice::authorization {

std::string_view policy_for_system() {
    return R"(
ClusterRole system:heapster
  read core events,pods,nodes,namespaces
  read extensions deployments

ClusterRole system:node
  create authentication.k8s.io tokenreviews
  create authorization.k8s.io subjectaccessreviews,localsubjectaccessreviews
  read core services
  create,read core nodes
  update,patch core nodes/status
  update,patch core nodes
  create,update,patch core events
  read core pods
  create,delete core pods
  update,patch core pods/status
  create core pods/eviction
  read core secrets,configmaps
  get core persistentvolumeclaims,persistentvolumes
  get core endpoints
  create,read certificates.k8s.io certificatesigningrequests
  get,create,update,patch,delete coordination.k8s.io leases
  get storage.k8s.io volumeattachments
  get,update,patch core persistentvolumeclaims/status
  create core serviceaccounts/token
  read storage.k8s.io csidrivers
  get,create,update,patch,delete storage.k8s.io csinodes
  read node.k8s.io runtimeclasses

ClusterRole system:node-problem-detector
  get core nodes
  patch core nodes/status
  create,update,patch core,events.k8s.io events

ClusterRole system:kubelet-api-admin
  read core nodes
  proxy core nodes
  * core nodes/proxy,nodes/metrics,nodes/stats,nodes/log

ClusterRole system:node-bootstrapper
  create,read certificates.k8s.io certificatesigningrequests

ClusterRole system:auth-delegator
  create authentication.k8s.io tokenreviews
  create authorization.k8s.io subjectaccessreviews

ClusterRole system:kube-aggregator
  read core services,endpoints

ClusterRole system:kube-controller-manager
  create,update,patch core,events.k8s.io events
  create coordination.k8s.io leases
  get,update coordination.k8s.io leases kube-controller-manager
  create core secrets,serviceaccounts
  delete core secrets
  get core namespaces,secrets,serviceaccounts,configmaps
  update core secrets,serviceaccounts
  create authentication.k8s.io tokenreviews
  create authorization.k8s.io subjectaccessreviews
  list,watch * *
  create core serviceaccounts/token

ClusterRole system:kube-dns
  list,watch core endpoints,services

ClusterRole system:persistent-volume-provisioner
  create,delete,read core persistentvolumes
  update,read core persistentvolumeclaims
  read storage.k8s.io storageclasses
  watch core events
  create,update,patch core,events.k8s.io events

ClusterRole system:certificates.k8s.io:certificatesigningrequests:nodeclient
  create certificates.k8s.io certificatesigningrequests/nodeclient
ClusterRole system:certificates.k8s.io:certificatesigningrequests:selfnodeclient
  create certificates.k8s.io certificatesigningrequests/selfnodeclient
ClusterRole system:certificates.k8s.io:legacy-unknown-approver
  approve certificates.k8s.io signers kubernetes.io/legacy-unknown
ClusterRole system:certificates.k8s.io:kubelet-serving-approver
  approve certificates.k8s.io signers kubernetes.io/kubelet-serving
ClusterRole system:certificates.k8s.io:kube-apiserver-client-approver
  approve certificates.k8s.io signers kubernetes.io/kube-apiserver-client
ClusterRole system:certificates.k8s.io:kube-apiserver-client-kubelet-approver
  approve certificates.k8s.io signers kubernetes.io/kube-apiserver-client-kubelet

ClusterRole system:volume-scheduler
  update,patch,read core persistentvolumes
  read storage.k8s.io storageclasses
  update,patch,read core persistentvolumeclaims

ClusterRole system:node-proxier
  list,watch core services,endpoints
  read core nodes
  create,update,patch core,events.k8s.io events
  list,watch discovery.k8s.io endpointslices

ClusterRole system:kube-scheduler
  create,update,patch core,events.k8s.io events
  create coordination.k8s.io leases
  get,update coordination.k8s.io leases kube-scheduler
  read core nodes
  delete,read core pods
  create core pods/binding,bindings
  patch,update core pods/status
  read core services,replicationcontrollers
  read apps,extensions replicasets
  read apps statefulsets
  read policy poddisruptionbudgets
  read core persistentvolumeclaims,persistentvolumes
  create authentication.k8s.io tokenreviews
  create authorization.k8s.io subjectaccessreviews
  read storage.k8s.io csinodes
  read core namespaces
  read storage.k8s.io csidrivers
  read storage.k8s.io csistoragecapacities

ClusterRoleBinding system:node-proxier system:node-proxier User=system:kube-proxy
ClusterRoleBinding system:kube-controller-manager system:kube-controller-manager \
      User=system:kube-controller-manager
ClusterRoleBinding system:kube-dns system:kube-dns ServiceAccount=kube-system/kube-dns
ClusterRoleBinding system:kube-scheduler system:kube-scheduler User=system:kube-scheduler
ClusterRoleBinding system:volume-scheduler system:volume-scheduler User=system:kube-scheduler
ClusterRoleBinding system:node system:node
)";
}

}  // namespace sluice::authorization
