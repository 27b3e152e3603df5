// The table of kinds. Plural, singular, short names and categories are those that Kubernetes serves.
#include "api/codec/scheme.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <boost/unordered/unordered_flat_map.hpp>
#include <typeinfo>

#include "api/kubernetes/admissionregistration/v1/policy.pb.h"
#include "api/kubernetes/admissionregistration/v1/webhook.pb.h"
#include "api/kubernetes/apiextensions/v1/customresourcedefinition.pb.h"
#include "api/kubernetes/apiregistration/v1/apiservice.pb.h"
#include "api/kubernetes/apps/v1/apps.pb.h"
#include "api/kubernetes/apps/v1/statefulset.pb.h"
#include "api/kubernetes/autoscaling/v1/horizontalpodautoscaler.pb.h"
#include "api/kubernetes/autoscaling/v2/horizontalpodautoscaler.pb.h"
#include "api/kubernetes/batch/v1/cronjob.pb.h"
#include "api/kubernetes/batch/v1/job.pb.h"
#include "api/kubernetes/certificates/v1/certificatesigningrequest.pb.h"
#include "api/kubernetes/coordination/v1/lease.pb.h"
#include "api/kubernetes/core/v1/configmap.pb.h"
#include "api/kubernetes/core/v1/endpoints.pb.h"
#include "api/kubernetes/core/v1/event.pb.h"
#include "api/kubernetes/core/v1/limitrange.pb.h"
#include "api/kubernetes/core/v1/namespace.pb.h"
#include "api/kubernetes/core/v1/node.pb.h"
#include "api/kubernetes/core/v1/persistentvolume.pb.h"
#include "api/kubernetes/core/v1/persistentvolumeclaim.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/podtemplate.pb.h"
#include "api/kubernetes/core/v1/replicationcontroller.pb.h"
#include "api/kubernetes/core/v1/resourcequota.pb.h"
#include "api/kubernetes/core/v1/secret.pb.h"
#include "api/kubernetes/core/v1/service.pb.h"
#include "api/kubernetes/core/v1/serviceaccount.pb.h"
#include "api/kubernetes/discovery/v1/endpointslice.pb.h"
#include "api/kubernetes/events/v1/event.pb.h"
#include "api/kubernetes/flowcontrol/v1/flowcontrol.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/networking/v1/ingress.pb.h"
#include "api/kubernetes/networking/v1/networkpolicy.pb.h"
#include "api/kubernetes/networking/v1/servicecidr.pb.h"
#include "api/kubernetes/node/v1/runtimeclass.pb.h"
#include "api/kubernetes/policy/v1/policy.pb.h"
#include "api/kubernetes/rbac/v1/rbac.pb.h"
#include "api/kubernetes/scheduling/v1/priorityclass.pb.h"
#include "api/kubernetes/storage/v1/storage.pb.h"

