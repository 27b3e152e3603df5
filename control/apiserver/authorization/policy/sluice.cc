// What Kubernetes' policy does not say of this cluster's own components.
//
// All controllers run in one process with one name, so that name has the roles that upstream gives to one service
// account for each controller. Besides, it approves the serving certificates of kubelets, which Kubernetes leaves to a
// person: what may be approved is decided by control/controllers/certificates. A node's agent speaks with the
// kubelet's certificate: it needs every node (for routes between them) and the slices of all Services. Tokens to join
// with, and strangers, have what kubeadm gives them.
#include "control/apiserver/authorization/policy/policy.h"

namespace sluice::authorization {

std::string_view policy_for_sluice() {
    return R"(
ClusterRole sluice:dns
  list,watch core services,namespaces
  list,watch discovery.k8s.io endpointslices

ClusterRole sluice:node-agent
  list,watch core nodes
  list,watch discovery.k8s.io endpointslices
  list,watch networking.k8s.io servicecidrs

Role kube-public kubeadm:bootstrap-signer-clusterinfo
  get core configmaps cluster-info
Role kube-public sluice:cluster-info-publisher
  create core configmaps

RoleBinding kube-public kubeadm:bootstrap-signer-clusterinfo kubeadm:bootstrap-signer-clusterinfo \
      User=system:anonymous
RoleBinding kube-public sluice:cluster-info kubeadm:bootstrap-signer-clusterinfo \
      Group=system:bootstrappers
RoleBinding kube-public sluice:cluster-info-publisher sluice:cluster-info-publisher \
      User=system:kube-controller-manager
RoleBinding kube-public sluice:bootstrap-signer system:controller:bootstrap-signer \
      User=system:kube-controller-manager
RoleBinding kube-system sluice:bootstrap-signer system:controller:bootstrap-signer \
      User=system:kube-controller-manager
RoleBinding kube-system sluice:token-cleaner system:controller:token-cleaner \
      User=system:kube-controller-manager

ClusterRoleBinding sluice:dns sluice:dns User=system:dns
ClusterRoleBinding sluice:node-agent sluice:node-agent Group=system:nodes Group=system:node-proxiers
ClusterRoleBinding sluice:node-proxiers system:node-proxier Group=system:node-proxiers
ClusterRoleBinding sluice:kubelet-bootstrap system:node-bootstrapper Group=system:bootstrappers
ClusterRoleBinding sluice:node-autoapprove-bootstrap \
      system:certificates.k8s.io:certificatesigningrequests:nodeclient Group=system:bootstrappers
ClusterRoleBinding sluice:node-autoapprove-certificate-rotation \
      system:certificates.k8s.io:certificatesigningrequests:selfnodeclient Group=system:nodes

ClusterRoleBinding sluice:controller:certificate-controller \
      system:controller:certificate-controller User=system:kube-controller-manager
ClusterRoleBinding sluice:controller:kubelet-serving-approver \
      system:certificates.k8s.io:kubelet-serving-approver User=system:kube-controller-manager
ClusterRoleBinding sluice:controller:daemon-set-controller \
      system:controller:daemon-set-controller User=system:kube-controller-manager
ClusterRoleBinding sluice:controller:deployment-controller \
      system:controller:deployment-controller User=system:kube-controller-manager
ClusterRoleBinding sluice:controller:endpoint-controller system:controller:endpoint-controller \
      User=system:kube-controller-manager
ClusterRoleBinding sluice:controller:endpointslice-controller \
      system:controller:endpointslice-controller User=system:kube-controller-manager
ClusterRoleBinding sluice:controller:endpointslicemirroring-controller \
      system:controller:endpointslicemirroring-controller User=system:kube-controller-manager
ClusterRoleBinding sluice:controller:generic-garbage-collector \
      system:controller:generic-garbage-collector User=system:kube-controller-manager
ClusterRoleBinding sluice:controller:job-controller system:controller:job-controller \
      User=system:kube-controller-manager
ClusterRoleBinding sluice:controller:node-controller system:controller:node-controller \
      User=system:kube-controller-manager
ClusterRoleBinding sluice:controller:pod-garbage-collector \
      system:controller:pod-garbage-collector User=system:kube-controller-manager
ClusterRoleBinding sluice:controller:replicaset-controller \
      system:controller:replicaset-controller User=system:kube-controller-manager
ClusterRoleBinding sluice:controller:replication-controller \
      system:controller:replication-controller User=system:kube-controller-manager
ClusterRoleBinding sluice:controller:root-ca-cert-publisher \
      system:controller:root-ca-cert-publisher User=system:kube-controller-manager
ClusterRoleBinding sluice:controller:service-account-controller \
      system:controller:service-account-controller User=system:kube-controller-manager
ClusterRoleBinding sluice:controller:ttl-after-finished-controller \
      system:controller:ttl-after-finished-controller User=system:kube-controller-manager
)";
}

}  // namespace sluice::authorization
