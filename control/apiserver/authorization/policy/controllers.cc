// What each controller of Kubernetes may do. Each role is bound to the service account of its name in kube-system.
#include "control/apiserver/authorization/policy/policy.h"

namespace sluice::authorization {

std::string_view policy_for_controllers() {
    return R"(
Controller attachdetach-controller
  list,watch core persistentvolumes,persistentvolumeclaims
  read core nodes
  patch,update core nodes/status
  list,watch core pods
  create,update,patch core,events.k8s.io events
  create,delete,read storage.k8s.io volumeattachments
  read storage.k8s.io csidrivers
  read storage.k8s.io csinodes
Controller clusterrole-aggregation-controller
  escalate,read,update,patch rbac.authorization.k8s.io clusterroles
Controller cronjob-controller
  read,update batch cronjobs
  read,create,update,delete,patch batch jobs
  update batch cronjobs/status
  update batch cronjobs/finalizers
  list,delete core pods
  create,update,patch core,events.k8s.io events
Controller daemon-set-controller
  read extensions,apps daemonsets
  update extensions,apps daemonsets/status
  update extensions,apps daemonsets/finalizers
  list,watch core nodes
  list,watch,create,delete,patch core pods
  create core pods/binding
  read,create,delete,update,patch apps controllerrevisions
  create,update,patch core,events.k8s.io events
Controller deployment-controller
  read,update extensions,apps deployments
  update extensions,apps deployments/status
  update extensions,apps deployments/finalizers
  read,create,update,patch,delete apps,extensions replicasets
  read,update core pods
  create,update,patch core,events.k8s.io events
Controller disruption-controller
  read extensions,apps deployments
  read apps,extensions replicasets
  read core replicationcontrollers
  read policy poddisruptionbudgets
  read apps statefulsets
  update policy poddisruptionbudgets/status
  patch,update core pods/status
  get * */scale
  create,update,patch core,events.k8s.io events
Controller endpoint-controller
  read core services,pods
  get,list,create,update,delete core endpoints
  create core endpoints/restricted
  create,update,patch core,events.k8s.io events
Controller endpointslice-controller
  read core services,pods,nodes
  update core services/finalizers
  get,list,create,update,delete discovery.k8s.io endpointslices
  create,update,patch core,events.k8s.io events
Controller endpointslicemirroring-controller
  read core services,endpoints
  update core services/finalizers
  update core endpoints/finalizers
  get,list,create,update,delete discovery.k8s.io endpointslices
  create,update,patch core,events.k8s.io events
Controller expand-controller
  read,update,patch core persistentvolumes
  update,patch core persistentvolumeclaims/status
  read core persistentvolumeclaims
  read storage.k8s.io storageclasses
  get core services,endpoints
  get core secrets
  create,update,patch core,events.k8s.io events
Controller ephemeral-volume-controller
  read core pods
  update core pods/finalizers
  read,create core persistentvolumeclaims
  create,update,patch core,events.k8s.io events
Controller generic-garbage-collector
  read,patch,update,delete * *
  create,update,patch core,events.k8s.io events
Controller horizontal-pod-autoscaler
  read autoscaling horizontalpodautoscalers
  update autoscaling horizontalpodautoscalers/status
  get,update * */scale
  list core pods
  list metrics.k8s.io pods
  get,list custom.metrics.k8s.io *
  get,list external.metrics.k8s.io *
  create,update,patch core,events.k8s.io events
Controller job-controller
  read,update,patch batch jobs
  update batch jobs/status
  update batch jobs/finalizers
  list,watch,create,delete,patch core pods
  create,update,patch core,events.k8s.io events
Controller namespace-controller
  read,delete core namespaces
  update core namespaces/finalize,namespaces/status
  get,list,delete,deletecollection * *
Controller node-controller
  get,list,update,delete,patch core nodes
  patch,update core nodes/status
  patch,update core pods/status
  list,get,delete core pods
  create,update,patch core,events.k8s.io events
Controller persistent-volume-binder
  read,update,create,delete core persistentvolumes
  update core persistentvolumes/status
  read,update core persistentvolumeclaims
  update core persistentvolumeclaims/status
  read,create,delete core pods
  read storage.k8s.io storageclasses
  get,create,update,delete core endpoints
  get,create,delete core services
  get core secrets
  get,list core nodes
  watch core events
  create,update,patch core,events.k8s.io events
Controller pod-garbage-collector
  list,watch,delete core pods
  get,list core nodes
  patch core pods/status
Controller replicaset-controller
  read,update apps,extensions replicasets
  update apps,extensions replicasets/status
  update apps,extensions replicasets/finalizers
  list,watch,patch,create,delete core pods
  create,update,patch core,events.k8s.io events
Controller replication-controller
  read,update core replicationcontrollers
  update core replicationcontrollers/status
  update core replicationcontrollers/finalizers
  list,watch,patch,create,delete core pods
  create,update,patch core,events.k8s.io events
Controller resourcequota-controller
  list,watch * *
  update core resourcequotas/status
  create,update,patch core,events.k8s.io events
Controller route-controller
  list,watch core nodes
  patch core nodes/status
  create,update,patch core,events.k8s.io events
Controller service-account-controller
  create core serviceaccounts
  create,update,patch core,events.k8s.io events
Controller service-controller
  read core services
  patch,update core services/status
  list,watch core nodes
  create,update,patch core,events.k8s.io events
Controller statefulset-controller
  list,watch core pods
  read apps statefulsets
  update apps statefulsets/status
  update apps statefulsets/finalizers
  get,create,delete,update,patch core pods
  read,create,delete,update,patch apps controllerrevisions
  get,create core persistentvolumeclaims
  create,update,patch core,events.k8s.io events
  update,delete core persistentvolumeclaims
Controller ttl-controller
  update,patch,list,watch core nodes
  create,update,patch core,events.k8s.io events
Controller certificate-controller
  read,delete certificates.k8s.io certificatesigningrequests
  update certificates.k8s.io certificatesigningrequests/status,certificatesigningrequests/approval
  approve certificates.k8s.io signers kubernetes.io/kube-apiserver-client-kubelet
  sign certificates.k8s.io signers kubernetes.io/legacy-unknown,\
      kubernetes.io/kube-apiserver-client,kubernetes.io/kube-apiserver-client-kubelet,\
      kubernetes.io/kubelet-serving
  create authorization.k8s.io subjectaccessreviews
  create,update,patch core,events.k8s.io events
Controller pvc-protection-controller
  read,update core persistentvolumeclaims
  read core pods
  create,update,patch core,events.k8s.io events
Controller pv-protection-controller
  read,update core persistentvolumes
  create,update,patch core,events.k8s.io events
Controller ttl-after-finished-controller
  read,delete batch jobs
  create,update,patch core,events.k8s.io events
Controller root-ca-cert-publisher
  create,update core configmaps
  create,update,patch core,events.k8s.io events
Controller validatingadmissionpolicy-status-controller
  read admissionregistration.k8s.io validatingadmissionpolicies
  get,patch,update admissionregistration.k8s.io validatingadmissionpolicies/status
  create,update,patch core,events.k8s.io events
Controller legacy-service-account-token-cleaner
  get core configmaps kube-apiserver-legacy-service-account-token-tracking
  patch,delete core secrets
)";
}

}  // namespace sluice::authorization