namespace sluice::codec {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;
namespace admissionv1 = ::k8s::io::api::admissionregistration::v1;
namespace extv1 = ::k8s::io::apiextensions_apiserver::pkg::apis::apiextensions::v1;
namespace apiregv1 = ::k8s::io::kube_aggregator::pkg::apis::apiregistration::v1;
namespace appsv1 = ::k8s::io::api::apps::v1;
namespace eventsv1 = ::k8s::io::api::events::v1;
namespace flowv1 = ::k8s::io::api::flowcontrol::v1;
namespace networkingv1 = ::k8s::io::api::networking::v1;
namespace nodev1 = ::k8s::io::api::node::v1;
namespace schedulingv1 = ::k8s::io::api::scheduling::v1;
namespace storagev1 = ::k8s::io::api::storage::v1;
namespace autoscalingv1 = ::k8s::io::api::autoscaling::v1;
namespace autoscalingv2 = ::k8s::io::api::autoscaling::v2;
namespace batchv1 = ::k8s::io::api::batch::v1;
namespace certificatesv1 = ::k8s::io::api::certificates::v1;
namespace policyv1 = ::k8s::io::api::policy::v1;
namespace rbacv1 = ::k8s::io::api::rbac::v1;
namespace discoveryv1 = ::k8s::io::api::discovery::v1;
namespace coordinationv1 = ::k8s::io::api::coordination::v1;

// Upstream declares `metadata` first in every object and list.
constexpr int kMetadataFieldNumber = 1;

struct Names {
    const char* resource;
    const char* singular;
    std::vector<std::string> short_names = {};
    std::vector<std::string> categories = {};
};

enum class Scope : std::uint8_t { kCluster, kNamespaced };
enum class Status : std::uint8_t { kNone, kServed };

std::vector<std::string> verbs_of(std::string_view subresource) {
    if (subresource == "binding" || subresource == "eviction" || subresource == "token") return {"create"};
    if (subresource == "log") return {"get"};
    if (subresource == "finalize") return {"update"};
    if (subresource == "proxy") return {"create", "delete", "get", "patch", "update"};
    if (subresource == "attach" || subresource == "exec" || subresource == "portforward") {
        return {"create", "get"};
    }
    return {"get", "patch", "update"};
}

// What is read and written at the subresource: most often the object itself.
GroupVersionKind kind_at(std::string_view subresource, const GroupVersionKind& object) {
    if (subresource == "scale") return {"autoscaling", "v1", "Scale"};
    if (subresource == "binding") return {"", "v1", "Binding"};
    if (subresource == "eviction") return {"policy", "v1", "Eviction"};
    if (subresource == "token") return {"authentication.k8s.io", "v1", "TokenRequest"};
    if (subresource == "attach") return {"", "v1", "PodAttachOptions"};
    if (subresource == "exec") return {"", "v1", "PodExecOptions"};
    if (subresource == "portforward") return {"", "v1", "PodPortForwardOptions"};
    if (subresource == "proxy") return {"", "v1", object.kind + "ProxyOptions"};
    return object;
}

// The way to a type's metadata, as reflection takes a thousand instructions for it. Filled while the table is made; by
// the address of the type's std::type_info, which is the quickest to come by.
struct MetaAccess {
    metav1::ObjectMeta& (*of)(google::protobuf::Message&);
    const metav1::ObjectMeta& (*of_const)(const google::protobuf::Message&);
};
boost::unordered_flat_map<const std::type_info*, MetaAccess>& meta_accesses() {
    static boost::unordered_flat_map<const std::type_info*, MetaAccess> all;
    return all;
}

template <class Object>
void note_access() {
    meta_accesses().emplace(
        &typeid(Object),
        MetaAccess{[](google::protobuf::Message& object) -> metav1::ObjectMeta& {
                       return *static_cast<Object&>(object).mutable_metadata();
                   },
                   [](const google::protobuf::Message& object) -> const metav1::ObjectMeta& {
                       return static_cast<const Object&>(object).metadata();
                   }});
}

// `more`: subresources other than status, in any order.
template <class Object, class List>
KindInfo row(const char* group, const char* version, Names names, Scope scope, Status status,
             std::vector<std::string> more = {}) {
    const google::protobuf::Message& prototype = Object::default_instance();
    note_access<Object>();
    KindInfo info{
        .gvk = {group, version, prototype.GetDescriptor()->name()},
        .resource = names.resource,
        .singular = names.singular,
        .short_names = std::move(names.short_names),
        .categories = std::move(names.categories),
        .namespaced = scope == Scope::kNamespaced,
        .has_status = status == Status::kServed,
        .subresources = {},
        .prototype = &prototype,
        .list_prototype = &List::default_instance(),
    };
    if (info.has_status) more.emplace_back("status");
    std::sort(more.begin(), more.end());
    for (const std::string& name : more) {
        info.subresources.push_back({name, kind_at(name, info.gvk), verbs_of(name)});
    }
    return info;
}

const std::vector<KindInfo>& table() {
    constexpr Scope kCluster = Scope::kCluster;
    constexpr Scope kNamespaced = Scope::kNamespaced;
    constexpr Status kNone = Status::kNone;
    constexpr Status kServed = Status::kServed;
    static const std::vector<KindInfo> kinds = {
        row<corev1::ConfigMap, corev1::ConfigMapList>(
            "", "v1", {"configmaps", "configmap", {"cm"}}, kNamespaced, kNone),
        row<corev1::Endpoints, corev1::EndpointsList>(
            "", "v1", {"endpoints", "endpoints", {"ep"}}, kNamespaced, kNone),
        row<corev1::Event, corev1::EventList>("", "v1", {"events", "event", {"ev"}}, kNamespaced,
                                              kNone),
        row<corev1::LimitRange, corev1::LimitRangeList>(
            "", "v1", {"limitranges", "limitrange", {"limits"}}, kNamespaced, kNone),
        row<corev1::Namespace, corev1::NamespaceList>(
            "", "v1", {"namespaces", "namespace", {"ns"}}, kCluster, kServed, {"finalize"}),
        row<corev1::Node, corev1::NodeList>("", "v1", {"nodes", "node", {"no"}}, kCluster, kServed,
                                            {"proxy"}),
        row<corev1::PersistentVolumeClaim, corev1::PersistentVolumeClaimList>(
            "", "v1", {"persistentvolumeclaims", "persistentvolumeclaim", {"pvc"}}, kNamespaced,
            kServed),
        row<corev1::PersistentVolume, corev1::PersistentVolumeList>(
            "", "v1", {"persistentvolumes", "persistentvolume", {"pv"}}, kCluster, kServed),
        row<corev1::Pod, corev1::PodList>("", "v1", {"pods", "pod", {"po"}, {"all"}}, kNamespaced,
                                          kServed,
                                          {"attach", "binding", "ephemeralcontainers", "eviction", "exec",
                                           "log", "portforward", "proxy"}),
        row<corev1::PodTemplate, corev1::PodTemplateList>(
            "", "v1", {"podtemplates", "podtemplate"}, kNamespaced, kNone),
        row<corev1::ReplicationController, corev1::ReplicationControllerList>(
            "", "v1", {"replicationcontrollers", "replicationcontroller", {"rc"}, {"all"}},
            kNamespaced, kServed, {"scale"}),
        row<corev1::ResourceQuota, corev1::ResourceQuotaList>(
            "", "v1", {"resourcequotas", "resourcequota", {"quota"}}, kNamespaced, kServed),
        row<corev1::Secret, corev1::SecretList>("", "v1", {"secrets", "secret"}, kNamespaced,
                                                kNone),
        row<corev1::ServiceAccount, corev1::ServiceAccountList>(
            "", "v1", {"serviceaccounts", "serviceaccount", {"sa"}}, kNamespaced, kNone, {"token"}),
        row<corev1::Service, corev1::ServiceList>(
            "", "v1", {"services", "service", {"svc"}, {"all"}}, kNamespaced, kServed,
            {"proxy"}),
        row<admissionv1::MutatingWebhookConfiguration,
            admissionv1::MutatingWebhookConfigurationList>(
            "admissionregistration.k8s.io", "v1",
            {"mutatingwebhookconfigurations", "mutatingwebhookconfiguration", {},
             {"api-extensions"}},
            kCluster, kNone),
        row<admissionv1::ValidatingAdmissionPolicy, admissionv1::ValidatingAdmissionPolicyList>(
            "admissionregistration.k8s.io", "v1",
            {"validatingadmissionpolicies", "validatingadmissionpolicy", {}, {"api-extensions"}},
            kCluster, kServed),
        row<admissionv1::ValidatingAdmissionPolicyBinding,
            admissionv1::ValidatingAdmissionPolicyBindingList>(
            "admissionregistration.k8s.io", "v1",
            {"validatingadmissionpolicybindings", "validatingadmissionpolicybinding", {},
             {"api-extensions"}},
            kCluster, kNone),
        row<admissionv1::ValidatingWebhookConfiguration,
            admissionv1::ValidatingWebhookConfigurationList>(
            "admissionregistration.k8s.io", "v1",
            {"validatingwebhookconfigurations", "validatingwebhookconfiguration", {},
             {"api-extensions"}},
            kCluster, kNone),
        row<extv1::CustomResourceDefinition, extv1::CustomResourceDefinitionList>(
            "apiextensions.k8s.io", "v1",
            {"customresourcedefinitions",
             "customresourcedefinition",
             {"crd", "crds"},
             {"api-extensions"}},
            kCluster, kServed),
        row<apiregv1::APIService, apiregv1::APIServiceList>(
            "apiregistration.k8s.io", "v1", {"apiservices", "apiservice", {}, {"api-extensions"}},
            kCluster, kServed),
        row<appsv1::ControllerRevision, appsv1::ControllerRevisionList>(
            "apps", "v1", {"controllerrevisions", "controllerrevision"}, kNamespaced, kNone),
        row<appsv1::DaemonSet, appsv1::DaemonSetList>(
            "apps", "v1", {"daemonsets", "daemonset", {"ds"}, {"all"}}, kNamespaced, kServed),
        row<appsv1::Deployment, appsv1::DeploymentList>(
            "apps", "v1", {"deployments", "deployment", {"deploy"}, {"all"}}, kNamespaced, kServed,
            {"scale"}),
        row<appsv1::ReplicaSet, appsv1::ReplicaSetList>(
            "apps", "v1", {"replicasets", "replicaset", {"rs"}, {"all"}}, kNamespaced, kServed,
            {"scale"}),
        row<appsv1::StatefulSet, appsv1::StatefulSetList>(
            "apps", "v1", {"statefulsets", "statefulset", {"sts"}, {"all"}}, kNamespaced, kServed,
            {"scale"}),
        // The preferred version of a group comes first.
        row<autoscalingv2::HorizontalPodAutoscaler, autoscalingv2::HorizontalPodAutoscalerList>(
            "autoscaling", "v2",
            {"horizontalpodautoscalers", "horizontalpodautoscaler", {"hpa"}, {"all"}}, kNamespaced,
            kServed),
        row<autoscalingv1::HorizontalPodAutoscaler, autoscalingv1::HorizontalPodAutoscalerList>(
            "autoscaling", "v1",
            {"horizontalpodautoscalers", "horizontalpodautoscaler", {"hpa"}, {"all"}}, kNamespaced,
            kServed),
        row<batchv1::CronJob, batchv1::CronJobList>(
            "batch", "v1", {"cronjobs", "cronjob", {"cj"}, {"all"}}, kNamespaced, kServed),
        row<batchv1::Job, batchv1::JobList>("batch", "v1", {"jobs", "job", {}, {"all"}},
                                            kNamespaced, kServed),
        row<certificatesv1::CertificateSigningRequest,
            certificatesv1::CertificateSigningRequestList>(
            "certificates.k8s.io", "v1",
            {"certificatesigningrequests", "certificatesigningrequest", {"csr"}}, kCluster, kServed,
            {"approval"}),
        row<coordinationv1::Lease, coordinationv1::LeaseList>(
            "coordination.k8s.io", "v1", {"leases", "lease"}, kNamespaced, kNone),
        row<discoveryv1::EndpointSlice, discoveryv1::EndpointSliceList>(
            "discovery.k8s.io", "v1", {"endpointslices", "endpointslice"}, kNamespaced, kNone),
        row<eventsv1::Event, eventsv1::EventList>("events.k8s.io", "v1",
                                                  {"events", "event", {"ev"}}, kNamespaced, kNone),
        row<flowv1::FlowSchema, flowv1::FlowSchemaList>("flowcontrol.apiserver.k8s.io", "v1",
                                                        {"flowschemas", "flowschema"}, kCluster,
                                                        kServed),
        row<flowv1::PriorityLevelConfiguration, flowv1::PriorityLevelConfigurationList>(
            "flowcontrol.apiserver.k8s.io", "v1",
            {"prioritylevelconfigurations", "prioritylevelconfiguration"}, kCluster, kServed),
        row<networkingv1::IngressClass, networkingv1::IngressClassList>(
            "networking.k8s.io", "v1", {"ingressclasses", "ingressclass"}, kCluster, kNone),
        row<networkingv1::Ingress, networkingv1::IngressList>(
            "networking.k8s.io", "v1", {"ingresses", "ingress", {"ing"}}, kNamespaced, kServed),
        row<networkingv1::IPAddress, networkingv1::IPAddressList>(
            "networking.k8s.io", "v1", {"ipaddresses", "ipaddress", {"ip"}}, kCluster, kNone),
        row<networkingv1::NetworkPolicy, networkingv1::NetworkPolicyList>(
            "networking.k8s.io", "v1", {"networkpolicies", "networkpolicy", {"netpol"}},
            kNamespaced, kNone),
        row<networkingv1::ServiceCIDR, networkingv1::ServiceCIDRList>(
            "networking.k8s.io", "v1", {"servicecidrs", "servicecidr"}, kCluster, kServed),
        row<nodev1::RuntimeClass, nodev1::RuntimeClassList>(
            "node.k8s.io", "v1", {"runtimeclasses", "runtimeclass"}, kCluster, kNone),
        row<policyv1::PodDisruptionBudget, policyv1::PodDisruptionBudgetList>(
            "policy", "v1", {"poddisruptionbudgets", "poddisruptionbudget", {"pdb"}}, kNamespaced,
            kServed),
        row<rbacv1::ClusterRoleBinding, rbacv1::ClusterRoleBindingList>(
            "rbac.authorization.k8s.io", "v1", {"clusterrolebindings", "clusterrolebinding"},
            kCluster, kNone),
        row<rbacv1::ClusterRole, rbacv1::ClusterRoleList>(
            "rbac.authorization.k8s.io", "v1", {"clusterroles", "clusterrole"}, kCluster, kNone),
        row<rbacv1::RoleBinding, rbacv1::RoleBindingList>(
            "rbac.authorization.k8s.io", "v1", {"rolebindings", "rolebinding"}, kNamespaced, kNone),
        row<rbacv1::Role, rbacv1::RoleList>("rbac.authorization.k8s.io", "v1", {"roles", "role"},
                                            kNamespaced, kNone),
        row<schedulingv1::PriorityClass, schedulingv1::PriorityClassList>(
            "scheduling.k8s.io", "v1", {"priorityclasses", "priorityclass", {"pc"}}, kCluster,
            kNone),
        row<storagev1::CSIDriver, storagev1::CSIDriverList>(
            "storage.k8s.io", "v1", {"csidrivers", "csidriver"}, kCluster, kNone),
        row<storagev1::CSINode, storagev1::CSINodeList>(
            "storage.k8s.io", "v1", {"csinodes", "csinode"}, kCluster, kNone),
        row<storagev1::CSIStorageCapacity, storagev1::CSIStorageCapacityList>(
            "storage.k8s.io", "v1", {"csistoragecapacities", "csistoragecapacity"}, kNamespaced,
            kNone),
        row<storagev1::StorageClass, storagev1::StorageClassList>(
            "storage.k8s.io", "v1", {"storageclasses", "storageclass", {"sc"}}, kCluster, kNone),
        row<storagev1::VolumeAttachment, storagev1::VolumeAttachmentList>(
            "storage.k8s.io", "v1", {"volumeattachments", "volumeattachment"}, kCluster, kServed),
    };
    return kinds;
}

// Null for a type that is no kind of the scheme: Scale, Binding, objects of custom kinds.
const MetaAccess* access_of(const google::protobuf::Message& object) {
    static const auto& known = (table(), meta_accesses());
    const auto found = known.find(&typeid(object));
    return found == known.end() ? nullptr : &found->second;
}

const google::protobuf::FieldDescriptor* metadata_field(const google::protobuf::Message& object,
                                                        const google::protobuf::Descriptor* type) {
    const auto* field = object.GetDescriptor()->FindFieldByNumber(kMetadataFieldNumber);
    SLUICE_ASSERT(field != nullptr && field->message_type() == type);
    return field;
}

}  // namespace

