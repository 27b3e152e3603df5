// What people may have: the whole cluster, a namespace to administer, to edit or to view, and what everybody may do.
#include "control/apiserver/authorization/policy/policy.h"

namespace sluice::authorization {

std::string_view policy_for_users() {
    return R"(
ClusterRole cluster-admin
  * * *
  * urls *

ClusterRole system:discovery
  get urls /livez,/readyz,/healthz,/version,/version/,/openapi,/openapi/*,/api,/api/*,/apis,/apis/*
ClusterRole system:monitoring
  get urls /metrics,/metrics/slis,/livez,/readyz,/healthz,/livez/*,/readyz/*,/healthz/*
ClusterRole system:public-info-viewer
  get urls /livez,/readyz,/healthz,/version,/version/
ClusterRole system:basic-user
  create authorization.k8s.io selfsubjectaccessreviews,selfsubjectrulesreviews
  create authentication.k8s.io selfsubjectreviews
ClusterRole system:service-account-issuer-discovery
  get urls /.well-known/openid-configuration,/openid/v1/jwks

ClusterRole admin aggregate=rbac.authorization.k8s.io/aggregate-to-admin
ClusterRole edit label=rbac.authorization.k8s.io/aggregate-to-admin \
      aggregate=rbac.authorization.k8s.io/aggregate-to-edit
ClusterRole view label=rbac.authorization.k8s.io/aggregate-to-edit \
      aggregate=rbac.authorization.k8s.io/aggregate-to-view

ClusterRole system:aggregate-to-admin label=rbac.authorization.k8s.io/aggregate-to-admin
  create authorization.k8s.io localsubjectaccessreviews
  read,write rbac.authorization.k8s.io roles,rolebindings

ClusterRole system:aggregate-to-edit label=rbac.authorization.k8s.io/aggregate-to-edit
  read core pods/attach,pods/proxy,pods/exec,pods/portforward,secrets,services/proxy
  impersonate core serviceaccounts
  write core pods,pods/attach,pods/proxy,pods/exec,pods/portforward
  create core pods/eviction
  write core replicationcontrollers,replicationcontrollers/scale,serviceaccounts,services,\
      services/proxy,persistentvolumeclaims,configmaps,secrets,events
  create core serviceaccounts/token
  write apps statefulsets,statefulsets/scale,daemonsets,deployments,deployments/scale,\
      deployments/rollback,replicasets,replicasets/scale
  write autoscaling horizontalpodautoscalers
  write batch jobs,cronjobs
  write extensions daemonsets,deployments,deployments/scale,deployments/rollback,ingresses,\
      replicasets,replicasets/scale,replicationcontrollers/scale,networkpolicies
  write policy poddisruptionbudgets
  write networking.k8s.io networkpolicies,ingresses
  read,write coordination.k8s.io leases

ClusterRole system:aggregate-to-view label=rbac.authorization.k8s.io/aggregate-to-view
  read core pods,replicationcontrollers,replicationcontrollers/scale,serviceaccounts,services,\
      services/status,endpoints,persistentvolumeclaims,persistentvolumeclaims/status,configmaps
  read core limitranges,resourcequotas,bindings,events,pods/status,resourcequotas/status,\
      namespaces/status,replicationcontrollers/status,pods/log
  read core namespaces
  read discovery.k8s.io endpointslices
  read apps controllerrevisions,statefulsets,statefulsets/status,statefulsets/scale,daemonsets,\
      daemonsets/status,deployments,deployments/status,deployments/scale,replicasets,\
      replicasets/status,replicasets/scale
  read autoscaling horizontalpodautoscalers,horizontalpodautoscalers/status
  read batch jobs,cronjobs,cronjobs/status,jobs/status
  read extensions daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,\
      ingresses,ingresses/status,replicasets,replicasets/scale,replicasets/status,\
      replicationcontrollers/scale,networkpolicies
  read policy poddisruptionbudgets,poddisruptionbudgets/status
  read networking.k8s.io networkpolicies,ingresses,ingresses/status

ClusterRoleBinding cluster-admin cluster-admin Group=system:masters
ClusterRoleBinding system:monitoring system:monitoring Group=system:monitoring
ClusterRoleBinding system:discovery system:discovery Group=system:authenticated
ClusterRoleBinding system:basic-user system:basic-user Group=system:authenticated
ClusterRoleBinding system:public-info-viewer system:public-info-viewer Group=system:authenticated \
      Group=system:unauthenticated
ClusterRoleBinding system:service-account-issuer-discovery \
      system:service-account-issuer-discovery Group=system:serviceaccounts
)";
}

}  // namespace sluice::authorization