std::string GroupVersionKind::api_version() const {
    return group.empty() ? version : group + "/" + version;
}

Result<GroupVersionKind> GroupVersionKind::parse(std::string_view api_version,
                                                 std::string_view kind) {
    const auto slash = api_version.find('/');
    if (slash == std::string_view::npos) {
        return GroupVersionKind{"", std::string(api_version), std::string(kind)};
    }
    if (api_version.find('/', slash + 1) != std::string_view::npos) {
        return make_error(Code::kInvalidArgument, "unexpected GroupVersion string: {}",
                          api_version);
    }
    return GroupVersionKind{std::string(api_version.substr(0, slash)),
                            std::string(api_version.substr(slash + 1)), std::string(kind)};
}

std::unique_ptr<google::protobuf::Message> KindInfo::new_object() const {
    return std::unique_ptr<google::protobuf::Message>(prototype->New());
}

std::unique_ptr<google::protobuf::Message> KindInfo::new_list() const {
    return std::unique_ptr<google::protobuf::Message>(list_prototype->New());
}

const Subresource* KindInfo::find_subresource(std::string_view name) const {
    const auto found = std::ranges::find(subresources, name, &Subresource::name);
    return found == subresources.end() ? nullptr : &*found;
}

std::span<const KindInfo> all_kinds() {
    return table();
}

std::span<const ActionResource> action_resources() {
    static const std::vector<ActionResource> resources = {
        {{"", "v1", "Binding"}, "bindings", "binding", true},
        {{"authentication.k8s.io", "v1", "SelfSubjectReview"}, "selfsubjectreviews",
         "selfsubjectreview", false},
        {{"authentication.k8s.io", "v1", "TokenReview"}, "tokenreviews", "tokenreview", false},
        {{"authorization.k8s.io", "v1", "LocalSubjectAccessReview"}, "localsubjectaccessreviews",
         "localsubjectaccessreview", true},
        {{"authorization.k8s.io", "v1", "SelfSubjectAccessReview"}, "selfsubjectaccessreviews",
         "selfsubjectaccessreview", false},
        {{"authorization.k8s.io", "v1", "SelfSubjectRulesReview"}, "selfsubjectrulesreviews",
         "selfsubjectrulesreview", false},
        {{"authorization.k8s.io", "v1", "SubjectAccessReview"}, "subjectaccessreviews",
         "subjectaccessreview", false},
    };
    return resources;
}

const KindInfo* find_kind(const GroupVersionKind& gvk) {
    const auto& kinds = table();
    const auto found = std::ranges::find(kinds, gvk, &KindInfo::gvk);
    return found == kinds.end() ? nullptr : &*found;
}

const KindInfo* find_resource(std::string_view group, std::string_view version,
                              std::string_view resource) {
    const auto& kinds = table();
    const auto found = std::ranges::find_if(kinds, [&](const KindInfo& info) {
        return info.resource == resource && info.gvk.group == group && info.gvk.version == version;
    });
    return found == kinds.end() ? nullptr : &*found;
}

const KindInfo* kind_of(const google::protobuf::Message& object) {
    const auto& kinds = table();
    const auto found = std::ranges::find_if(kinds, [&](const KindInfo& info) {
        return info.prototype->GetDescriptor() == object.GetDescriptor();
    });
    return found == kinds.end() ? nullptr : &*found;
}

metav1::ObjectMeta& object_meta(google::protobuf::Message& object) {
    if (const MetaAccess* known = access_of(object)) return known->of(object);
    const auto* field = metadata_field(object, metav1::ObjectMeta::descriptor());
    return static_cast<metav1::ObjectMeta&>(
        *object.GetReflection()->MutableMessage(&object, field));
}

const metav1::ObjectMeta& object_meta(const google::protobuf::Message& object) {
    if (const MetaAccess* known = access_of(object)) return known->of_const(object);
    const auto* field = metadata_field(object, metav1::ObjectMeta::descriptor());
    return static_cast<const metav1::ObjectMeta&>(
        object.GetReflection()->GetMessage(object, field));
}

metav1::ListMeta& list_meta(google::protobuf::Message& list) {
    const auto* field = metadata_field(list, metav1::ListMeta::descriptor());
    return static_cast<metav1::ListMeta&>(*list.GetReflection()->MutableMessage(&list, field));
}

}  // namespace sluice::codec
